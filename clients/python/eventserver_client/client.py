"""What any caller does: submits events, and asks what became of them."""

from __future__ import annotations

import json
import os
import re
import ssl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

from eventserver_client.answers import Health, ListedRelay, Receipt, Verification
from eventserver_client.errors import NotYetError, ProtocolError, UnavailableError
from eventserver_client.polling import poll
from eventserver_client.reading import read
from eventserver_client.retrying import RetryPolicy
from eventserver_client.transport import Certificate, Content, Transport, post_bytes, post_json

TIMEOUT = 30.0
MAX_EVIDENCE_SIZE = 1024**3
_EVENTS = "/api/v1/events"
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_TAKEN = (HTTPStatus.CREATED, HTTPStatus.OK)


class Client:
    """Calls an EventServer; a context manager, and safe to share between threads.

    Args:
        base_url: the server's address, such as ``https://events.example``.
        certificate: the caller's JWT, or a function that returns the present one.
        timeout: seconds that the network may be silent.
        retry: when to try again, and for how long.
        verify: what vouches for the server's TLS certificate: a PEM file or a context; the
            usual authorities where it is None.
    """

    def __init__(
        self,
        base_url: str,
        certificate: Certificate = None,
        *,
        timeout: float = TIMEOUT,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        verify: ssl.SSLContext | str | Path | None = None,
    ) -> None:
        self._transport = Transport(base_url, certificate, timeout, retry, verify)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def submit(
        self, package: Mapping[str, Any] | bytes, media: bytes | Path | BinaryIO | None = None
    ) -> Receipt:
        """Send an event; sending it again, to whatever end, gets the same receipt.

        Args:
            package: the event package, or its JSON as it is to be sent.
            media: the photo or video to be streamed beside it; a path is opened anew for each
                try, an open file is rewound to its beginning. The package describes it in
                ``media``, without ``data``.

        Raises:
            ValueError: the package is no JSON, or the file can't be rewound.
        """
        if media is None:
            content = post_bytes(package) if isinstance(package, bytes) else post_json(package)
        else:
            content = _form(package, media)
        return self._submitted(_EVENTS, content)

    def submit_signed(self, jws: str) -> Receipt:
        """Send an event as a device signed it."""
        return self._submitted(f"{_EVENTS}/package", post_json({"jwtEventData": jws}))

    def verify(self, digest_hex: str) -> Verification:
        """Ask whether an event hash is on the blockchain."""
        path = f"{_event(digest_hex)}/verify"
        return read(Verification, self._transport.call("GET", path, bearer=False).document())

    def proof(self, digest_hex: str) -> dict[str, Any] | None:
        """Fetch an event's proof.

        Returns:
            None while the event waits to be anchored.
        """
        return self._proof(digest_hex)[0]

    def wait_for_proof(self, digest_hex: str, timeout: float) -> dict[str, Any]:
        """Fetch an event's proof once there is one, asking as often as the server likes.

        Args:
            digest_hex: the event hash.
            timeout: seconds.

        Raises:
            NotYetError: there is none in time.
        """
        proof = poll(lambda: self._proof(digest_hex), timeout)
        if proof is None:
            raise NotYetError(f"no proof of {digest_hex} within {timeout:g} seconds")
        return proof

    def download_evidence(
        self, digest_hex: str, path: Path, max_size: int = MAX_EVIDENCE_SIZE
    ) -> None:
        """Write an event's evidence, a ZIP, to a file, which is there whole or not at all.

        Args:
            digest_hex: the event hash.
            path: of the file.
            max_size: bytes; of more nothing is kept.

        Raises:
            ProtocolError: it is larger, or its end can't be told.
        """
        part = path.with_name(f".{path.name}.{uuid.uuid4()}")

        def receive(chunks: Iterator[bytes]) -> None:
            with part.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)

        try:
            self._transport.download(f"{_event(digest_hex)}/package", receive, max_size)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def health(self) -> Health:
        """Ask how well the server is; that it is unhealthy is an answer, too."""
        wanted = (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE)
        answer = self._transport.call("GET", "/health", wanted=wanted, bearer=False)
        try:
            return read(Health, answer.document())
        except ProtocolError as ex:
            if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise UnavailableError("something before the server answers 503") from ex
            raise

    def labels(self) -> list[dict[str, Any]]:
        """Return the definitions of the fields that events are described with."""
        document = self._transport.call("GET", "/api/v1/labels", bearer=False).document()
        return [dict(label) for label in members(document, "labels")]

    def relays(self) -> Sequence[ListedRelay]:
        """Return the active relays."""
        document = self._transport.call("GET", "/api/v1/relays", bearer=False).document()
        return [read(ListedRelay, relay) for relay in members(document, "relays")]

    def _submitted(self, path: str, content: Content) -> Receipt:
        answer = self._transport.call("POST", path, wanted=_TAKEN, content=content)
        return read(Receipt, answer.document())

    def _proof(self, digest_hex: str) -> tuple[dict[str, Any] | None, float | None]:
        path = f"{_event(digest_hex)}/proof"
        wanted = (HTTPStatus.OK, HTTPStatus.ACCEPTED)
        answer = self._transport.call("GET", path, wanted=wanted, bearer=False)
        if answer.status == HTTPStatus.ACCEPTED:
            return None, answer.retry_after
        document = answer.document()
        if not isinstance(document, dict):
            raise ProtocolError("the proof is no JSON object")
        return document, None


def members(document: Any, name: str) -> list[Mapping[str, Any]]:
    """Return the objects in the list that a document has under a name.

    Raises:
        ProtocolError: there is no such list.
    """
    found = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise ProtocolError(f"the answer has no list of {name}")
    return found


def path_of(*segments: str) -> str:
    """Return a path below the API's root, each segment quoted.

    Raises:
        ValueError: a segment is empty, or climbs.
    """
    if any(segment in ("", ".", "..") for segment in segments):
        raise ValueError("an id is missing")
    return "/api/v1/" + "/".join(quote(segment, safe="") for segment in segments)


def _event(digest_hex: str) -> str:
    if not _DIGEST.fullmatch(digest_hex):
        raise ValueError("an event hash is 64 hex digits")
    return f"{_EVENTS}/{digest_hex.lower()}"


def _form(package: Mapping[str, Any] | bytes, media: bytes | Path | BinaryIO) -> Content:
    """Return a form's content, whose media is streamed."""
    if isinstance(package, bytes):
        text, document = package, json.loads(package)
    else:
        text = json.dumps(package, ensure_ascii=False, allow_nan=False).encode()
        document = package
    described = document.get("media") if isinstance(document, Mapping) else None
    media_type = described.get("type") if isinstance(described, Mapping) else None
    if media_type is None:
        raise ValueError("the package doesn't say its media's type")
    if not isinstance(media, bytes | Path) and not media.seekable():
        raise ValueError("the file can't be rewound, so it couldn't be sent twice")

    def content(opened: ExitStack) -> Mapping[str, Any]:
        if isinstance(media, bytes):
            stream: BinaryIO = BytesIO(media)
        elif isinstance(media, Path):
            stream = opened.enter_context(media.open("rb"))
        else:
            stream = media
        # httpx rewinds it
        return {
            "files": {
                "event": (None, text, "application/json"),
                "media": ("media", stream, media_type),
            }
        }

    return content
