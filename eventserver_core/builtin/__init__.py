"""The backends that come with the core, so that a server starts with nothing else installed.

Each module is a plugin like any other, found by its entry point, and keeps everything it has in
the data directory (``server.data_dir``) of one machine.
"""
