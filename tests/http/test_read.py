"""What is known of an event, whether it is anchored, and the proof of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import falcon.testing
import pytest
from structlog.testing import capture_logs

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.domain import merkle
from eventserver_core.domain.package import make_statement
from eventserver_core.domain.proof import Verdict, check_proof, verdict
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    EVENTS,
    Client,
    Headers,
    assert_problem,
    bearer,
    certificate,
    enroll,
    post_event,
    post_signed,
    replace_backend,
    subject_of,
)

PHOTO = Path(__file__).parents[1] / "media" / "photo.jpg"
NOBODYS = "0" * 64
BAD_HASHES = ["xyz", "0" * 63, "0" * 65, "g" * 64, "0x" + "0" * 62, "..", "%00" * 64]


def stored(client: Client, headers: Headers, **members: Any) -> str:
    """Send an event; returns its hash."""
    answer = post_event(client, headers, make_package(**members))
    assert answer.status_code == 201, answer.text
    return str(answer.json["hash"])


class TestTheRecord:
    def test_its_owner_and_an_admin_see_all_of_it(
        self,
        client: Client,
        relay: Headers,
        admin: Headers,
        device: Device,
        device_token: str,
    ) -> None:
        package = make_package(PHOTO)
        text = device.sign(package, certificate=device_token)
        receipt = post_signed(client, relay, text).json
        location = f"{EVENTS}/{receipt['hash']}"
        answers = [
            client.simulate_get(location, headers=headers)
            for headers in (relay, bearer(device_token), admin)
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert len({answer.content for answer in answers}) == 1
        assert answers[0].headers["cache-control"] == "private, no-store"
        record = answers[0].json
        event = record.pop("event")
        assert record == {
            "eventId": package["id"],
            "hash": receipt["hash"],
            "status": "stored",
            "processedAt": receipt["processedAt"],
            "storageLocation": receipt["storageLocation"],
            "submittedBy": {"subject": "relay-1", "role": "relay"},
            "device": subject_of(device),
            "signed": True,
            "lostAnchors": [],
            "retainedUntil": None,
        }
        digest_hex = event["media"]["sha256"]
        assert make_statement(package, digest_hex).document == event
        assert make_statement(package, digest_hex).digest_hex == receipt["hash"]

    @pytest.mark.parametrize("what", ["", "/package"])
    def test_nobody_else_sees_it(
        self, client: Client, relay: Headers, services: Services, what: str
    ) -> None:
        location = f"{EVENTS}/{stored(client, relay)}{what}"
        others = [
            certificate(services, Role.RELAY, "relay-2"),
            certificate(services, Role.RELAY, "Relay-1"),
            enroll(client, Device(), relay_id="relay-1").json["token"],
        ]
        for token in others:
            answer = client.simulate_get(location, headers=bearer(token))
            assert_problem(answer, 403, "forbidden")
        assert_problem(client.simulate_get(location), 401, "unauthenticated")

    @pytest.mark.parametrize("what", ["", "/package"])
    def test_an_unknown_hash_is_404_and_none_at_all_400(
        self, client: Client, relay: Headers, what: str
    ) -> None:
        answer = client.simulate_get(f"{EVENTS}/{NOBODYS}{what}", headers=relay)
        assert_problem(answer, 404, "not_found")
        for bad in BAD_HASHES:
            answer = client.simulate_get(f"{EVENTS}/{bad}{what}", headers=relay)
            assert_problem(answer, 400, "invalid_request")

    def test_a_hash_in_upper_case_is_the_same_hash(self, client: Client, relay: Headers) -> None:
        digest_hex = stored(client, relay)
        for what in ("", "/verify"):
            lower, upper = (
                client.simulate_get(f"{EVENTS}/{text}{what}", headers=relay)
                for text in (digest_hex, digest_hex.upper())
            )
            assert lower.status_code == upper.status_code == 200
            assert lower.json["hash"] == upper.json["hash"] == digest_hex

    def test_a_pack_that_was_altered_is_not_given_out(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        digest_hex = stored(client, relay)
        pack = next((data_dir(services) / "objects").glob("pack-*"))
        whole = pack.read_bytes()
        contents = [
            whole.replace(b"Music", b"Noise"),
            whole.replace(digest_hex.encode(), b"0" * 64),
            whole.replace(b"relay-1", b"relay-2"),
            whole.replace(b'"receivedAt":"2', b'"receivedAt":"3'),
            whole[: len(whole) // 2],
            b"x" * len(whole),
            b"[]" + b" " * (len(whole) - 3) + b"\n",
        ]
        for content in contents:
            assert content != whole
            pack.write_bytes(content)
            for what in ("", "/package"):
                with capture_logs() as lines:
                    answer = client.simulate_get(f"{EVENTS}/{digest_hex}{what}", headers=relay)
                assert_problem(answer, 500, "evidence_damaged")
                assert b"Noise" not in answer.content
                assert "evidence_altered" in [line["event"] for line in lines]
        pack.unlink()
        answer = client.simulate_get(f"{EVENTS}/{digest_hex}", headers=relay)
        assert_problem(answer, 500, "evidence_damaged")
        pack.write_bytes(whole)
        assert client.simulate_get(f"{EVENTS}/{digest_hex}", headers=relay).status_code == 200


def data_dir(services: Services) -> Path:
    path = services.database.path
    assert path is not None
    return path.parent


class TestWhetherItIsOnTheChain:
    def verify(self, client: Client, digest_hex: str) -> dict[str, Any]:
        answer = client.simulate_get(f"{EVENTS}/{digest_hex}/verify")
        assert answer.status_code == 200, answer.text
        final = (answer.json["status"], answer.json["checkedAgainst"]) == ("confirmed", "chain")
        kept = "public, max-age=60" if final else "no-cache"
        assert answer.headers["cache-control"] == kept
        return answer.json  # type: ignore[no-any-return]

    def test_a_hash_that_nobody_sent_is_unknown(self, client: Client) -> None:
        found = self.verify(client, NOBODYS)
        now = datetime.now(UTC)
        assert abs((datetime.fromisoformat(found.pop("verifiedAt")) - now).total_seconds()) < 60
        assert found == {
            "hash": NOBODYS,
            "exists": False,
            "status": "unknown",
            "checkedAgainst": "database",
        }

    def test_a_hash_that_is_none_is_400(self, client: Client) -> None:
        for what in ("verify", "proof"):
            for bad in BAD_HASHES:
                answer = client.simulate_get(f"{EVENTS}/{bad}/{what}")
                assert_problem(answer, 400, "invalid_request")

    def test_an_event_that_waits_is_stored(self, client: Client, relay: Headers) -> None:
        found = self.verify(client, stored(client, relay))
        assert (found["exists"], found["status"]) == (False, "stored")
        assert not {"blockNumber", "merkleRoot", "transactionHash"} & found.keys()

    def test_an_event_that_is_anchored_is_confirmed(
        self, client: Client, relay: Headers, anchor_all: Callable[[], None]
    ) -> None:
        digest_hex = stored(client, relay)
        anchor_all()
        found = self.verify(client, digest_hex)
        leaf = merkle.root([bytes.fromhex(digest_hex)])
        assert datetime.fromisoformat(found.pop("timestamp")) <= datetime.now(UTC)
        assert found.pop("verifiedAt").endswith("Z")
        assert found.pop("transactionHash").startswith("0x")
        assert found == {
            "hash": digest_hex,
            "exists": True,
            "status": "confirmed",
            "checkedAgainst": "chain",
            "merkleRoot": leaf.hex(),
            "blockNumber": 1,
            "network": "local",
            "confirmations": 1,
        }

    def test_an_event_whose_batch_waits_for_the_chain_is_batched(
        self,
        services: Services,
        anchor_all: Callable[[], None],
    ) -> None:
        replace_backend(services, "chain", publish=away)
        client = falcon.testing.TestClient(services.application())
        relay = bearer(certificate(services, Role.RELAY, "relay-1"))
        digest_hex = stored(client, relay)
        anchor_all()
        found = self.verify(client, digest_hex)
        assert (found["exists"], found["status"]) == (False, "batched")
        assert found["merkleRoot"] == merkle.root([bytes.fromhex(digest_hex)]).hex()
        assert "transactionHash" not in found

    def test_a_chain_that_cannot_be_asked_leaves_what_was_recorded(
        self, client: Client, relay: Headers, services: Services, anchor_all: Callable[[], None]
    ) -> None:
        digest_hex = stored(client, relay)
        anchor_all()
        before = self.verify(client, digest_hex)
        for fault in (away, broken):
            replace_backend(services, "chain", find=fault)
            services.__dict__.pop("verifications", None)
            found = self.verify(falcon.testing.TestClient(services.application()), digest_hex)
            assert found["checkedAgainst"] == "database"
            assert (found["exists"], found["status"]) == (True, "confirmed")
            assert found["transactionHash"] == before["transactionHash"]

    def test_an_anchor_that_the_chain_no_longer_has_does_not_exist(
        self, client: Client, relay: Headers, services: Services, anchor_all: Callable[[], None]
    ) -> None:
        digest_hex = stored(client, relay)
        anchor_all()
        (data_dir(services) / "ledger.ndjson").write_bytes(b"")
        with capture_logs() as lines:
            found = self.verify(client, digest_hex)
        assert (found["exists"], found["status"]) == (False, "batched")
        assert found["checkedAgainst"] == "chain"
        assert "anchor_missing" in [line["event"] for line in lines]

    def test_who_has_the_newest_answer_already_gets_none(
        self, client: Client, relay: Headers, anchor_all: Callable[[], None]
    ) -> None:
        path = f"{EVENTS}/{stored(client, relay)}/verify"
        tags = []
        for _ in range(2):
            answer = client.simulate_get(path)
            tags.append(answer.headers["etag"])
            assert tags[-1].startswith('W/"')
            for method in ("GET", "HEAD"):
                for known in (tags[-1], tags[-1].removeprefix("W/"), f'"other", {tags[-1]}'):
                    again = client.simulate_request(method, path, headers={"If-None-Match": known})
                    assert (again.status_code, again.content) == (304, b"")
                    for name in ("etag", "cache-control"):
                        assert again.headers[name] == answer.headers[name]
            anchor_all()
        assert client.simulate_get(path, headers={"If-None-Match": tags[0]}).status_code == 200
        assert tags[0] != tags[1]


def away(*_args: object) -> Any:
    raise BackendUnavailableError("chain=faulty", "no node answers")


def broken(*_args: object) -> Any:
    raise ZeroDivisionError


class TestTheProof:
    def test_an_event_that_waits_has_none_yet(self, client: Client, relay: Headers) -> None:
        digest_hex = stored(client, relay)
        answer = client.simulate_get(f"{EVENTS}/{digest_hex}/proof")
        assert answer.status_code == 202
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json["hash"] == digest_hex
        assert verdict(check_proof(answer.json)) is Verdict.PENDING

    def test_a_hash_that_is_not_known_has_none(self, client: Client) -> None:
        assert_problem(client.simulate_get(f"{EVENTS}/{NOBODYS}/proof"), 404, "not_found")

    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_every_event_of_a_batch_has_one_that_checks(
        self, client: Client, relay: Headers, anchor_all: Callable[[], None], size: int
    ) -> None:
        packages = [make_package() for _ in range(size)]
        hashes = [post_event(client, relay, package).json["hash"] for package in packages]
        anchor_all()
        root = merkle.root([bytes.fromhex(digest_hex) for digest_hex in hashes]).hex()
        for index, (digest_hex, package) in enumerate(zip(hashes, packages, strict=True)):
            answer = client.simulate_get(f"{EVENTS}/{digest_hex}/proof")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json"
            assert "retry-after" not in answer.headers
            proof = answer.json
            assert verdict(check_proof(proof)) is Verdict.VALID
            assert (proof["format"], proof["eventId"]) == ("eventserver-proof/1", package["id"])
            assert proof["hash"] == digest_hex
            assert proof["merkle"]["leafIndex"] == index
            assert proof["merkle"]["treeSize"] == size
            assert proof["merkle"]["root"] == root
            assert proof["merkle"]["algorithm"] == "RFC9162-SHA256"
            assert proof["anchor"]["chain"] == "ledger"
            assert proof["anchor"]["network"] == "local"

    def test_later_batches_leave_it_as_it_was(
        self, client: Client, relay: Headers, anchor_all: Callable[[], None]
    ) -> None:
        path = f"{EVENTS}/{stored(client, relay)}/proof"
        anchor_all()
        before = client.simulate_get(path)
        stored(client, relay)
        anchor_all()
        assert client.simulate_get(path).content == before.content

    def test_who_has_it_already_gets_none(
        self, client: Client, relay: Headers, services: Services, anchor_all: Callable[[], None]
    ) -> None:
        path = f"{EVENTS}/{stored(client, relay)}/proof"
        waiting = client.simulate_get(path)
        assert (waiting.status_code, waiting.headers["cache-control"]) == (202, "no-cache")
        assert "etag" not in waiting.headers
        anchor_all()
        with services.database.transaction() as database:
            database.execute_sql("UPDATE batches SET state = 'anchored'")
        first = client.simulate_get(path)
        assert first.headers["cache-control"] == "no-cache"
        with services.database.transaction() as database:
            database.execute_sql("UPDATE batches SET state = 'confirmed'")
        # the same tag, since it is the same proof: now for ever
        for method in ("GET", "HEAD"):
            answer = client.simulate_request(method, path)
            assert answer.status_code == 200
            assert answer.headers["etag"] == first.headers["etag"]
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            known = {"If-None-Match": f'"other", {answer.headers["etag"]}'}
            again = client.simulate_request(method, path, headers=known)
            assert (again.status_code, again.content) == (304, b"")
            for name in ("etag", "cache-control"):
                assert again.headers[name] == answer.headers[name]
        assert first.headers["etag"].startswith('"')
        unknown = client.simulate_get(path, headers={"If-None-Match": '"other"'})
        assert (unknown.status_code, unknown.content) == (200, first.content)

    def test_a_proof_that_does_not_check_is_not_given_out(
        self, client: Client, relay: Headers, services: Services, anchor_all: Callable[[], None]
    ) -> None:
        digest_hex = stored(client, relay)
        anchor_all()
        with services.database.transaction() as database:
            database.execute_sql("UPDATE batches SET root_hex = ?", ("f" * 64,))
        answer = client.simulate_get(f"{EVENTS}/{digest_hex}/proof")
        assert_problem(answer, 503, "backend_unavailable")
