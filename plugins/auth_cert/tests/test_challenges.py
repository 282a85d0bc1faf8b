"""Proofs of work, as far as they can be checked without a memory."""

from __future__ import annotations

import base64
import dataclasses
import json
import struct
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import jwt
import pytest
from eventserver_auth_cert import CertificateAuth

from eventserver_core.backends.auth import Role, Solution
from eventserver_core.errors import AuthenticationError, InvalidSolutionError

Solve = Callable[..., Solution]


def test_a_challenge_is_32_random_bytes_for_ten_minutes(auth: CertificateAuth, clock: Any) -> None:
    one, other = auth.make_challenge(), auth.make_challenge()
    assert len(base64.b64decode(one.challenge_data, validate=True)) == 32
    assert one.challenge_data != other.challenge_data
    assert one.difficulty == 1
    assert one.expires_at == clock.now.replace(microsecond=0) + timedelta(minutes=10)


def test_a_challenge_has_the_documented_claims_and_no_others(
    auth: CertificateAuth, secret: str, clock: Any
) -> None:
    challenge = auth.make_challenge()
    assert jwt.get_unverified_header(challenge.challenge_id) == {"alg": "HS256", "typ": "pow+jwt"}
    claims = jwt.decode(
        challenge.challenge_id,
        secret,
        ["HS256"],
        audience="eventserver/pow",
        options={"verify_exp": False},
    )
    assert len(claims.pop("jti")) == 32
    assert claims == {
        "iss": "eventserver",
        "aud": "eventserver/pow",
        "chd": challenge.challenge_data,
        "dif": 1,
        "iat": clock.seconds(),
        "exp": clock.seconds() + 600,
    }


def test_work_that_was_done_is_recognised_on_every_instance(
    make_auth: Callable[..., CertificateAuth], secret: str, solve: Solve
) -> None:
    keys = {"auth__jwt_secret": secret, "security__pow_difficulty": "2"}
    one, other = make_auth(**keys), make_auth(**keys)
    challenge = one.make_challenge()
    solution = solve(challenge)
    assert one.check_solution(solution) == other.check_solution(solution)
    assert other.check_solution(solution).expires_at == challenge.expires_at


def test_each_challenge_has_a_key_of_its_own(auth: CertificateAuth, solve: Solve) -> None:
    keys = {auth.check_solution(solve(auth.make_challenge())).challenge_key for _ in range(5)}
    assert len(keys) == 5
    assert all(0 < len(key) <= 64 for key in keys)


def test_two_solutions_of_one_challenge_share_its_key(auth: CertificateAuth, solve: Solve) -> None:
    challenge = auth.make_challenge()
    one = solve(challenge)
    nonce = one.nonce + 1
    while True:
        content = challenge.challenge_data.encode() + struct.pack("<Q", nonce)
        if sha256(content).hexdigest().startswith("0"):
            break
        nonce += 1
    other = Solution(challenge.challenge_id, nonce, sha256(content).digest())
    assert auth.check_solution(one).challenge_key == auth.check_solution(other).challenge_key


def test_a_challenge_ends_on_the_second(auth: CertificateAuth, solve: Solve, clock: Any) -> None:
    solution = solve(auth.make_challenge())
    clock.advance(seconds=599.749)
    auth.check_solution(solution)
    clock.advance(seconds=0.001)
    with pytest.raises(InvalidSolutionError, match="out of date"):
        auth.check_solution(solution)


@pytest.mark.parametrize("nonce", [-1, 2**64, 10**100, True, 1.0, "1", None])
def test_a_nonce_is_an_unsigned_64_bit_number(
    auth: CertificateAuth, solve: Solve, nonce: Any
) -> None:
    solution = dataclasses.replace(solve(auth.make_challenge()), nonce=nonce)
    with pytest.raises(InvalidSolutionError, match="64-bit"):
        auth.check_solution(solution)


def test_the_largest_nonce_is_a_number_like_any_other(auth: CertificateAuth) -> None:
    while True:
        challenge = auth.make_challenge()
        digest = sha256(challenge.challenge_data.encode() + b"\xff" * 8).digest()
        if digest.hex().startswith("0"):
            break
    assert auth.check_solution(Solution(challenge.challenge_id, 2**64 - 1, digest))


def test_the_hash_must_be_the_one_of_the_nonce(auth: CertificateAuth, solve: Solve) -> None:
    solution = solve(auth.make_challenge())
    for digest in (bytes(32), b"", solution.digest + b"\0", solution.digest[:-1]):
        with pytest.raises(InvalidSolutionError, match="this nonce"):
            auth.check_solution(dataclasses.replace(solution, digest=digest))
    with pytest.raises(InvalidSolutionError, match="this nonce"):
        auth.check_solution(dataclasses.replace(solution, nonce=solution.nonce + 1))


def test_too_little_work_is_refused(
    make_auth: Callable[..., CertificateAuth], secret: str, solve: Solve
) -> None:
    hard = make_auth(auth__jwt_secret=secret, security__pow_difficulty="16")
    with pytest.raises(InvalidSolutionError, match="16 zero hex digits"):
        hard.check_solution(solve(hard.make_challenge(), difficulty=1))


def test_the_difficulty_cannot_be_talked_down(
    make_auth: Callable[..., CertificateAuth], secret: str, solve: Solve
) -> None:
    hard = make_auth(auth__jwt_secret=secret, security__pow_difficulty="16")
    challenge = hard.make_challenge()
    solution = solve(challenge, difficulty=1)
    header, claims, signature = challenge.challenge_id.split(".")
    easier = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"dif": 1}
    text = base64.urlsafe_b64encode(json.dumps(easier).encode()).decode().rstrip("=")
    with pytest.raises(InvalidSolutionError, match="not one of this server's"):
        hard.check_solution(
            dataclasses.replace(solution, challenge_id=f"{header}.{text}.{signature}")
        )


def test_what_was_asked_before_the_setting_was_raised_is_good_until_it_expires(
    make_auth: Callable[..., CertificateAuth], secret: str, solve: Solve
) -> None:
    solution = solve(
        make_auth(auth__jwt_secret=secret, security__pow_difficulty="1").make_challenge()
    )
    raised = make_auth(auth__jwt_secret=secret, security__pow_difficulty="16")
    assert raised.check_solution(solution).challenge_key


@pytest.mark.parametrize(
    "changed",
    [
        {"dif": 0},
        {"dif": -1},
        {"dif": 65},
        {"dif": True},
        {"dif": 1.0},
        {"dif": "1"},
        {"dif": None},
        {"chd": 5},
        {"chd": ""},
        {"jti": None},
        {"exp": None},
        {"exp": "9999999999"},
        {"iss": "another"},
        {"aud": "eventserver"},
        {"aud": "another/pow"},
    ],
)
def test_a_challenge_with_a_claim_of_the_wrong_kind_is_refused(
    auth: CertificateAuth, secret: str, solve: Solve, changed: dict[str, Any]
) -> None:
    challenge = auth.make_challenge()
    _, claims, _ = challenge.challenge_id.split(".")
    other = json.loads(base64.urlsafe_b64decode(claims + "==")) | changed
    token = jwt.api_jws.encode(
        json.dumps(other).encode(), secret, "HS256", headers={"typ": "pow+jwt"}
    )
    with pytest.raises(InvalidSolutionError):
        auth.check_solution(dataclasses.replace(solve(challenge), challenge_id=token))


def test_a_challenge_is_no_certificate(auth: CertificateAuth, secret: str) -> None:
    challenge = auth.make_challenge().challenge_id
    with pytest.raises(AuthenticationError):
        auth.authenticate(challenge)
    claims = jwt.decode(challenge, options={"verify_signature": False}) | {
        "sub": "a",
        "role": "admin",
    }
    for audience, typ in (("eventserver/pow", "JWT"), ("eventserver", "pow+jwt")):
        token = jwt.api_jws.encode(
            json.dumps(claims | {"aud": audience}).encode(), secret, "HS256", {"typ": typ}
        )
        with pytest.raises(AuthenticationError):
            auth.authenticate(token)


def test_a_certificate_is_no_challenge(auth: CertificateAuth, solve: Solve, secret: str) -> None:
    challenge = auth.make_challenge()
    solution = solve(challenge)
    certificate = auth.issue("relay-1", Role.RELAY, timedelta(hours=1)).token
    claims = jwt.decode(challenge.challenge_id, options={"verify_signature": False})
    untyped = jwt.api_jws.encode(json.dumps(claims).encode(), secret, "HS256")
    for token in (certificate, untyped, "", "a.b.c", "\ud800"):
        with pytest.raises(InvalidSolutionError, match="not one of this server's"):
            auth.check_solution(dataclasses.replace(solution, challenge_id=token))


def test_another_servers_challenge_is_refused(
    make_auth: Callable[..., CertificateAuth], auth: CertificateAuth, secret: str, solve: Solve
) -> None:
    other = make_auth(auth__jwt_secret=secret[::-1], security__pow_difficulty="1")
    with pytest.raises(InvalidSolutionError, match="not one of this server's"):
        auth.check_solution(solve(other.make_challenge()))
