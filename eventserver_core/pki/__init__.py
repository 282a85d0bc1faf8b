"""The server's own certificate authority: what relays prove themselves with on TLS.

It knows keys, requests and certificates; who may have one is decided above.
"""
