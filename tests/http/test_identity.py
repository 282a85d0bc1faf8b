"""How a device gets its certificate, who is who afterwards, and how certificates are taken back."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import falcon.testing
import pytest
from joserfc.jwk import ECKey, OKPKey

from eventserver_core.demo.device import Device
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    CHALLENGE,
    EVENTS,
    SOLUTION,
    Answer,
    Client,
    Headers,
    assert_problem,
    bearer,
    claims_of,
    craft_token,
    enroll,
    patiently,
    pointers,
    post_event,
    private_key,
    seconds,
    subject_of,
)


def encoded(value: Any) -> str:
    """Return JSON as the app sends keys."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def solve(client: Client, device: Device) -> dict[str, Any]:
    return device.solve(client.simulate_post(CHALLENGE).json)


def digest_of(challenge: dict[str, Any], nonce: int) -> bytes:
    """Return the digest that the contract asks for."""
    content = challenge["challenge_data"].encode() + nonce.to_bytes(8, "little")
    return hashlib.sha256(content).digest()


def solution_of(challenge: dict[str, Any], nonce: int, device: Device) -> dict[str, Any]:
    """Return the body that says that a nonce is the solution."""
    return {
        "solution": {
            "challenge_id": challenge["challenge_id"],
            "nonce": nonce,
            "hash": base64.b64encode(digest_of(challenge, nonce)).decode(),
        },
        "public_key": encoded(device.public_key),
        "relay_id": "device_1704067200000",
    }


class TestTheProofOfWork:
    def test_a_challenge_is_what_the_app_expects(self, client: Client) -> None:
        answer = client.simulate_post(CHALLENGE)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert list(answer.json) == ["challenge_id", "challenge_data", "difficulty", "expires_at"]
        assert len(base64.b64decode(answer.json["challenge_data"], validate=True)) == 32
        assert answer.json["difficulty"] == 4
        lives = datetime.fromisoformat(answer.json["expires_at"]) - datetime.now(UTC)
        assert timedelta(minutes=9) < lives <= timedelta(minutes=10)
        assert (
            client.simulate_post(CHALLENGE).json["challenge_data"] != answer.json["challenge_data"]
        )

    def test_the_difficulty_can_be_set(self, make_services: Callable[..., Services]) -> None:
        services = make_services(EVENTSERVER__SECURITY__POW_DIFFICULTY="2")
        client = falcon.testing.TestClient(services.application())
        assert client.simulate_post(CHALLENGE).json["difficulty"] == 2
        assert enroll(client, Device()).status_code == 200

    def test_done_as_the_app_does_it_it_gives_a_certificate(self, client: Client) -> None:
        challenge = client.simulate_post(CHALLENGE).json
        nonce = next(
            n for n in itertools.count() if digest_of(challenge, n).hex().startswith("0000")
        )
        device = Device()
        body = solution_of(challenge, nonce, device)
        answer = client.simulate_post(SOLUTION, json=body)
        assert answer.status_code == 200
        assert list(answer.json) == ["token"]
        assert answer.headers["cache-control"] == "no-store"
        claims = claims_of(answer.json["token"])
        assert {"sub", "role", "jti", "iat", "exp", "iss", "aud", "cnf"} <= claims.keys()
        assert (claims["role"], claims["sub"]) == ("device", subject_of(device))
        assert claims["exp"] - claims["iat"] == 24 * 3600
        assert claims["cnf"]["jwk"].keys() == {"kty", "crv", "x", "y"}
        headers = bearer(answer.json["token"])
        assert post_event(client, headers, make_package()).status_code == 201

    def test_a_challenge_is_good_for_one_certificate(self, client: Client) -> None:
        device = Device()
        solved = solve(client, device)
        assert client.simulate_post(SOLUTION, json=solved).status_code == 200
        for body in (solved, solved | {"public_key": encoded(Device().public_key)}):
            answer = client.simulate_post(SOLUTION, json=body)
            assert_problem(answer, 409, "challenge_used")

    def test_on_several_instances_at_once_too(self, make_services: Callable[..., Services]) -> None:
        instances = [make_services() for _ in range(4)]
        clients = [falcon.testing.TestClient(services.application()) for services in instances]
        solved = solve(clients[0], Device())
        barrier = threading.Barrier(8)

        def redeem(n: int) -> Answer:
            barrier.wait(30)
            try:
                client = clients[n % 4]
                return patiently(lambda: client.simulate_post(SOLUTION, json=solved))
            finally:
                instances[n % 4].database.close()

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(redeem, range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7

    def test_what_does_not_hold_is_422_and_may_be_tried_again(self, client: Client) -> None:
        device = Device()
        solved = solve(client, device)
        solution = solved["solution"]
        token = enroll(client, Device()).json["token"]
        other = client.simulate_post(CHALLENGE).json["challenge_id"]
        for change in (
            {"nonce": solution["nonce"] + 1},
            {"nonce": 2**64 - 1},
            {"hash": base64.b64encode(bytes(32)).decode()},
            {"hash": base64.b64encode(b"").decode()},
            {"hash": base64.b64encode(b"\0" * 16).decode()},
            {"challenge_id": other},
            {"challenge_id": token},
            {"challenge_id": "nonsense"},
            {"challenge_id": solution["challenge_id"][:-4] + "AAAA"},
        ):
            body = solved | {"solution": solution | change}
            answer = client.simulate_post(SOLUTION, json=body)
            assert_problem(answer, 422, "invalid_solution")
        assert client.simulate_post(SOLUTION, json=solved).status_code == 200

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"iat": seconds(-601), "exp": seconds(-1)}, "out of date"),
            ({"dif": 0}, "not one of this server's"),
            ({"dif": "4"}, "not one of this server's"),
            ({"chd": ""}, "not one of this server's"),
            ({"aud": "eventserver"}, "not one of this server's"),
        ],
    )
    def test_a_challenge_that_has_ended_or_lacks_something_is_refused(
        self, make_services: Callable[..., Services], changed: dict[str, Any], said: str
    ) -> None:
        secret = "mQ4vXz81LwNc7TgYb2RkHs6PfJd0UoEa"
        services = make_services(JWT_SECRET=secret)
        client = falcon.testing.TestClient(services.application())
        challenge = client.simulate_post(CHALLENGE).json
        claims = claims_of(challenge["challenge_id"])
        for change in (changed, {}):
            challenge["challenge_id"] = craft_token(secret, claims | change, typ="pow+jwt")
            answer = client.simulate_post(SOLUTION, json=Device().solve(challenge))
            if change:
                problem = assert_problem(answer, 422, "invalid_solution")
                assert said in problem["detail"]
            else:
                assert answer.status_code == 200

    def test_work_for_less_is_not_enough(self, make_services: Callable[..., Services]) -> None:
        """An easier challenge is another server's; this one's own says how much was asked."""
        hard = make_services(JWT_SECRET="a" * 8 + "0zQ9xLr5TnB2yVhX9kGdM4cJfE8s")
        easy = make_services(
            JWT_SECRET="b" * 8 + "0zQ9xLr5TnB2yVhX9kGdM4cJfE8s",
            EVENTSERVER__SECURITY__POW_DIFFICULTY="1",
        )
        clients = [falcon.testing.TestClient(s.application()) for s in (hard, easy)]
        solved = solve(clients[1], Device())
        assert_problem(clients[0].simulate_post(SOLUTION, json=solved), 422, "invalid_solution")
        # less work than its own challenge asks for
        challenge = clients[0].simulate_post(CHALLENGE).json
        nonce = next(
            n
            for n in itertools.count()
            if digest_of(challenge, n).hex().startswith("000")
            and not digest_of(challenge, n).hex().startswith("0000")
        )
        body = solution_of(challenge, nonce, Device())
        assert_problem(clients[0].simulate_post(SOLUTION, json=body), 422, "invalid_solution")

    @pytest.mark.parametrize("nonce", [2**53, 2**63, 2**64 - 1])
    def test_a_nonce_of_64_bits_is_read_as_it_is(
        self, make_services: Callable[..., Services], nonce: int
    ) -> None:
        """Doubles can't tell it from its neighbours, so the digest would be another's."""
        services = make_services(EVENTSERVER__SECURITY__POW_DIFFICULTY="16")
        client = falcon.testing.TestClient(services.application())
        body = solution_of(client.simulate_post(CHALLENGE).json, nonce, Device())
        answer = client.simulate_post(SOLUTION, json=body)
        problem = assert_problem(answer, 422, "invalid_solution")
        # the digest was found to be that of this nonce; it just isn't a lucky one
        assert "zero hex digits" in problem["detail"]

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"nonce": -1}, "/solution/nonce"),
            ({"nonce": 2**64}, "/solution/nonce"),
            ({"nonce": 10**400}, "/solution/nonce"),
            ({"nonce": "5"}, "/solution/nonce"),
            ({"nonce": 5.5}, "/solution/nonce"),
            ({"nonce": None}, "/solution/nonce"),
            ({"nonce": True}, "/solution/nonce"),
            ({"hash": 5}, "/solution/hash"),
            ({"hash": "not base64!"}, "/solution/hash"),
            ({"hash": "A" * 100}, "/solution/hash"),
            ({"challenge_id": ""}, "/solution/challenge_id"),
            ({"challenge_id": "x" * 10_000}, "/solution/challenge_id"),
        ],
    )
    def test_a_malformed_solution_is_told_where(
        self, client: Client, change: dict[str, Any], pointer: str
    ) -> None:
        device = Device()
        solution = {"challenge_id": "x", "nonce": 1, "hash": ""} | change
        body = {"solution": solution, "public_key": encoded(device.public_key), "relay_id": "x"}
        answer = client.simulate_post(SOLUTION, json=body)
        assert_problem(answer, 400, "invalid_package")
        assert pointers(answer) == [pointer]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"{}",
            b"\xff",
            b'{"solution": NaN}',
            b"[" * 60_000,
            b'{"a":' * 10_000,
            b'{"solution": {}, "public_key": 5}',
            b'{"solution": "\\ud800", "public_key": ""}',
        ],
        ids=lambda body: repr(body[:20]),
    )
    def test_a_malformed_body_is_400(self, client: Client, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        answer = client.simulate_post(SOLUTION, body=body, headers=headers)
        assert assert_problem(answer, 400, "invalid_package")["errors"]

    def test_a_body_of_another_kind_or_size_is_refused(self, client: Client) -> None:
        for content_type in ("text/plain", "multipart/form-data; boundary=x"):
            headers = {"Content-Type": content_type}
            answer = client.simulate_post(SOLUTION, body="{}", headers=headers)
            assert_problem(answer, 415, "unsupported_media_type")
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = client.simulate_post(SOLUTION, body="{}", headers=headers)
        assert_problem(answer, 415, "unsupported_media_type")
        headers = {"Content-Type": "application/json"}
        answer = client.simulate_post(SOLUTION, body=" " * 70_000, headers=headers)
        assert_problem(answer, 413, "content_too_large")


class TestWhoADeviceIs:
    def test_its_identity_is_its_key_and_its_label_only_a_label(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        device = Device()
        digest_hex = post_event(client, relay, make_package()).json["hash"]
        tokens = [
            enroll(client, device, relay_id=label).json["token"]
            for label in ("relay-1", "admin-1", "device:somebody", None)
        ]
        for token in tokens:
            assert claims_of(token)["sub"] == subject_of(device)
            assert claims_of(token)["role"] == "device"
            assert "relay-1" not in json.dumps(claims_of(token))
            answer = client.simulate_get(f"{EVENTS}/{digest_hex}", headers=bearer(token))
            assert_problem(answer, 403, "forbidden")
        receipt = post_event(client, bearer(tokens[0]), make_package())
        record = client.simulate_get(receipt.headers["location"], headers=bearer(tokens[1])).json
        assert record["submittedBy"] == {"subject": subject_of(device), "role": "device"}

    def test_a_label_may_be_absent_and_must_be_short_text(self, client: Client) -> None:
        solved = solve(client, Device())
        for label in (5, ["x"], "x" * 257):
            answer = client.simulate_post(SOLUTION, json=solved | {"relay_id": label})
            assert_problem(answer, 400, "invalid_package")
            assert pointers(answer) == ["/relay_id"]
        del solved["relay_id"]
        assert client.simulate_post(SOLUTION, json=solved).status_code == 200

    def test_what_browsers_add_to_a_key_makes_no_other_device(self, client: Client) -> None:
        device = Device()
        browser = device.public_key | {"ext": True, "key_ops": ["verify"], "alg": "ES256"}
        tokens = [
            enroll(client, device, public_key=encoded(key)).json["token"]
            for key in (device.public_key, browser)
        ]
        first, second = map(claims_of, tokens)
        assert first["sub"] == second["sub"]
        assert first["cnf"] == second["cnf"]

    def test_a_key_that_is_none_is_refused(self, client: Client) -> None:
        good = Device().public_key
        off_curve = good | {"y": good["x"]}
        other_curve = ECKey.generate_key("P-384", private=False).as_dict(private=False)
        edwards = OKPKey.generate_key("Ed25519", private=False).as_dict(private=False)
        for key in (
            off_curve,
            good | {"x": "AA", "y": "AA"},
            good | {"x": ""},
            good | {"x": 5},
            good | {"crv": "P-384"},
            good | {"crv": "secp256k1"},
            good | {"kty": "RSA"},
            other_curve,
            edwards,
            {"kty": "oct", "k": "c2VjcmV0"},
            {},
            [],
            "text",
            None,
        ):
            answer = enroll(client, Device(), public_key=encoded(key))
            assert_problem(answer, 400, "invalid_request")
        for text in (
            "",
            base64.b64encode(b"not json").decode(),
            base64.b64encode(b"\xff").decode(),
        ):
            answer = enroll(client, Device(), public_key=text)
            assert_problem(answer, 400, "invalid_request")
        for text in ("not base64", "ä"):
            answer = enroll(client, Device(), public_key=text)
            assert_problem(answer, 400, "invalid_package")
            assert pointers(answer) == ["/public_key"]

    def test_a_private_key_is_refused_kept_nowhere_and_costs_no_challenge(
        self, client: Client, services: Services
    ) -> None:
        device = Device()
        secret = dict(private_key(device).as_dict(private=True))
        solved = solve(client, device)
        answer = client.simulate_post(SOLUTION, json=solved | {"public_key": encoded(secret)})
        problem = assert_problem(answer, 400, "invalid_request")
        assert "private" in problem["detail"]
        assert secret["d"] not in answer.text
        database = services.database.path
        assert database is not None
        kept = [path for path in database.parent.rglob("*") if path.is_file()]
        assert kept
        assert not any(secret["d"].encode() in path.read_bytes() for path in kept)
        assert client.simulate_post(SOLUTION, json=solved).status_code == 200
