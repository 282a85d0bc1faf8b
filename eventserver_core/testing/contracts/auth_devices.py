"""The contract of the abilities that concern devices; see ``eventserver_core.backends.auth``."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey

from eventserver_core.backends.auth import (
    ChallengesDevices,
    ChecksSignedPackages,
    Credentials,
    Role,
)
from eventserver_core.errors import AuthenticationError, InvalidInputError, InvalidSolutionError
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.contracts import tokens
from eventserver_core.testing.contracts.auth import HOUR, AuthFactory, AuthSuite, refuse


class ChallengesDevicesContract(AuthSuite):
    """What a backend must do that lets devices in for a proof of work.

    Its difficulty should be low, so that the suite is fast: 2 is enough.
    """

    def test_it_challenges_devices(self, backend: ChallengesDevices) -> None:
        """It has every method of the Protocol."""
        assert isinstance(backend, ChallengesDevices)

    def test_a_challenge_is_as_the_app_reads_it(
        self, backend: ChallengesDevices, clock: ManualClock
    ) -> None:
        """challenge_data: base64 text of 32 random bytes."""
        challenges = [backend.make_challenge() for _ in range(10)]
        for challenge in challenges:
            assert len(base64.b64decode(challenge.challenge_data, validate=True)) == 32
            assert challenge.difficulty >= 1
            assert challenge.expires_at > clock.now()
        assert len({challenge.challenge_data for challenge in challenges}) == 10

    def test_a_solution_holds_on_every_instance(
        self, backend_factory: AuthFactory, clock: ManualClock
    ) -> None:
        """Make a challenge that every instance can check, and that nobody can alter."""
        challenge = backend_factory(clock).make_challenge()
        solution = tokens.solve(challenge)
        first = backend_factory(clock).check_solution(solution)
        assert backend_factory(clock).check_solution(solution) == first
        assert first.expires_at == challenge.expires_at
        other = tokens.solve(backend_factory(clock).make_challenge())
        assert backend_factory(clock).check_solution(other).challenge_key != first.challenge_key

    def test_nobody_can_alter_a_challenge(
        self, backend_factory: AuthFactory, clock: ManualClock
    ) -> None:
        """Make a challenge that every instance can check, and that nobody can alter."""
        backend = backend_factory(clock)
        solution = tokens.solve(backend.make_challenge())
        elsewhere = tokens.solve(backend_factory(clock, audience="elsewhere").make_challenge())
        ids = ["", *tokens.altered(solution.challenge_id), elsewhere.challenge_id]
        for challenge_id in ids:
            changed = type(solution)(challenge_id, solution.nonce, solution.digest)
            with pytest.raises(InvalidSolutionError):
                backend.check_solution(changed)
        with pytest.raises(InvalidSolutionError):
            backend.check_solution(elsewhere)

    def test_a_challenge_and_a_certificate_are_two_things(self, backend: Any) -> None:
        """Check that the work was done, for a challenge of ours, in time."""
        solution = tokens.solve(backend.make_challenge())
        refuse(backend, solution.challenge_id)
        token = self.make_token(backend)
        with pytest.raises(InvalidSolutionError):
            backend.check_solution(type(solution)(token, solution.nonce, solution.digest))

    def test_work_that_was_not_done_is_refused(self, backend: ChallengesDevices) -> None:
        """InvalidSolutionError: it wasn't; the message says which of these it was."""
        challenge = backend.make_challenge()
        good = tokens.solve(challenge)
        too_easy = tokens.solve(challenge, zeros=challenge.difficulty - 1)
        untrue = type(good)(challenge.challenge_id, too_easy.nonce, bytes(32))
        swapped = type(good)(challenge.challenge_id, too_easy.nonce, good.digest)
        stray = [type(good)(good.challenge_id, n, good.digest) for n in (-1, 2**64, 2**64 + 1)]
        for solution in (too_easy, untrue, swapped, tokens.attempt(challenge, 2**63), *stray):
            with pytest.raises(InvalidSolutionError):
                backend.check_solution(solution)
        backend.check_solution(good)

    def test_a_challenge_ends(self, backend: ChallengesDevices, clock: ManualClock) -> None:
        """Check that the work was done, for a challenge of ours, in time."""
        challenge = backend.make_challenge()
        solution = tokens.solve(challenge)
        clock.advance((challenge.expires_at - clock.now()).total_seconds() - 1)
        backend.check_solution(solution)
        clock.advance(1)
        with pytest.raises(InvalidSolutionError):
            backend.check_solution(solution)

    def test_a_key_stands_for_one_subject(
        self, backend_factory: AuthFactory, clock: ManualClock
    ) -> None:
        """The same key MUST always give the same subject, another key another."""
        one, two = tokens.public_jwk(tokens.make_key()), tokens.public_jwk(tokens.make_key())
        subject, jwk = backend_factory(clock).identify_device(json.dumps(one).encode())
        assert jwk == one
        rewritten = dict(reversed(one.items())) | {"ext": True, "key_ops": ["verify"], "kid": "x"}
        again = json.dumps(rewritten, indent=2).encode()
        assert backend_factory(clock).identify_device(again) == (subject, one)
        assert backend_factory(clock).identify_device(json.dumps(two).encode())[0] != subject

    def test_what_is_no_device_key_is_refused(self, backend: ChallengesDevices) -> None:
        """InvalidInputError: it is no such key, or it has a private part."""
        key = tokens.make_key()
        good = tokens.public_jwk(key)
        wrong: list[object] = [
            None,
            [],
            {},
            "key",
            tokens.private_jwk(key),
            tokens.public_jwk(tokens.make_key("P-384")),
            good | {"y": good["x"]},
            good | {"kty": "oct", "k": "AAAA"},
        ]
        texts = [json.dumps(jwk).encode() for jwk in wrong]
        texts += [b"", b"{", b"\xff", json.dumps(good).encode("utf-16"), b"[" * 100_000]
        for text in texts:
            with pytest.raises(InvalidInputError):
                backend.identify_device(text)


class ChecksSignedPackagesContract(AuthSuite):
    """What a backend must do that checks packages which devices signed.

    Attributes:
        forwarded_max_age: the limit that is set for what a relay may forward.
    """

    forwarded_max_age = timedelta(days=7)

    def device(
        self, backend: Any, key: ECKey, lifetime: timedelta = 2 * HOUR
    ) -> tuple[str, Credentials]:
        """Return a device's certificate, as a token and as what it says."""
        token = self.make_token(backend, "device-1", Role.DEVICE, lifetime, key)
        credentials: Credentials = backend.authenticate(token)
        return token, credentials

    def relay(self, backend: Any) -> Credentials:
        """Return who forwards, at the present moment."""
        credentials: Credentials = backend.authenticate(self.make_token(backend))
        return credentials

    def test_it_checks_signed_packages(self, backend: ChecksSignedPackages) -> None:
        """It has every method of the Protocol."""
        assert isinstance(backend, ChecksSignedPackages)

    def test_a_device_brings_its_own_package(
        self, backend_factory: AuthFactory, clock: ManualClock
    ) -> None:
        """Check a device's signed package against the key in its certificate."""
        key = tokens.make_key()
        _, device = self.device(backend_factory(clock), key)
        for size in (10, 3_000_000):
            claims = package_with_note(clock, size)
            jws = tokens.sign_package(key, claims)
            signed = backend_factory(clock).check_signed_package(jws, device)
            assert signed.device == device
            assert signed.claims == tokens.payload_of(jws)

    def test_an_altered_package_is_refused(self, backend: Any, clock: ManualClock) -> None:
        """AuthenticationError: the package or the device's certificate doesn't hold."""
        key = tokens.make_key()
        _, device = self.device(backend, key)
        jws = tokens.sign_package(key, tokens.package_claims(clock.now()))
        for other in ["", "a.b.c", *tokens.altered(jws)]:
            refuse_package(backend, other, device)
        backend.check_signed_package(jws, device)

    def test_the_key_comes_from_the_certificate(self, backend: Any, clock: ManualClock) -> None:
        """The key and the algorithm MUST come from the certificate, never from the package's own
        header.
        """
        key, stranger = tokens.make_key(), tokens.make_key()
        token, device = self.device(backend, key)
        claims = tokens.package_claims(clock.now())
        for header_key in (stranger, key):
            jws = tokens.sign_package(stranger, claims, jwk=tokens.public_jwk(header_key))
            refuse_package(backend, jws, device)
            forwarded = tokens.sign_package(
                stranger, claims, jwk=tokens.public_jwk(header_key), x_device_cert=token
            )
            refuse_package(backend, forwarded, self.relay(backend))

    def test_the_algorithm_comes_from_the_certificate(
        self, backend: Any, clock: ManualClock
    ) -> None:
        """The key and the algorithm MUST come from the certificate, never from the package's own
        header.
        """
        key = tokens.make_key()
        _, device = self.device(backend, key)
        jwk = tokens.public_jwk(key)
        good = tokens.sign_package(key, tokens.package_claims(clock.now()))
        payload = tokens.payload_of(good)
        for algorithm in ("none", "None", "", "HS256"):
            header = {"typ": "JWT", "alg": algorithm, "jwk": jwk}
            for secret in (None, b"", json.dumps(jwk).encode(), key.as_pem(private=False)):
                refuse_package(backend, tokens.forge(header, payload, secret), device)

    def test_a_certificate_without_a_key_signs_nothing(
        self, backend: Any, clock: ManualClock
    ) -> None:
        """The key and the algorithm MUST come from the certificate, never from the package's own
        header.
        """
        token = self.make_token(backend, "device-1", Role.DEVICE)
        jws = tokens.sign_package(tokens.make_key(), tokens.package_claims(clock.now()))
        refuse_package(backend, jws, backend.authenticate(token))

    def test_a_device_is_in_time(self, backend: Any, clock: ManualClock) -> None:
        """From a device the package MUST be in date; a relay MAY forward one later, within the
        limit that is set, if the device's certificate held when it was signed.
        """
        key = tokens.make_key()
        _, device = self.device(backend, key, timedelta(days=1))
        jws = tokens.sign_package(key, tokens.package_claims(clock.now()))
        clock.advance(HOUR.total_seconds() - 120)
        backend.check_signed_package(jws, device)
        clock.advance(240)
        refuse_package(backend, jws, device)

    def test_a_relay_may_forward_later(self, backend: Any, clock: ManualClock) -> None:
        """From a device the package MUST be in date; a relay MAY forward one later, within the
        limit that is set, if the device's certificate held when it was signed.
        """
        key = tokens.make_key()
        token, device = self.device(backend, key)
        claims = tokens.package_claims(clock.now())
        jws = tokens.sign_package(key, claims, x_device_cert=token)
        limit = self.forwarded_max_age.total_seconds()
        for wait in (0, limit - 120):
            clock.advance(wait)
            signed = backend.check_signed_package(jws, self.relay(backend))
            assert signed.device == device
        clock.advance(240)
        refuse_package(backend, jws, self.relay(backend))

    def test_the_certificate_held_when_the_package_was_signed(
        self, backend: Any, clock: ManualClock
    ) -> None:
        """From a device the package MUST be in date; a relay MAY forward one later, within the
        limit that is set, if the device's certificate held when it was signed.
        """
        key = tokens.make_key()
        token, device = self.device(backend, key, 2 * HOUR)
        clock.advance(HOUR.total_seconds() * 4)
        for moment in (device.issued_at - HOUR, device.expires_at + HOUR):
            claims = tokens.package_claims(moment)
            jws = tokens.sign_package(key, claims, x_device_cert=token)
            refuse_package(backend, jws, self.relay(backend))
        claims = tokens.package_claims(device.issued_at + HOUR)
        jws = tokens.sign_package(key, claims, x_device_cert=token)
        backend.check_signed_package(jws, self.relay(backend))

    def test_a_relay_needs_the_certificate_of_the_device(
        self, backend: Any, clock: ManualClock
    ) -> None:
        """AuthenticationError: the package or the device's certificate doesn't hold."""
        key = tokens.make_key()
        relays = self.make_token(backend, "relay-8", Role.RELAY, HOUR, key)
        token, _ = self.device(backend, key)
        claims = tokens.package_claims(clock.now())
        for header in (
            {},
            *({"x_device_cert": c} for c in (relays, "", None, *tokens.altered(token))),
        ):
            refuse_package(backend, tokens.sign_package(key, claims, **header), self.relay(backend))


def refuse_package(backend: ChecksSignedPackages, jws: str, bearer: Credentials) -> None:
    """Demand that a signed package doesn't hold."""
    with pytest.raises(AuthenticationError):
        backend.check_signed_package(jws, bearer)


def package_with_note(clock: ManualClock, length: int) -> dict[str, Any]:
    """Return what a device signs, with a member of this length."""
    claims = tokens.package_claims(clock.now())
    return claims | {"note": "n" * length}
