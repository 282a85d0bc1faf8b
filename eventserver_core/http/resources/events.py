"""Sending events in."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import falcon

from eventserver_core.backends.auth import Credentials
from eventserver_core.domain.canonical import parse_ijson
from eventserver_core.domain.envelope import MEDIA_PREFIX
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.errors import Fault, InvalidPackageError, UnsupportedMediaError
from eventserver_core.http.access import SENDERS, Resource, caller
from eventserver_core.http.body import (
    Body,
    multipart_parts,
    part_chunks,
    part_content,
    part_name,
)
from eventserver_core.services.identity import Identities
from eventserver_core.services.ingest import IngestEvents, Receipt
from eventserver_core.services.media import ReceivedMedia, check_beside

_FORM_OVERHEAD = 64 * 1024
_EVENT_PART, _MEDIA_PART = "event", "media"
_SIGNED = "jwtEventData"


class SignedEventsResource(Resource):
    """``POST /api/v1/events/package``: the EventApp's way in, JSON only."""

    access = {"POST": SENDERS}

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
        if not isinstance(document, dict) or _SIGNED not in document:
            return self._ingest.ingest_package(document, submitter)
        jws = document[_SIGNED]
        if not isinstance(jws, str) or not jws.isascii():
            fault = Fault(f"/{_SIGNED}", "Input should be a compact JWS")
            raise InvalidPackageError("the signed package is not a JWS", [fault])
        signed = self._identities.check_signed_package(jws, submitter)
        return self._ingest.ingest_signed(jws, signed, submitter)

    @staticmethod
    def _answer(resp: falcon.Response, receipt: Receipt) -> None:
        resp.status = falcon.HTTP_201 if receipt.created else falcon.HTTP_200
        resp.set_header("Location", f"/api/v1/events/{receipt.digest_hex}")
        resp.media = {
            "eventId": receipt.event_id,
            "hash": receipt.digest_hex,
            "storageLocation": receipt.storage_location,
            "processedAt": format_rfc3339(receipt.processed_at),
            "status": "stored",
        }


class EventsResource(SignedEventsResource):
    """``POST /api/v1/events``: one event, as JSON or as a form whose media is streamed."""

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
            return self._ingest.ingest_with_media(document, received, submitter)


def _key(document: Any) -> str | None:
    """Return the key that the media will have, where the package says its digest."""
    media = document.get("media") if isinstance(document, dict) else None
    digest_hex = media.get("sha256") if isinstance(media, dict) else None
    return MEDIA_PREFIX + digest_hex if digest_hex else None
