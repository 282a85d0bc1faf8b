"""What an event is, and what makes it provable; no I/O, no settings, no framework.

``canonical``, ``digest``, ``merkle``, ``proof`` and ``evidence`` are all that a stranger needs to
check a proof: they use the standard library, an RFC 8785 library and orjson, which is quicker at
most of it, and ``signature`` a JOSE library where a package was signed.
"""
