"""Who runs the network: the first admin, those whom others vouch for, and how they leave."""

from __future__ import annotations

from typing import Any

import falcon.testing
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.errors import ConflictError
from eventserver_core.wiring import Services

from .exchange import assert_problem, bearer, certificate, pointers, seconds
from .network import ADMINS, AUDIT, Admin


@pytest.fixture
def bob(client: falcon.testing.TestClient) -> Admin:
    return Admin(client, "bob")


def test_the_first_admin_is_made_once(services: Services, alice: Admin) -> None:
    eve = Admin(alice.client, "eve")
    with pytest.raises(ConflictError, match="--force"):
        eve.bootstrap(services)
    assert alice.actions() == ["admin_bootstrapped", "admin_bootstrap_refused"]


def test_a_second_one_by_force_is_written_down(services: Services, alice: Admin) -> None:
    Admin(alice.client, "bob").bootstrap(services, force=True)
    entries = alice.get(AUDIT).json["entries"]
    assert [entry["details"]["forced"] for entry in entries] == [False, True]
    assert {entry["actor"] for entry in entries} == {"command-line"}


def test_an_admin_lets_another_in_by_signing_for_its_key(alice: Admin, bob: Admin) -> None:
    answer = alice.authorize(bob)
    assert answer.status_code == 201
    assert answer.json["authorizedBy"] == alice.id
    assert answer.json["state"] == "active"
    assert "certificate" not in answer.text  # it is for bob alone, who has the key
    issued = bob.obtain_certificate()
    assert issued.status_code == 201
    assert bob.get(ADMINS).status_code == 200
    names = [admin["name"] for admin in bob.get(ADMINS).json["admins"]]
    assert names == ["alice", "bob"]
    assert alice.actions()[1:] == ["admin_authorized", "admin_certificate_issued"]


def test_the_same_authorization_again_changes_nothing(alice: Admin, bob: Admin) -> None:
    authorization = alice.authorization(bob)
    first = alice.authorize(bob, authorization)
    again = alice.authorize(bob, authorization)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json == again.json
    assert len(alice.get(ADMINS).json["admins"]) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"sub": "somebody-else"},
        {"name": "carol"},
        {"iss": "somebody-else"},
        {"aud": "another-server"},
        {"exp": 1_700_000_000, "iat": 1_699_999_000},
        {"exp": None},
        {"iat": None},
        {"typ": "admin-assertion+jwt"},
        {"typ": "JWT"},
    ],
    ids=str,
)
def test_an_authorization_that_says_something_else_is_refused(
    alice: Admin, bob: Admin, changed: dict[str, Any]
) -> None:
    answer = alice.authorize(bob, alice.authorization(bob, **changed))
    assert_problem(answer, 401, "authorization_invalid")
    assert len(alice.get(ADMINS).json["admins"]) == 1


def test_an_authorization_that_lives_for_days_is_refused(alice: Admin, bob: Admin) -> None:
    answer = alice.authorize(bob, alice.authorization(bob, exp=seconds(86400)))
    assert_problem(answer, 401, "authorization_invalid")


def test_nobody_vouches_for_himself(alice: Admin, bob: Admin) -> None:
    bob.id = alice.id
    answer = alice.authorize(bob, bob.authorization(bob))
    assert_problem(answer, 401, "authorization_invalid")


def test_an_admin_without_a_key_cannot_vouch(services: Services, alice: Admin, bob: Admin) -> None:
    alice.headers = bearer(certificate(services, Role.ADMIN, "keyless"))
    assert_problem(alice.authorize(bob), 403, "forbidden")


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty": "oct", "k": "AAAA"},
        {"kty": ["EC"], "crv": {}},
    ],
    ids=str,
)
def test_a_key_that_cannot_sign_is_refused(alice: Admin, bob: Admin, key: dict[str, Any]) -> None:
    answer = alice.post(ADMINS, {"name": "bob", "publicKey": key, "authorization": "x"})
    assert_problem(answer, 400, "invalid_request")
    assert pointers(answer) == ["/publicKey"]


def test_a_private_key_is_refused_and_never_shown_again(alice: Admin, bob: Admin) -> None:
    private = bob.key.as_dict(private=True)
    answer = alice.post(ADMINS, {"name": "bob", "publicKey": private, "authorization": "x"})
    assert_problem(answer, 400, "invalid_request")
    assert str(private["d"]) not in answer.text


def test_an_assertion_is_good_for_one_certificate(alice: Admin, bob: Admin) -> None:
    alice.authorize(bob)
    assertion = bob.assertion()
    assert bob.obtain_certificate(assertion).status_code == 201
    assert_problem(bob.obtain_certificate(assertion), 401, "assertion_invalid")
    assert bob.obtain_certificate().status_code == 201


@pytest.mark.parametrize(
    "changed",
    [
        {"sub": "somebody-else"},
        {"iss": "somebody-else"},
        {"aud": "another-server"},
        {"exp": 1_700_000_000, "iat": 1_699_999_900},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 1000},
        {"typ": "admin-authorization+jwt"},
    ],
    ids=lambda changed: str(changed)[:40],
)
def test_an_assertion_that_says_something_else_is_refused(
    alice: Admin, changed: dict[str, Any]
) -> None:
    answer = alice.obtain_certificate(alice.assertion(**changed))
    assert_problem(answer, 401, "assertion_invalid")


def test_an_assertion_by_another_key_is_refused(alice: Admin, bob: Admin) -> None:
    bob.id = alice.id
    assert_problem(bob.obtain_certificate(), 401, "assertion_invalid")


def test_who_is_no_admin_gets_no_certificate(bob: Admin) -> None:
    bob.id = "no-admin"
    assert_problem(bob.obtain_certificate(), 401, "assertion_invalid")


def test_withdrawal_ends_every_certificate(alice: Admin, bob: Admin) -> None:
    alice.authorize(bob)
    held = []
    for _ in range(3):
        bob.obtain_certificate()
        held.append(bob.headers)
    assert alice.delete(f"{ADMINS}/{bob.id}").status_code == 204
    assert alice.delete(f"{ADMINS}/{bob.id}").status_code == 204
    for headers in held:
        bob.headers = headers
        assert_problem(bob.get(ADMINS), 401, "certificate_revoked")
    assert_problem(bob.obtain_certificate(), 401, "assertion_invalid")
    assert alice.actions().count("admin_withdrawn") == 1
    (found,) = [a for a in alice.get(ADMINS).json["admins"] if a["adminId"] == bob.id]
    assert (found["state"], found["withdrawnBy"]) == ("withdrawn", alice.id)


def test_a_withdrawn_key_does_not_come_back(alice: Admin, bob: Admin) -> None:
    alice.authorize(bob)
    alice.delete(f"{ADMINS}/{bob.id}")
    assert_problem(alice.authorize(bob), 409, "conflict")


def test_the_last_admin_stays(alice: Admin) -> None:
    assert_problem(alice.delete(f"{ADMINS}/{alice.id}"), 409, "last_admin")
    assert_problem(alice.delete(f"{ADMINS}/no-admin"), 404, "not_found")


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "\u202e"])
def test_a_name_that_cannot_be_shown_is_refused(alice: Admin, bob: Admin, name: str) -> None:
    bob.name = name
    assert_problem(alice.authorize(bob), 400, "invalid_request")


def test_every_fault_of_a_body_is_told_at_once(alice: Admin) -> None:
    answer = alice.post(ADMINS, {"name": 1, "more": 2})
    assert_problem(answer, 400, "invalid_request")
    assert pointers(answer) == ["/name", "/publicKey", "/authorization", "/more"]
