"""What is known of one event."""

from __future__ import annotations

import re
from typing import Any

import falcon

from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.errors import InvalidInputError
from eventserver_core.http.access import HOLDERS, PUBLIC, Resource, caller
from eventserver_core.http.documents import answer_unless_known
from eventserver_core.http.openapi.answers.events import EventRecord, PendingProof, Proof
from eventserver_core.http.openapi.answers.events import Verification as AnsweredVerification
from eventserver_core.http.openapi.operation import (
    ETAG,
    IF_NONE_MATCH,
    NOT_MODIFIED,
    Answer,
    Operation,
)
from eventserver_core.json_text import write_json
from eventserver_core.services.evidence import EvidenceArchive, package_name
from eventserver_core.services.verification import Verification, Verifications

_HASH = re.compile(r"[0-9A-Fa-f]{64}\Z")
_PENDING_SECONDS = 10
_ASK_AGAIN = ("no-cache",)
_FOR_A_MINUTE = ("public", "max-age=60")
"""What the chain called final is believed for as long as it is remembered here."""
_FOR_EVER = ("public", "max-age=31536000", "immutable")
""":class:`GivenProof` says when it is: a confirmed batch keeps its anchor."""


class EventResource(Resource):
    """``GET /api/v1/events/{hash}``: what is recorded, for its owner and admins."""

    access = {"GET": HOLDERS}
    describes = {
        "GET": Operation(
            id="getEvent",
            summary="What is recorded of an event",
            tag="events",
            details="For whoever submitted it, the device that signed it, and admins.",
            answers={200: Answer("The record.", EventRecord)},
            errors=("evidence_damaged",),
        )
    }

    def __init__(self, archive: EvidenceArchive) -> None:
        self._archive = archive

    def on_get(self, req: falcon.Request, resp: falcon.Response, digest_hex: str) -> None:
        event = self._archive.find(_digest(digest_hex), caller(req))
        resp.media = self._archive.record(event)
        resp.cache_control = ["private", "no-store"]


class EventVerificationResource(Resource):
    """``GET /api/v1/events/{hash}/verify``: is the hash on the blockchain?"""

    access = {"GET": PUBLIC}
    describes = {
        "GET": Operation(
            id="verifyEvent",
            summary="Is the hash on the blockchain?",
            tag="events",
            details="What is final may be kept for a minute. The `ETag` is a weak one: 304 says "
            "that nothing changed but `verifiedAt`, and `confirmations` where it is final.",
            answers={
                200: Answer(
                    "Also for a hash that nobody sent.", AnsweredVerification, headers=ETAG
                ),
                304: NOT_MODIFIED,
            },
            parameters=(IF_NONE_MATCH,),
        )
    }

    def __init__(self, verifications: Verifications) -> None:
        self._verifications = verifications

    def on_get(self, req: falcon.Request, resp: falcon.Response, digest_hex: str) -> None:
        found = self._verifications.verify(_digest(digest_hex))
        answer = _verification(found)
        passing = {"verifiedAt"} | ({"confirmations"} if found.final else set())
        lasting = {name: value for name, value in answer.items() if name not in passing}
        kept = _FOR_A_MINUTE if found.final else _ASK_AGAIN
        answer_unless_known(req, resp, write_json(answer), kept, same_as=write_json(lasting))


class EventProofResource(Resource):
    """``GET /api/v1/events/{hash}/proof``: the proof, or when to ask again."""

    access = {"GET": PUBLIC}
    describes = {
        "GET": Operation(
            id="getProof",
            summary="The proof, or when to ask again",
            tag="events",
            details="That of a confirmed event never changes and may be kept for ever.",
            answers={
                200: Answer("The proof, checkable without this server.", Proof, headers=ETAG),
                202: Answer(
                    "The event waits to be anchored.",
                    PendingProof,
                    headers={"Retry-After": {"type": "integer"}},
                ),
                304: NOT_MODIFIED,
            },
            parameters=(IF_NONE_MATCH,),
        )
    }

    def __init__(self, verifications: Verifications) -> None:
        self._verifications = verifications

    def on_get(self, req: falcon.Request, resp: falcon.Response, digest_hex: str) -> None:
        proof = self._verifications.give_proof(_digest(digest_hex))
        if proof.pending:
            resp.status = falcon.HTTP_202
            resp.set_header("Retry-After", str(_PENDING_SECONDS))
            resp.cache_control = _ASK_AGAIN
            resp.data = proof.content
        else:
            kept = _FOR_EVER if proof.final else _ASK_AGAIN
            answer_unless_known(req, resp, proof.content, kept)


class EventPackageResource(Resource):
    """``GET /api/v1/events/{hash}/package``: the evidence as a ZIP, for its owner and admins."""

    access = {"GET": HOLDERS}
    describes = {
        "GET": Operation(
            id="getEvidencePackage",
            summary="The evidence as a ZIP",
            tag="events",
            details="`event.json`, the media, `proof.json`, the signed package where there is one, "
            "and `README.txt`.",
            answers={
                200: Answer(
                    "The ZIP.",
                    media_type="application/zip",
                    headers={"Content-Disposition": {"type": "string"}},
                )
            },
            errors=("evidence_damaged",),
        )
    }

    def __init__(self, archive: EvidenceArchive) -> None:
        self._archive = archive

    def on_get(self, req: falcon.Request, resp: falcon.Response, digest_hex: str) -> None:
        event = self._archive.find(_digest(digest_hex), caller(req))
        resp.stream = self._archive.package(event)
        # only now: an error must not be saved as a ZIP
        resp.content_type = "application/zip"
        resp.downloadable_as = package_name(event)
        resp.cache_control = ["private", "no-store"]


def _digest(text: str) -> str:
    if not _HASH.match(text):
        raise InvalidInputError("a hash is 64 hex digits")
    return text.lower()


def _verification(found: Verification) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "hash": found.digest_hex,
        "exists": found.exists,
        "status": found.status,
        "verifiedAt": format_rfc3339(found.verified_at),
        "checkedAgainst": "chain" if found.asked_chain else "database",
    }
    if found.root_hex is not None:
        answer["merkleRoot"] = found.root_hex
    if found.anchor is not None:
        answer |= {
            "blockNumber": found.anchor.block_number,
            "timestamp": format_rfc3339(found.anchor.block_time),
            "transactionHash": found.anchor.transaction_hash,
            "network": found.anchor.network,
            "confirmations": found.confirmations,
        }
    return answer
