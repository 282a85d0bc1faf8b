"""The client library, told what it would take a digest of once more."""

from __future__ import annotations

from typing import Any

from minio import Minio

from eventserver_storage_s3.evidence import CHECKSUM_HEADER

_CONTENT_SHA256 = "x-amz-content-sha256"


def signed_digest(sha256: bytes | None) -> dict[str, Any]:
    """Return the header that tells ``Client`` a body's SHA-256, where that is known."""
    return {} if sha256 is None else {_CONTENT_SHA256: sha256.hex()}


class Client(Minio):
    """Signs the digest of a body that it is told, and takes no MD5 where a checksum goes along.

    Where none does, the MD5 that it sends over TLS stays: stores want one of both for an object
    that is locked.

    Nothing public of the library's takes a digest, so this goes by one of its private methods, as
    ``Bucket`` does by its ``_execute``.
    """

    def _build_headers(
        self, host: str, headers: Any = None, body: bytes | None = None, creds: Any = None
    ) -> Any:
        told = (headers or {}).get(_CONTENT_SHA256)
        is_checked = CHECKSUM_HEADER in (headers or {}) or not self._base_url.is_https
        if told is None or not creds or not is_checked:
            return super()._build_headers(host, headers, body, creds)
        headers, date = super()._build_headers(host, headers, None, creds)
        return headers | {"Content-Length": str(len(body or b"")), _CONTENT_SHA256: told}, date
