"""How a relay enrols and renews."""

from __future__ import annotations

from typing import Any

import pytest
from eventserver_client import (
    AnswerLostError,
    ProtocolError,
    RefusedError,
    RelayClient,
    RetryPolicy,
    UnavailableError,
)
from eventserver_client.testing import Drop, Hang, Reply, ScriptedServer, problem

CERTIFICATES: dict[str, Any] = {
    "relayId": "relay-1",
    "certificate": "a-secret-certificate",
    "certificateExpiresAt": "2024-01-08T00:00:00Z",
    "tlsCertificate": "PEM",
    "tlsCertificateExpiresAt": "2024-02-01T00:00:00Z",
    "tlsSerialNumber": "0a1b",
    "rootCertificate": "PEM",
}
ENROLL = "/api/v1/relays/relay-1/enroll"


def test_a_token_is_traded_for_certificates(server: ScriptedServer, relay: RelayClient) -> None:
    server.script("POST", ENROLL, Reply(201, CERTIFICATES))
    certificates = relay.enroll("relay-1", "the-token", "the-csr")
    assert certificates.certificate == "a-secret-certificate"
    assert certificates.tls_serial_number == "0a1b"
    assert "a-secret-certificate" not in repr(certificates)
    assert server.received[0].document() == {"token": "the-token", "csr": "the-csr"}
    assert "Authorization" not in server.received[0].headers


def test_a_token_whose_answer_was_lost_is_not_sent_again(
    server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", ENROLL, Drop(), Reply(201, CERTIFICATES))
    with pytest.raises(AnswerLostError, match="may have done it") as caught:
        relay.enroll("relay-1", "the-token", "the-csr")
    assert "the-token" not in str(caught.value)
    assert len(server.received) == 1


def test_a_token_is_not_sent_again_after_a_timeout(server: ScriptedServer) -> None:
    server.script("POST", ENROLL, Hang())
    with RelayClient(server.url, timeout=0.3) as relay, pytest.raises(AnswerLostError):
        relay.enroll("relay-1", "the-token", "the-csr")
    assert len(server.received) == 1


def test_an_enrollment_that_was_not_begun_is_tried_again(
    server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", ENROLL, problem(503, "backend_unavailable"), Reply(201, CERTIFICATES))
    assert relay.enroll("relay-1", "the-token", "the-csr").relay_id == "relay-1"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(503, pieces=(b"<h1>balancer</h1>",)),
        problem(503, "no_backend"),
        problem(504, "backend_unavailable"),
        problem(408, "request_timeout"),
    ],
)
def test_a_token_is_not_sent_again_where_something_between_answered(
    reply: Reply, server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", ENROLL, reply, Reply(201, CERTIFICATES))
    with pytest.raises(AnswerLostError, match="may have done it") as caught:
        relay.enroll("relay-1", "the-token", "the-csr")
    assert caught.value.status == reply.status
    assert len(server.received) == 1


def test_a_server_that_was_never_reached_has_not_used_the_token() -> None:
    with ScriptedServer() as gone:
        address = gone.url
    retry = RetryPolicy(first_wait=0.01, most_tries=2)
    with RelayClient(address, retry=retry) as relay, pytest.raises(UnavailableError) as caught:
        relay.enroll("relay-1", "the-token", "the-csr")
    assert not isinstance(caught.value, AnswerLostError)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "enrollment_token_expired"),
        (409, "enrollment_token_used"),
        (403, "enrollment_token_mismatch"),
        (422, "csr_key_not_allowed"),
    ],
)
def test_a_refused_enrollment_says_why(
    status: int, code: str, server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", ENROLL, problem(status, code))
    with pytest.raises(RefusedError) as caught:
        relay.enroll("relay-1", "the-token", "the-csr")
    assert (caught.value.status, caught.value.code) == (status, code)


def test_a_renewal_shows_the_certificate_and_is_repeated(
    server: ScriptedServer, relay: RelayClient
) -> None:
    path = "/api/v1/relays/relay-1/certificate"
    server.script("POST", path, Drop(), Reply(201, CERTIFICATES))
    assert relay.renew("relay-1", "the-csr").certificate == "a-secret-certificate"
    assert [one.headers["Authorization"] for one in server.received] == ["Bearer a-certificate"] * 2
    assert server.received[1].document() == {"csr": "the-csr"}


@pytest.mark.parametrize("relay_id", ["", ".", ".."])
def test_an_id_does_not_climb(relay_id: str, server: ScriptedServer, relay: RelayClient) -> None:
    with pytest.raises(ValueError, match="id"):
        relay.renew(relay_id, "the-csr")


def test_an_id_is_quoted(server: ScriptedServer, relay: RelayClient) -> None:
    with pytest.raises(RefusedError):
        relay.renew("../a b?c", "the-csr")
    assert server.received[0].path == "/api/v1/relays/..%2Fa%20b%3Fc/certificate"


@pytest.mark.parametrize("member", sorted(CERTIFICATES))
def test_certificates_that_lack_something_are_none(
    member: str, server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", ENROLL, Reply(201, CERTIFICATES | {member: None}))
    with pytest.raises(ProtocolError, match=member):
        relay.enroll("relay-1", "the-token", "the-csr")
