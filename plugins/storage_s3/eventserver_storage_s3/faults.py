"""What goes wrong at a store, said so that somebody can do something about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, SSLError

from eventserver_core.errors import BackendUnavailableError
from eventserver_storage_s3.credentials import CredentialsError

BACKEND = "storage=s3"
NO_BUCKET = "there is no such bucket; make it, or set s3.create_bucket = true"

_KEYS = "check s3.access_key and s3.secret_key (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
_REGION = "the bucket is in another region; check storage.region and storage.endpoint"
_BUSY = "the store is overloaded or out of order; the same call may succeed later"
_FULL = "the store is full; make room, or raise its quota"
_WHY = {
    "NoSuchBucket": NO_BUCKET,
    "AccessDenied": "the store refuses it to this account; check the keys, and give it the "
    "permissions that the README of eventserver-storage-s3 lists",
    "AllAccessDisabled": "the store has this account or bucket disabled",
    "InvalidAccessKeyId": f"the store doesn't know the access key; {_KEYS}",
    "SignatureDoesNotMatch": f"the secret key is not the access key's; {_KEYS}",
    "ExpiredToken": f"the session token has expired; {_KEYS} and AWS_SESSION_TOKEN",
    "InvalidToken": f"the session token doesn't hold; {_KEYS} and AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "this machine's clock and the store's differ; set the clock",
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "Redirect": _REGION,
    "RetryHead": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "BadRequest": "the store refuses the request; an object that was stored under another "
    "storage.encryption, or another key of it, is a common cause",
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "InternalError": _BUSY,
    "RequestTimeout": _BUSY,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "InsufficientStorage": _FULL,
}
_DAMAGED = (
    "BadDigest",
    "IncompleteBody",
    "InvalidDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
)


@contextmanager
def reported(what: str, place: str) -> Iterator[None]:
    """Turn all that the client and its connections raise into the core's error.

    Args:
        what: what failed.
        place: whom to look at, as the bucket and the host.
    """
    try:
        yield
    except CredentialsError as ex:
        raise BackendUnavailableError(BACKEND, f"{what}: {ex}") from ex
    except (MinioException, HTTPError, OSError, ParseError, ValueError) as ex:
        raise BackendUnavailableError(BACKEND, f"{what} ({place}): {_why(ex)}") from ex


def is_damaged(ex: S3Error) -> bool:
    """Tell whether a store noticed by itself that what arrived isn't what was sent."""
    return ex.code in _DAMAGED


def is_taken(ex: S3Error) -> bool:
    """Tell whether a store refused to write what is there already, or is just being written."""
    return ex.code in ("PreconditionFailed", "ConditionalRequestConflict")


def _why(ex: Exception) -> str:
    match ex:
        case S3Error():
            if ex.code in _WHY:
                return _WHY[ex.code]
            if ex.code is not None and ex.code.upper().startswith("KMS"):
                return f"the KMS refuses ({ex.code}); check s3.kms_key_id and its policy"
            return f"the store refuses it ({ex.code})"
        case ServerError():
            return f"{_BUSY} (status {ex.status_code})"
        case InvalidResponseError():
            return "the answer is not one of S3's; check storage.endpoint"
        case HTTPError() | OSError():
            if isinstance(getattr(ex, "reason", None), SSLError):
                return (
                    "the store's certificate doesn't hold; check storage.endpoint, and name a file "
                    "with the certificate that signed it in s3.ca_file"
                )
            return (
                f"the store does not answer ({_kind(ex)}); check that it runs, that "
                "storage.endpoint is right, and the network"
            )
    return "the answer is not one of S3's; check storage.endpoint"


def _kind(ex: Exception) -> str:
    """Return the cause's kind; its text has addresses and ids that help nobody."""
    return type(getattr(ex, "reason", None) or ex).__name__
