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
from web3.types import RPCEndpoint

_MAX_ANSWER: Final = 16 * 1024 * 1024
"""More than a block with all that is in it."""

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
        # in all, and not once for the connection and once more for the answer
        timeout = urllib3.Timeout(total=seconds)
        response = super().send(request, *args, **(kwargs | {"stream": True, "timeout": timeout}))
        try:
            response.raw = io.BytesIO(_read(response.raw, deadline))
        except BaseException:
            response.close()
            raise
        return response


def _read(raw: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    body = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise requests.Timeout("the answer is too slow")
        connection = raw.connection
        if isinstance(connection, urllib3.connection.HTTPConnection) and connection.sock:
            connection.sock.settimeout(left)  # the pool sets it anew for each request
        if not (chunk := raw.read1(_CHUNK, decode_content=True)):
            return bytes(body)
        body += chunk
        if len(body) > _MAX_ANSWER:
            raise requests.RequestException("the answer is too large")


def open_session() -> requests.Session:
    """Return connections to a node, which any number of threads may share."""
    session = requests.Session()
    session.max_redirects = 0
    for scheme in ("http://", "https://"):
        session.mount(scheme, BoundedAdapter(pool_maxsize=_CONNECTIONS))
    return session


def request(
    url: str, session: requests.Session, method: str, parameters: list[Any], seconds: float
) -> Any:
    """Ask a node by web3, and return its answer, whatever that is.

    Args:
        url: the node's address.
        session: the connections to use.
        method: what is asked.
        parameters: for what.
        seconds: how long the answer may take.
    """
    provider = HTTPProvider(
        url,
        {"timeout": seconds},
        session=session,
        # one that sends a transaction again on its own would hide what became of the first
        exception_retry_configuration=None,
    )
    return provider.make_request(RPCEndpoint(method), parameters)
