"""Sending events in."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, get_args

import falcon

from eventserver_core.backends.auth import Credentials
from eventserver_core.domain.canonical import parse_ijson
from eventserver_core.domain.envelope import MEDIA_PREFIX
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.package import EventPackage, MediaType
from eventserver_core.errors import Fault, InvalidPackageError, UnsupportedMediaError
from eventserver_core.http.access import SENDERS, Resource, caller
from eventserver_core.http.body import (
    Body,
    multipart_parts,
    part_chunks,
    part_content,
    part_name,
)
from eventserver_core.http.openapi.answers.events import Receipt as ReceiptAnswer
from eventserver_core.http.openapi.answers.events import SignedEvent
from eventserver_core.http.openapi.operation import (
    EXAMPLE_JWS,
    JSON,
    Answer,
    Operation,
    RequestBody,
)
from eventserver_core.services.identity import Identities
from eventserver_core.services.ingest import IngestEvents
from eventserver_core.services.media import ReceivedMedia, check_beside
from eventserver_core.services.submission import Receipt

_SLOW_SECONDS = 1.0
_FORM_OVERHEAD = 64 * 1024
_EVENT_PART, _MEDIA_PART = "event", "media"
SIGNED = "jwtEventData"

_DETAILS = (
    "The same package again answers 200 with the same body, however often; nothing is stored twice."
)
EXAMPLES = {
    "without media": {
        "id": "550e8400-e29b-41d4-a716-446655440000",
        "version": "1.0",
        "annotations": [
            {"labelId": "category", "value": "Music", "timestamp": "2024-01-01T00:00:00Z"}
        ],
        "metadata": {"createdAt": "2024-01-01T00:00:00Z", "source": "api"},
    },
    "signed": {"jwtEventData": EXAMPLE_JWS},
}
_LOCATION = {"Location": {"type": "string"}}
_RECEIPTS = {
    200: Answer("It was stored before.", ReceiptAnswer, headers=_LOCATION),
    201: Answer("The event is stored, and will be anchored.", ReceiptAnswer, headers=_LOCATION),
}
ERRORS = (
    "invalid_package",
    "device_certificate_missing",
    "device_certificate_invalid",
    "signature_invalid",
    "package_expired",
    "event_id_conflict",
    "conflict",
    "content_mismatch",
    "clock_skew",
    "event_too_old",
    "labels_violated",
)


class SignedEventsResource(Resource):
    """``POST /api/v1/events/package``: the EventApp's way in, JSON only."""

    access = {"POST": SENDERS}
    describes = {
        "POST": Operation(
            id="sendEventPackage",
            summary="Send one event, JSON only: the EventApp's way in",
            tag="events",
            details=_DETAILS,
            body=RequestBody({JSON: SignedEvent | EventPackage}, EXAMPLES),
            answers=_RECEIPTS,
            errors=ERRORS,
        )
    }

    def __init__(
        self,
        ingest: IngestEvents,
        identities: Identities,
        *,
        max_json_size: int,
        max_file_size: int,
        request_timeout: float,
    ) -> None:
        self._ingest = ingest
        self._identities = identities
        self._max_json_size = max_json_size
        self._max_file_size = max_file_size
        self._request_timeout = request_timeout

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        media_type = (req.content_type or "").partition(";")[0].strip().lower()
        if media_type != falcon.MEDIA_JSON:
            raise UnsupportedMediaError("send application/json")
        self._answer(resp, self._json(req, caller(req)))

    def _json(self, req: falcon.Request, submitter: Credentials) -> Receipt:
        body = Body(req, self._max_json_size, self._request_timeout)
        document = parse_ijson(body.read_all())
        self._require_standing(req, submitter)
        jws = signed_package_in(document)
        if jws is None:
            return self._ingest.ingest_package(document, submitter)
        signed = self._identities.check_signed_package(jws, submitter)
        return self._ingest.ingest_signed(jws, signed, submitter)

    def _require_standing(self, req: falcon.Request, submitter: Credentials) -> None:
        """Look again at whom a body comes from that took its time: it may have been revoked."""
        if is_slow(req):
            self._identities.require_standing(submitter)

    @staticmethod
    def _answer(resp: falcon.Response, receipt: Receipt) -> None:
        resp.status = falcon.HTTP_201 if receipt.created else falcon.HTTP_200
        resp.set_header("Location", f"/api/v1/events/{receipt.digest_hex}")
        resp.media = receipt_document(receipt)


class EventsResource(SignedEventsResource):
    """``POST /api/v1/events``: one event, as JSON or as a form whose media is streamed."""

    describes = {
        "POST": Operation(
            id="sendEvent",
            summary="Send one event, as JSON or as a form with its media",
            tag="events",
            details=f"{_DETAILS} In a form the package's media is without `data`; its bytes are "
            "streamed to storage.",
            body=RequestBody(
                {JSON: SignedEvent | EventPackage},
                EXAMPLES,
                form={_EVENT_PART: EventPackage, _MEDIA_PART: get_args(MediaType)},
            ),
            answers=_RECEIPTS,
            errors=ERRORS,
        )
    }

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        media_type = (req.content_type or "").partition(";")[0].strip().lower()
        if media_type == falcon.MEDIA_JSON:
            receipt = self._json(req, caller(req))
        elif media_type == falcon.MEDIA_MULTIPART:
            receipt = self._form(req, caller(req))
        else:
            raise UnsupportedMediaError("send application/json or multipart/form-data")
        self._answer(resp, receipt)

    def _form(self, req: falcon.Request, submitter: Credentials) -> Receipt:
        limit = self._max_file_size + self._max_json_size + _FORM_OVERHEAD
        body = Body(req, limit, self._request_timeout)
        document: Any = None
        received: ReceivedMedia | None = None
        seen: set[str] = set()
        with ExitStack() as open_uploads:
            for part in multipart_parts(req, body):
                name = part_name(part)
                if name not in (_EVENT_PART, _MEDIA_PART):
                    raise InvalidPackageError("the form has a part besides event and media")
                if name in seen:
                    raise InvalidPackageError(f"the form has the part {name} twice")
                seen.add(name)
                if name == _EVENT_PART:
                    document = parse_ijson(part_content(part, self._max_json_size))
                    # what can't be taken is refused before its media arrives
                    check_beside(document)
                else:
                    uploading = self._ingest.receive_media(part_chunks(part), _key(document))
                    received = open_uploads.enter_context(uploading)
            if _EVENT_PART not in seen:
                raise InvalidPackageError("the form has no part named event")
            self._require_standing(req, submitter)
            return self._ingest.ingest_with_media(document, received, submitter)


def is_slow(req: falcon.Request) -> bool:
    """Tell whether a request takes so long that its sender may have been revoked meanwhile."""
    return bool(time.perf_counter() - req.context.started > _SLOW_SECONDS)


def signed_package_in(document: Any) -> str | None:
    """Return the JWS that was sent in the place of a package; None where it is a package.

    Raises:
        InvalidPackageError: what is there is no JWS.
    """
    if not isinstance(document, dict) or SIGNED not in document:
        return None
    jws = document[SIGNED]
    if not isinstance(jws, str) or not jws.isascii():
        fault = Fault(f"/{SIGNED}", "Input should be a compact JWS")
        raise InvalidPackageError("the signed package is not a JWS", [fault])
    return jws


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """Return what whoever sent an event is told."""
    return {
        "eventId": receipt.event_id,
        "hash": receipt.digest_hex,
        "storageLocation": receipt.storage_location,
        "processedAt": format_rfc3339(receipt.processed_at),
        "status": "stored",
    }


def _key(document: Any) -> str | None:
    """Return the key that the media will have, where the package says its digest."""
    media = document.get("media") if isinstance(document, dict) else None
    digest_hex = media.get("sha256") if isinstance(media, dict) else None
    return MEDIA_PREFIX + digest_hex if digest_hex else None
