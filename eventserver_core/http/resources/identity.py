"""Certificates: proofs of work, revocation, and the keys to check with."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated

import falcon
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eventserver_core.backends.auth import Solution
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.errors import (
    Fault,
    InvalidPackageError,
    UnsupportedMediaError,
)
from eventserver_core.http.access import ADMINS, ANYONE, CHALLENGED, Resource, caller
from eventserver_core.http.body import Body
from eventserver_core.http.errors import validation_faults
from eventserver_core.http.openapi.answers.server import Challenge as ChallengeAnswer
from eventserver_core.http.openapi.answers.server import DeviceCertificate, KeySet
from eventserver_core.http.openapi.operation import (
    EXAMPLE_KEY,
    JSON,
    NOTHING,
    Answer,
    Operation,
    RequestBody,
)
from eventserver_core.services.identity import Identities
from eventserver_core.services.revocation import RevokeCertificates

_MAX_BODY = 64 * 1024
_BODY_SECONDS = 5.0
_SOLVED = {
    "solution": {
        "challenge_id": "the challenge's",
        "nonce": 51966,
        "hash": "AAArl36wVTMKJLTVpFCTe5RPMgvhXr+g2YAbgFWmPUg=",
    },
    "public_key": base64.b64encode(json.dumps(EXAMPLE_KEY).encode()).decode(),
    "relay_id": "device_1704067200000",
}


class SolvedChallenge(BaseModel):
    """A nonce with which the digest begins as the challenge wants it."""

    model_config = ConfigDict(strict=True)

    challenge_id: Annotated[str, Field(min_length=1, max_length=4096)]
    nonce: Annotated[int, Field(ge=0, lt=2**64)]
    hash: Annotated[str, Field(max_length=64)]


class PowSolution(BaseModel):
    """What the EventApp sends; the names are its own."""

    model_config = ConfigDict(strict=True)

    solution: SolvedChallenge
    public_key: Annotated[str, Field(max_length=8192)]
    relay_id: Annotated[str | None, Field(max_length=256)] = None


class PowChallengeResource(Resource):
    """``POST /api/v1/pow/challenge``: a proof of work to be done."""

    access = {"POST": CHALLENGED}
    describes = {
        "POST": Operation(
            id="makeChallenge",
            summary="Ask for a proof of work to be done",
            tag="devices",
            answers={200: Answer("The challenge; it lives 10 minutes.", ChallengeAnswer)},
        )
    }

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def on_post(self, _req: falcon.Request, resp: falcon.Response) -> None:
        challenge = self._identities.make_challenge()
        resp.cache_control = ["no-store"]
        resp.media = {
            "challenge_id": challenge.challenge_id,
            "challenge_data": challenge.challenge_data,
            "difficulty": challenge.difficulty,
            "expires_at": format_rfc3339(challenge.expires_at),
        }


class PowVerificationResource(Resource):
    """``POST /api/v1/pow/verify``: trades a proof of work for a device's certificate."""

    access = {"POST": CHALLENGED}
    describes = {
        "POST": Operation(
            id="redeemChallenge",
            summary="Trade a proof of work for a device's certificate",
            tag="devices",
            body=RequestBody({JSON: PowSolution}, {"a solution": _SOLVED}),
            answers={200: Answer("The certificate.", DeviceCertificate)},
            errors=("invalid_package", "invalid_solution", "challenge_used"),
        )
    }

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        if (req.content_type or "").partition(";")[0].strip().lower() != falcon.MEDIA_JSON:
            raise UnsupportedMediaError("send application/json")
        content = Body(req, _MAX_BODY, _BODY_SECONDS).read_all()
        try:
            # not I-JSON: the app's nonce is a 64-bit integer, which a double can't hold
            sent = PowSolution.model_validate_json(content)
        except ValidationError as ex:
            wrong = validation_faults(ex.errors(include_url=False, include_input=False))
            raise InvalidPackageError("the body is not a solution", wrong) from ex
        faults: list[Fault] = []
        digest = _base64(sent.solution.hash, "/solution/hash", faults)
        public_key = _base64(sent.public_key, "/public_key", faults)
        if faults:
            raise InvalidPackageError("the body is not a solution", faults)
        solution = Solution(sent.solution.challenge_id, sent.solution.nonce, digest)
        issued = self._identities.redeem_challenge(solution, public_key)
        resp.cache_control = ["no-store"]
        resp.media = {"token": issued.token}


class CertificateResource(Resource):
    """``DELETE /api/v1/certificates/{jti}``: revokes a certificate, or a TLS one by its serial."""

    access = {"DELETE": ADMINS}
    describes = {
        "DELETE": Operation(
            id="revokeCertificate",
            summary="Revoke a certificate",
            tag="admins",
            answers={204: NOTHING},
        )
    }

    def __init__(self, revocation: RevokeCertificates) -> None:
        self._revocation = revocation

    def on_delete(self, req: falcon.Request, resp: falcon.Response, certificate_id: str) -> None:
        self._revocation.revoke(certificate_id, caller(req))
        resp.status = falcon.HTTP_204


class KeySetResource(Resource):
    """``GET /.well-known/jwks.json``: the keys that certificates can be checked with."""

    access = {"GET": ANYONE}
    describes = {
        "GET": Operation(
            id="getKeySet",
            summary="The public keys that certificates can be checked with",
            tag="keys",
            answers={200: Answer("The keys.", KeySet, media_type="application/jwk-set+json")},
            errors=("backend_unavailable",),
        )
    }

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        # Falcon has no serializer for this media type
        resp.data = json.dumps(dict(self._identities.public_keys())).encode()
        resp.content_type = "application/jwk-set+json"
        resp.cache_control = ["public", "max-age=300"]


def _base64(text: str, where: str, faults: list[Fault]) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        faults.append(Fault(where, "not base64 (RFC 4648, section 4)"))
        return b""
