"""EventServer: receive, store, hash, anchor and prove what people witnessed."""

from importlib.metadata import version

__version__ = version("eventserver-core")
