"""Auth backends that each break a promise."""

from __future__ import annotations

import base64
import itertools
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from eventserver_auth_cert import AuthSettings, CertificateAuth

from eventserver_core.backends.auth import Credentials, IssuedCertificate, Role
from eventserver_core.errors import AuthenticationError, BackendUnavailableError, InvalidInputError
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Sources
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.contracts.auth import AuthContract, IssuesCertificatesContract


def make_good(data_dir: Path, clock: ManualClock, audience: str = "") -> CertificateAuth:
    environ = {
        "EVENTSERVER__SERVER__DATA_DIR": str(data_dir),
        "EVENTSERVER__SECURITY__POW_DIFFICULTY": "2",
        "EVENTSERVER__AUTH__AUDIENCE": audience,
    }
    settings = Sources(environ=environ).load([*CORE_SECTIONS, AuthSettings])
    return CertificateAuth.from_settings(settings, clock.now)


class PlainAuth:
    """Hands everything on to a backend that works, so that one thing can be broken."""

    def __init__(self, data_dir: Path, clock: ManualClock, audience: str) -> None:
        self.data_dir = data_dir
        self.clock = clock
        self.audience = audience
        self.good = make_good(data_dir, clock, audience)

    def authenticate(self, token: str) -> Credentials:
        return self.good.authenticate(token)

    def check(self) -> None:
        self.good.check()

    def issue(
        self,
        subject: str,
        role: Role,
        lifetime: timedelta,
        public_key: Mapping[str, Any] | None = None,
    ) -> IssuedCertificate:
        return self.good.issue(subject, role, lifetime, public_key)

    def public_keys(self) -> Mapping[str, Any]:
        return self.good.public_keys()


def suite_of(contract: type, kind: Callable[..., object], *catches: str) -> type:
    class Suite(contract):  # type: ignore[misc, valid-type]
        @pytest.fixture
        def backend_factory(self, tmp_path: Path) -> Callable[..., object]:
            def make(clock: ManualClock, *, audience: str = "") -> object:
                return kind(tmp_path, clock, audience)

            return make

    Suite.catches = frozenset(catches)
    return Suite


def suite(kind: Callable[..., object], *catches: str) -> type:
    return suite_of(AuthContract, kind, *catches)


def issuing(kind: Callable[..., object], *catches: str) -> type:
    return suite_of(IssuesCertificatesContract, kind, *catches)


def header_of(token: str) -> dict[str, Any]:
    part = token.split(".")[0]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return header


def believed(token: str) -> Credentials:
    """Return what a token says of itself, unchecked."""
    part = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    moments = [ManualClock(claims[name]).now() for name in ("iat", "exp")]
    return Credentials(claims["sub"], Role(claims["role"]), claims["jti"], *moments)


TestPlainAuth = suite(PlainAuth)
TestPlainIssuer = issuing(PlainAuth)


class NoCheck:
    def __init__(self, data_dir: Path, clock: ManualClock, audience: str) -> None:
        good = make_good(data_dir, clock, audience)
        self.authenticate, self.issue = good.authenticate, good.issue


TestNoCheck = suite(
    NoCheck, "test_it_is_an_auth_backend", "test_a_backend_that_works_passes_its_check"
)


class NoKeySet:
    def __init__(self, data_dir: Path, clock: ManualClock, audience: str) -> None:
        good = make_good(data_dir, clock, audience)
        self.authenticate, self.issue = good.authenticate, good.issue


TestNoKeySet = issuing(NoKeySet, "test_it_issues_certificates", "test_the_key_set_is_public")


class ForgetsTheKey(PlainAuth):
    def authenticate(self, token: str) -> Credentials:
        return replace(self.good.authenticate(token), public_key=None)


TestForgetsTheKey = suite(ForgetsTheKey, "test_a_certificate_names_its_holder")


class NeverEnds(PlainAuth):
    """Looks at the date as it was when it came up."""

    def authenticate(self, token: str) -> Credentials:
        with suppress(AuthenticationError):
            return self.good.authenticate(token)
        return make_good(self.data_dir, ManualClock(), self.audience).authenticate(token)


TestNeverEnds = suite(NeverEnds, "test_a_certificate_ends")


class ForAnyAudience(PlainAuth):
    def authenticate(self, token: str) -> Credentials:
        for audience in ("", "elsewhere"):
            with suppress(AuthenticationError):
                return make_good(self.data_dir, self.clock, audience).authenticate(token)
        raise AuthenticationError("nobody's")


TestForAnyAudience = suite(ForAnyAudience, "test_a_certificate_for_another_audience_is_refused")


class ReadsOnlyTheBeginning(PlainAuth):
    def authenticate(self, token: str) -> Credentials:
        return self.good.authenticate(".".join(token.split(".")[:3]))


TestReadsOnlyTheBeginning = suite(ReadsOnlyTheBeginning, "test_an_altered_certificate_is_refused")


class StumblesOverRubbish(PlainAuth):
    def authenticate(self, token: str) -> Credentials:
        header_of(token)
        return self.good.authenticate(token)


TestStumblesOverRubbish = suite(
    StumblesOverRubbish,
    "test_an_altered_certificate_is_refused",
    "test_what_is_no_certificate_is_refused",
)


class TakesTokensWithoutSignature(PlainAuth):
    def authenticate(self, token: str) -> Credentials:
        with suppress(ValueError, AttributeError):
            if header_of(token).get("alg") == "none":
                return believed(token)
        return self.good.authenticate(token)


TestTakesTokensWithoutSignature = suite(
    TakesTokensWithoutSignature, "test_a_header_is_not_believed"
)


class BelievesTheKeyInTheHeader(PlainAuth):
    def authenticate(self, token: str) -> Credentials:
        with suppress(ValueError):
            if "jwk" in header_of(token):
                return believed(token)
        return self.good.authenticate(token)


TestBelievesTheKeyInTheHeader = suite(
    BelievesTheKeyInTheHeader,
    "test_a_header_is_not_believed",
    "test_nothing_is_fetched",
)


class FetchesKeys(PlainAuth):
    def authenticate(self, token: str) -> Credentials:
        try:
            return self.good.authenticate(token)
        except AuthenticationError:
            with suppress(ValueError, KeyError, TypeError):
                address = urlsplit(header_of(token)["jku"])
                socket.create_connection((address.hostname, address.port)).close()
            raise


TestFetchesKeys = suite(FetchesKeys, "test_nothing_is_fetched")


class AlwaysComplains(PlainAuth):
    def check(self) -> None:
        raise BackendUnavailableError("auth=broken", "never well")


TestAlwaysComplains = suite(AlwaysComplains, "test_a_backend_that_works_passes_its_check")


class HasAKeyOfItsOwn(PlainAuth):
    numbers = itertools.count()

    def __init__(self, data_dir: Path, clock: ManualClock, audience: str) -> None:
        super().__init__(data_dir / str(next(self.numbers)), clock, audience)


TestHasAKeyOfItsOwn = issuing(HasAKeyOfItsOwn, "test_any_instance_accepts_what_another_made")


class IssuesOneForAll(PlainAuth):
    issued: ClassVar[dict[object, IssuedCertificate]] = {}

    def issue(
        self,
        subject: str,
        role: Role,
        lifetime: timedelta,
        public_key: Mapping[str, Any] | None = None,
    ) -> IssuedCertificate:
        name = self.data_dir, subject, json.dumps(public_key)
        if name not in self.issued:
            self.issued[name] = self.good.issue(subject, role, lifetime, public_key)
        return self.issued[name]


TestIssuesOneForAll = issuing(IssuesOneForAll, "test_no_two_certificates_have_one_id")


class KeepsTheWholeKey(PlainAuth):
    def issue(
        self,
        subject: str,
        role: Role,
        lifetime: timedelta,
        public_key: Mapping[str, Any] | None = None,
    ) -> IssuedCertificate:
        issued = self.good.issue(subject, role, lifetime, public_key)
        kept = replace(issued.credentials, public_key=public_key)
        return replace(issued, credentials=kept)


TestKeepsTheWholeKey = issuing(KeepsTheWholeKey, "test_the_private_part_of_a_key_is_not_kept")


class BindsAnything(PlainAuth):
    def issue(
        self,
        subject: str,
        role: Role,
        lifetime: timedelta,
        public_key: Mapping[str, Any] | None = None,
    ) -> IssuedCertificate:
        try:
            return self.good.issue(subject, role, lifetime, public_key)
        except InvalidInputError:
            return self.good.issue(subject, role, lifetime)


TestBindsAnything = issuing(BindsAnything, "test_a_key_that_cannot_sign_is_refused")


class PublishesItsSecret(PlainAuth):
    def public_keys(self) -> Mapping[str, Any]:
        return {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}


TestPublishesItsSecret = issuing(PublishesItsSecret, "test_the_key_set_is_public")
