"""What is made of answers: good ones, and ones that EventServer doesn't give."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any

import pytest
from eventserver_client import (
    Client,
    NotYetError,
    ProtocolError,
    RefusedError,
    RetryPolicy,
    UnavailableError,
)
from eventserver_client.testing import Drop, Received, Reply, ScriptedServer, problem

DIGEST = "ab" * 32
EVENT = f"/api/v1/events/{DIGEST}"
RECEIPT = {
    "eventId": "an-event",
    "hash": DIGEST,
    "storageLocation": "filesystem:pack-1",
    "processedAt": "2024-01-01T00:00:05.123Z",
    "status": "stored",
}


def test_a_receipt_says_what_was_stored(server: ScriptedServer, client: Client) -> None:
    server.script("POST", "/api/v1/events/package", Reply(201, RECEIPT | {"somethingNew": [1]}))
    receipt = client.submit_signed("a.b.c")
    assert receipt.processed_at == datetime(2024, 1, 1, 0, 0, 5, 123_000, tzinfo=UTC)
    assert (receipt.storage_location, receipt.status) == ("filesystem:pack-1", "stored")
    assert receipt.answer["somethingNew"] == [1]
    assert server.received[0].document() == {"jwtEventData": "a.b.c"}


@pytest.mark.parametrize("member", sorted(RECEIPT))
@pytest.mark.parametrize("value", [None, 7, ["x"]])
def test_a_member_that_lacks_or_is_another_is_a_fault(
    member: str, value: Any, server: ScriptedServer, client: Client
) -> None:
    server.script("POST", "/api/v1/events", Reply(201, RECEIPT | {member: value}))
    with pytest.raises(ProtocolError, match=f"Receipt: {member}"):
        client.submit({})
    assert len(server.received) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_a_fault(
    content: bytes, server: ScriptedServer, client: Client
) -> None:
    server.script("POST", "/api/v1/events", Reply(201, pieces=(content,)))
    with pytest.raises(ProtocolError):
        client.submit({})


@pytest.mark.parametrize("status", [200, 400, 503])
def test_an_endless_answer_is_not_read(status: int, server: ScriptedServer, client: Client) -> None:
    piece = b" " * 2**20
    headers = {"Content-Length": str(2**40)}
    server.script("POST", "/api/v1/events", Reply(status, pieces=(piece,) * 40, headers=headers))
    with pytest.raises(ProtocolError, match="larger"):
        client.submit({})


def test_a_compressed_answer_is_refused(server: ScriptedServer, client: Client) -> None:
    server.script("POST", "/api/v1/events", Reply(201, RECEIPT, {"Content-Encoding": "gzip"}))
    with pytest.raises(ProtocolError, match="compressed"):
        client.submit({})
    assert server.received[0].headers["Accept-Encoding"] == "identity"


def test_verifying_shows_nobody_a_certificate(server: ScriptedServer, client: Client) -> None:
    found = {"hash": DIGEST, "exists": True, "status": "anchored", "blockNumber": 7}
    server.script("GET", f"{EVENT}/verify", Reply(200, found | {"timestamp": "2024-01-01T00:00Z"}))
    verification = client.verify(DIGEST.upper())
    assert (verification.exists, verification.block_number) == (True, 7)
    assert verification.block_time == datetime(2024, 1, 1, tzinfo=UTC)
    assert verification.network is None
    assert "Authorization" not in server.received[0].headers


@pytest.mark.parametrize("digest_hex", ["", "..", "xyz", "ab" * 33, f"{DIGEST}/../x"])
def test_what_is_no_hash_is_not_asked_for(
    digest_hex: str, server: ScriptedServer, client: Client
) -> None:
    with pytest.raises(ValueError, match="64 hex digits"):
        client.verify(digest_hex)
    assert not server.received


def test_a_proof_is_waited_for(server: ScriptedServer, client: Client) -> None:
    pending = Reply(202, {"status": "stored"}, {"Retry-After": "0"})
    server.script("GET", f"{EVENT}/proof", pending, pending, Reply(200, {"format": "one"}))
    assert client.proof(DIGEST) is None
    assert client.wait_for_proof(DIGEST, timeout=30) == {"format": "one"}


def test_a_proof_that_never_comes_is_not_waited_for(server: ScriptedServer, client: Client) -> None:
    server.script("GET", f"{EVENT}/proof", Reply(202, {}, {"Retry-After": "3600"}))
    with pytest.raises(NotYetError):
        client.wait_for_proof(DIGEST, timeout=0.3)
    assert len(server.received) == 2


def test_a_hash_that_nobody_knows_has_no_proof(server: ScriptedServer, client: Client) -> None:
    server.script("GET", f"{EVENT}/proof", problem(404, "not_found"))
    with pytest.raises(RefusedError, match="not_found"):
        client.wait_for_proof(DIGEST, timeout=30)


def test_evidence_is_a_file_once_it_is_whole(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    target = tmp_path / "evidence.zip"
    target.write_bytes(b"older")

    def look(_request: Received) -> Reply:
        assert target.read_bytes() == b"older"
        return Reply(200, pieces=(b"PK", b"whole"))

    cut_short = Reply(200, pieces=(b"PKcut",), headers={"Content-Length": "1000"})
    server.script("GET", f"{EVENT}/package", cut_short, Drop(), look)
    client.download_evidence(DIGEST, target)
    assert target.read_bytes() == b"PKwhole"
    assert list(tmp_path.iterdir()) == [target]


def test_refused_evidence_leaves_no_file(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    server.script("GET", f"{EVENT}/package", problem(403, "forbidden"))
    with pytest.raises(RefusedError, match="forbidden"):
        client.download_evidence(DIGEST, tmp_path / "evidence.zip")
    assert not list(tmp_path.iterdir())


def test_that_it_is_unhealthy_is_an_answer(server: ScriptedServer, client: Client) -> None:
    server.script("GET", "/health", Reply(503, {"status": "unhealthy", "services": {}}))
    assert client.health().status == "unhealthy"
    assert len(server.received) == 1


def test_a_503_of_something_before_the_server_is_no_health(
    server: ScriptedServer, client: Client
) -> None:
    server.script("GET", "/health", Reply(503, pieces=(b"<h1>no backend</h1>",)))
    with pytest.raises(UnavailableError):
        client.health()


def test_labels_and_relays_are_lists(server: ScriptedServer, client: Client) -> None:
    server.script("GET", "/api/v1/labels", Reply(200, {"labels": [{"labelId": "category"}]}))
    relays = {"relays": [{"networkAddress": "relay.example:8443"}]}
    server.script("GET", "/api/v1/relays", Reply(200, relays))
    assert client.labels() == [{"labelId": "category"}]
    assert [relay.network_address for relay in client.relays()] == ["relay.example:8443"]
    server.script("GET", "/api/v1/relays", Reply(200, {"relays": {}}))
    with pytest.raises(ProtocolError, match="list of relays"):
        client.relays()


@pytest.mark.parametrize(
    "address", ["", "events.example", "ftp://events.example", "https://a:b@events.example", "http:"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Client(address)


def test_a_path_in_the_address_is_kept(server: ScriptedServer) -> None:
    server.script("GET", "/below/health", Reply(200, {"status": "healthy", "services": {}}))
    with Client(f"{server.url}/below/") as client:
        assert client.health().status == "healthy"


def test_a_package_may_be_sent_as_it_came(server: ScriptedServer, client: Client) -> None:
    server.script("POST", "/api/v1/events", Reply(201, RECEIPT))
    client.submit(b'{"id" :  1e2}')
    assert server.received[0].body == b'{"id" :  1e2}'
    assert server.received[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("package", [{"value": float("nan")}, {"value": "\ud800"}])
def test_what_is_no_json_is_not_sent(
    package: dict[str, Any], server: ScriptedServer, client: Client
) -> None:
    with pytest.raises(ValueError):
        client.submit(package)
    assert not server.received


class _Pipe(RawIOBase):
    def readable(self) -> bool:
        return True


def test_media_that_cannot_be_sent_twice_is_refused(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(ValueError, match="rewound"):
        client.submit({"media": {"type": "image/png"}}, BufferedReader(_Pipe()))  # type: ignore[type-var]
    for package in (b"[]", b'{"media": {}}', b'{"media": 1}'):
        with pytest.raises(ValueError, match="type"):
            client.submit(package, b"bytes")
    assert not server.received


def test_threads_share_a_client(server: ScriptedServer) -> None:
    def echo(request: Received) -> Reply:
        return Reply(201, RECEIPT | {"eventId": request.document()["id"]})

    server.script("POST", "/api/v1/events", echo)
    found: list[bool] = []
    with Client(server.url, retry=RetryPolicy()) as client:

        def send(name: str) -> None:
            found.append(client.submit({"id": name}).event_id == name)

        threads = [threading.Thread(target=send, args=(f"event-{n}",)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [True] * 20
