"""JSON-RPC over HTTP by web3, with an end to how long an answer takes and how large it is."""

from __future__ import annotations

import io
import logging
import time
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from web3 import HTTPProvider

_MAX_ANSWER: Final = 32 * 1024 * 1024
"""More than any block's list of transactions."""

_CHUNK: Final = 65536
_CONNECTIONS: Final = 64

# At "debug" these write whole addresses, and a hosted node's address has its key in it.
for _name in ("web3.providers", "web3._utils.http_session_manager", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.INFO)


class BoundedAdapter(HTTPAdapter):
    """Reads every answer to its end before it returns, within a total time and a size.

    The time limit of ``requests`` is for each piece of an answer, so a node that sends a byte now
    and then would never be given up.
    """

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Send a request; see ``HTTPAdapter.send``.

        Raises:
            requests.RequestException: no answer, or too slow or too large a one.
        """
        seconds = float(kwargs["timeout"])
        deadline = time.monotonic() + seconds
        response = super().send(request, *args, **(kwargs | {"stream": True}))
        try:
            response.raw = io.BytesIO(_read(response.raw, deadline))
        except BaseException:
            response.close()
            raise
        return response


def _read(raw: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    body = bytearray()
    while chunk := raw.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > _MAX_ANSWER:
            raise requests.RequestException("the answer is too large")
        if time.monotonic() > deadline:
            raise requests.Timeout("the answer is too slow")
    return bytes(body)


def open_session() -> requests.Session:
    """Return connections to a node, which any number of threads may share."""
    session = requests.Session()
    session.max_redirects = 0
    for scheme in ("http://", "https://"):
        session.mount(scheme, BoundedAdapter(pool_maxsize=_CONNECTIONS))
    return session


def provider(url: str, session: requests.Session, seconds: float) -> HTTPProvider:
    """Return web3's way to a node.

    Args:
        url: the node's address.
        session: the connections to use.
        seconds: how long one answer may take.
    """
    return HTTPProvider(
        url,
        {"timeout": seconds},
        session=session,
        # one that sends a transaction again on its own would hide what became of the first
        exception_retry_configuration=None,
    )
