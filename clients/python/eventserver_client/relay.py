"""What a relay does besides: it enrols, and renews its certificates."""

from __future__ import annotations

from http import HTTPStatus

from eventserver_client.answers import EnrolledCertificates
from eventserver_client.client import Client, path_of
from eventserver_client.reading import read
from eventserver_client.transport import post_json


class RelayClient(Client):
    """Calls an EventServer as a relay does."""

    def enroll(self, relay_id: str, token: str, csr_pem: str) -> EnrolledCertificates:
        """Trade a one-time token and a signing request for certificates.

        The token works once. So where the server may have taken it, though no answer or only
        that of a balancer came, this is not repeated, and an admin must make another token.

        Raises:
            AnswerLostError: the token may be used up.
        """
        answer = self._transport.call(
            "POST",
            path_of("relays", relay_id, "enroll"),
            wanted=(HTTPStatus.CREATED,),
            bearer=False,
            content=post_json({"token": token, "csr": csr_pem}),
            repeatable=False,
        )
        return read(EnrolledCertificates, answer.document())

    def renew(self, relay_id: str, csr_pem: str) -> EnrolledCertificates:
        """Get new certificates by the present one."""
        answer = self._transport.call(
            "POST",
            path_of("relays", relay_id, "certificate"),
            wanted=(HTTPStatus.CREATED,),
            content=post_json({"csr": csr_pem}),
        )
        return read(EnrolledCertificates, answer.document())
