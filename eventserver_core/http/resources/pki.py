"""What anyone needs to check a relay's TLS certificate."""

from __future__ import annotations

import falcon

from eventserver_core.http.access import PUBLIC, Resource
from eventserver_core.http.openapi.operation import Answer, Operation
from eventserver_core.services.revocation import PublishAuthority

_CERTIFICATE = "application/pkix-cert"
_REVOCATION_LIST = "application/pkix-crl"


class RootCertificateResource(Resource):
    """``GET /pki/root.crt``: the root, in DER."""

    access = {"GET": PUBLIC}
    describes = {
        "GET": Operation(
            id="getRootCertificate",
            summary="The root that relays' TLS certificates lead to, in DER",
            tag="keys",
            answers={200: Answer("It.", media_type=_CERTIFICATE)},
        )
    }

    def __init__(self, authority: PublishAuthority) -> None:
        self._authority = authority

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        _answer(resp, _CERTIFICATE, self._authority.root_der(), 86400)


class IssuingCertificateResource(Resource):
    """``GET /pki/issuing.crt``: the certificate that relays' ones are signed with, in DER."""

    access = {"GET": PUBLIC}
    describes = {
        "GET": Operation(
            id="getIssuingCertificate",
            summary="The certificate that relays' TLS certificates are signed with, in DER",
            tag="keys",
            answers={200: Answer("It.", media_type=_CERTIFICATE)},
        )
    }

    def __init__(self, authority: PublishAuthority) -> None:
        self._authority = authority

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        _answer(resp, _CERTIFICATE, self._authority.issuing_der(), 86400)


class RevocationListResource(Resource):
    """``GET /pki/issuing.crl``: the certificates that were taken back (RFC 5280), in DER."""

    access = {"GET": PUBLIC}
    describes = {
        "GET": Operation(
            id="getRevocationList",
            summary="The TLS certificates that were taken back (RFC 5280), in DER",
            tag="keys",
            answers={200: Answer("It.", media_type=_REVOCATION_LIST)},
        )
    }

    def __init__(self, authority: PublishAuthority) -> None:
        self._authority = authority

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        _answer(resp, _REVOCATION_LIST, self._authority.revocation_list(), 60)


def _answer(resp: falcon.Response, content_type: str, content: bytes, seconds: int) -> None:
    resp.data = content
    resp.content_type = content_type
    resp.cache_control = ["public", f"max-age={seconds}"]
