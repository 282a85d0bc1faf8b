"""The contract of the ``auth`` role; see ``eventserver_core.backends.auth``.

Each ability has a suite of its own: a backend that issues certificates, challenges devices or
checks signed packages is tested with those as well, each in a subclass with the same fixture. What
concerns devices is in ``eventserver_core.testing.contracts.auth_devices``.
"""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from typing import Any, Protocol

import pytest
from joserfc.jwk import ECKey

from eventserver_core.backends.auth import (
    AuthBackend,
    IssuesCertificates,
    Role,
)
from eventserver_core.errors import AuthenticationError, InvalidInputError
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.contracts import tokens

HOUR = timedelta(hours=1)


class AuthFactory(Protocol):
    """What the fixture ``backend_factory`` returns."""

    def __call__(self, clock: ManualClock, *, audience: str = "") -> Any:
        """Return a new instance, with the same keys and settings as the others.

        Args:
            clock: what the instance goes by; ``clock.now`` is its present.
            audience: where given, make one whose certificates are for this audience instead of
                the usual one; all else stays the same, the keys too.
        """


class AuthSuite:
    """What the suites of this role share.

    The fixture ``backend_factory`` gives an :class:`AuthFactory`.
    """

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock that a test goes by."""
        return ManualClock()

    @pytest.fixture
    def backend(self, backend_factory: AuthFactory, clock: ManualClock) -> Any:
        """Return an instance for tests that need only one."""
        return backend_factory(clock)

    def make_token(
        self,
        backend: Any,
        subject: str = "relay-7",
        role: Role = Role.RELAY,
        lifetime: timedelta = HOUR,
        key: ECKey | None = None,
    ) -> str:
        """Return a certificate that ``backend`` accepts; for another to override that issues none.

        Args:
            backend: one that ``backend_factory`` made.
            subject: whom it names.
            role: what that is.
            lifetime: how long it holds from now on.
            key: whose public half it binds.
        """
        public_key = tokens.public_jwk(key) if key else None
        token: str = backend.issue(subject, role, lifetime, public_key).token
        return token


class AuthContract(AuthSuite):
    """What every auth backend must do."""

    def test_it_is_an_auth_backend(self, backend: AuthBackend) -> None:
        """It has every method of the Protocol."""
        assert isinstance(backend, AuthBackend)

    def test_a_certificate_names_its_holder(
        self, backend_factory: AuthFactory, clock: ManualClock
    ) -> None:
        """Return whom a bearer token names."""
        for role in Role:
            key = tokens.make_key()
            token = self.make_token(backend_factory(clock), f"{role}-1", role, HOUR, key)
            named = backend_factory(clock).authenticate(token)
            assert (named.subject, named.role) == (f"{role}-1", role)
            assert named.public_key == tokens.public_jwk(key)
            assert named.issued_at == clock.now()
            assert named.expires_at == clock.now() + HOUR
            assert named.certificate_id

    def test_a_certificate_ends(self, backend: AuthBackend, clock: ManualClock) -> None:
        """A token that is out of date, for another audience, altered, or not a token at all
        MUST be refused.
        """
        token = self.make_token(backend, lifetime=HOUR)
        clock.advance(HOUR.total_seconds() - 1)
        backend.authenticate(token)
        clock.advance(1)
        refuse(backend, token)

    def test_a_certificate_for_another_audience_is_refused(
        self, backend_factory: AuthFactory, clock: ManualClock
    ) -> None:
        """A token that is out of date, for another audience, altered, or not a token at all
        MUST be refused.
        """
        here, there = backend_factory(clock), backend_factory(clock, audience="elsewhere")
        refuse(here, self.make_token(there))
        refuse(there, self.make_token(here))

    def test_an_altered_certificate_is_refused(self, backend: AuthBackend) -> None:
        """A token that is out of date, for another audience, altered, or not a token at all
        MUST be refused.
        """
        token = self.make_token(backend)
        for other in tokens.altered(token):
            refuse(backend, other)
        backend.authenticate(token)

    def test_what_is_no_certificate_is_refused(self, backend: AuthBackend) -> None:
        """A token that is out of date, for another audience, altered, or not a token at all
        MUST be refused.
        """
        rubbish = ["", " ", ".", "..", "....", "a.b.c", "{}", "null", "\0", "\ud800", "\xe9.\xe9.x"]
        for token in [*rubbish, "x" * 100_000, "e30." * 1000, "W10.e30.", "e30.W10.AA", "e30.e30."]:
            refuse(backend, token)

    def test_a_header_is_not_believed(self, backend: AuthBackend) -> None:
        """Whatever the token's own header says of keys, algorithms or addresses MUST NOT be
        believed, and nothing MUST be fetched.
        """
        token = self.make_token(backend)
        claims = tokens.payload_of(token)
        mine = tokens.make_key()
        for algorithm in ("none", "None", "NONE", "", "HS256", "ES256"):
            refuse(backend, tokens.forge({"typ": "JWT", "alg": algorithm}, claims))
        for secret in (b"", b"secret", *public_texts(backend)):
            refuse(backend, tokens.forge({"typ": "JWT", "alg": "HS256"}, claims, secret))
            for kid in ("../../../../dev/null", "/dev/null", "' OR '1'='1", ""):
                header = {"typ": "JWT", "alg": "HS256", "kid": kid}
                refuse(backend, tokens.forge(header, claims, secret))
        for jwk in (tokens.public_jwk(mine), tokens.private_jwk(mine)):
            refuse(backend, tokens.sign_package(mine, json.loads(claims), jwk=jwk))

    def test_nothing_is_fetched(self, backend: AuthBackend) -> None:
        """Whatever the token's own header says of keys, algorithms or addresses MUST NOT be
        believed, and nothing MUST be fetched.
        """
        claims = json.loads(tokens.payload_of(self.make_token(backend)))
        mine = tokens.make_key()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys.json"
            for member in ("jku", "x5u", "kid", "iss"):
                header = {member: url}
                refuse(backend, tokens.sign_package(mine, claims | {"iss": url}, **header))
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()[0].close()

    def test_a_backend_that_works_passes_its_check(self, backend: AuthBackend) -> None:
        """Find out whether callers can be authenticated now."""
        backend.check()


class IssuesCertificatesContract(AuthSuite):
    """What a backend must do that makes certificates."""

    def test_it_issues_certificates(self, backend: IssuesCertificates) -> None:
        """It has every method of the Protocol."""
        assert isinstance(backend, IssuesCertificates)

    def test_any_instance_accepts_what_another_made(
        self, backend_factory: AuthFactory, clock: ManualClock
    ) -> None:
        """The ability to make certificates; any instance MUST accept what any other made."""
        issued = backend_factory(clock).issue("admin-1", Role.ADMIN, HOUR)
        assert issued.credentials.subject == "admin-1"
        assert issued.credentials.public_key is None
        assert backend_factory(clock).authenticate(issued.token) == issued.credentials

    def test_no_two_certificates_have_one_id(self, backend: IssuesCertificates) -> None:
        """certificate_id: the certificate's own id (``jti``), by which it can be revoked."""
        issued = [backend.issue("relay-1", Role.RELAY, HOUR) for _ in range(20)]
        assert len({certificate.credentials.certificate_id for certificate in issued}) == 20

    def test_the_private_part_of_a_key_is_not_kept(self, backend: Any) -> None:
        """public_key: a JWK to bind; its private members MUST NOT be kept."""
        key = tokens.make_key()
        issued = backend.issue("device-1", Role.DEVICE, HOUR, tokens.private_jwk(key))
        assert issued.credentials.public_key == tokens.public_jwk(key)
        assert backend.authenticate(issued.token).public_key == tokens.public_jwk(key)
        secret = tokens.private_jwk(key)["d"].encode()
        assert secret not in tokens.payload_of(issued.token)
        assert secret not in issued.token.encode()

    def test_a_key_that_cannot_sign_is_refused(self, backend: IssuesCertificates) -> None:
        """InvalidInputError: the key is none, or not one to sign with."""
        good = tokens.public_jwk(tokens.make_key())
        agreement = {"kty": "OKP", "crv": "X25519", "x": tokens.b64url(b"\x09" + bytes(31))}
        unusable: list[dict[str, Any]] = [
            {},
            {"kty": "oct", "k": tokens.b64url(bytes(32))},
            agreement,
            good | {"y": good["x"]},
            good | {"x": tokens.b64url(b"\xff" * 32)},
            good | {"x": 5},
            good | {"crv": "P-999"},
            {name: value for name, value in good.items() if name != "y"},
        ]
        for jwk in unusable:
            with pytest.raises(InvalidInputError):
                backend.issue("device-1", Role.DEVICE, HOUR, jwk)

    def test_the_key_set_is_public(self, backend: IssuesCertificates) -> None:
        """It MUST NOT hold anything private or symmetric."""
        keys = backend.public_keys()["keys"]
        for jwk in keys:
            assert jwk["kty"] in ("EC", "OKP", "RSA")
            assert not jwk.keys() & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
        json.dumps(keys)


def refuse(backend: AuthBackend, token: str) -> None:
    """Demand that a token names nobody."""
    with pytest.raises(AuthenticationError):
        backend.authenticate(token)


def public_texts(backend: Any) -> list[bytes]:
    """Return all that anybody can know of a backend's keys, in the forms that it is written in."""
    keys = backend.public_keys()["keys"] if isinstance(backend, IssuesCertificates) else []
    texts = [json.dumps(jwk).encode() for jwk in keys]
    return texts + [str(jwk.get("x", "")).encode() for jwk in keys]
