"""Auth backends that each break a promise to devices, or about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from eventserver_core.backends.auth import (
    Challenge,
    Credentials,
    Role,
    SignedPackage,
    Solution,
    SolvedChallenge,
)
from eventserver_core.errors import AuthenticationError, InvalidInputError, InvalidSolutionError
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.contracts.auth_devices import (
    ChallengesDevicesContract,
    ChecksSignedPackagesContract,
)
from eventserver_core.testing.contracts.tokens import payload_of
from tests.contracts.broken.auth import PlainAuth, header_of, make_good, suite_of


class PlainChallenger(PlainAuth):
    """Hands everything on to a backend that works, so that one thing can be broken."""

    def make_challenge(self) -> Challenge:
        return self.good.make_challenge()

    def check_solution(self, solution: Solution) -> SolvedChallenge:
        return self.good.check_solution(solution)

    def identify_device(self, public_key: bytes) -> tuple[str, Mapping[str, Any]]:
        return self.good.identify_device(public_key)


class PlainChecker(PlainAuth):
    """Hands everything on to a backend that works, so that one thing can be broken."""

    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        return self.good.check_signed_package(jws, bearer)


def challenging(kind: Callable[..., object], *catches: str) -> type:
    return suite_of(ChallengesDevicesContract, kind, *catches)


def checking(kind: Callable[..., object], *catches: str) -> type:
    return suite_of(ChecksSignedPackagesContract, kind, *catches)


TestPlainChallenger = challenging(PlainChallenger)
TestPlainChecker = checking(PlainChecker)


class NoIdentities(PlainAuth):
    make_challenge = PlainChallenger.make_challenge
    check_solution = PlainChallenger.check_solution


TestNoIdentities = challenging(
    NoIdentities,
    "test_it_challenges_devices",
    "test_a_key_stands_for_one_subject",
    "test_what_is_no_device_key_is_refused",
)


class AsksForTheSame(PlainChallenger):
    def make_challenge(self) -> Challenge:
        return replace(self.good.make_challenge(), challenge_data="AAAA")


TestAsksForTheSame = challenging(
    AsksForTheSame,
    "test_a_challenge_ends",
    "test_a_challenge_is_as_the_app_reads_it",
    "test_a_solution_holds_on_every_instance",
    "test_work_that_was_not_done_is_refused",
)


class RemembersItsChallenges(PlainChallenger):
    def __init__(self, data_dir: Path, clock: ManualClock, audience: str) -> None:
        super().__init__(data_dir, clock, audience)
        self.made: set[str] = set()

    def make_challenge(self) -> Challenge:
        challenge = self.good.make_challenge()
        self.made.add(challenge.challenge_id)
        return challenge

    def check_solution(self, solution: Solution) -> SolvedChallenge:
        if solution.challenge_id not in self.made:
            raise InvalidSolutionError("another's")
        return self.good.check_solution(solution)


TestRemembersItsChallenges = challenging(
    RemembersItsChallenges, "test_a_solution_holds_on_every_instance"
)


class ReadsOnlyTheBeginning(PlainChallenger):
    def check_solution(self, solution: Solution) -> SolvedChallenge:
        beginning = ".".join(solution.challenge_id.split(".")[:3])
        return self.good.check_solution(replace(solution, challenge_id=beginning))


TestReadsOnlyTheBeginning = challenging(ReadsOnlyTheBeginning, "test_nobody_can_alter_a_challenge")


class TakesChallengesForCertificates(PlainChallenger):
    def authenticate(self, token: str) -> Credentials:
        if b'"chd"' in payload_of(token):
            return self.good.issue("device", Role.DEVICE, timedelta(hours=1)).credentials
        return self.good.authenticate(token)


TestTakesChallengesForCertificates = challenging(
    TakesChallengesForCertificates, "test_a_challenge_and_a_certificate_are_two_things"
)


class TakesLessWork(PlainChallenger):
    """Signs a difficulty of one less than what it tells."""

    def __init__(self, data_dir: Path, clock: ManualClock, audience: str) -> None:
        super().__init__(data_dir, clock, audience)
        self.good._challenges._difficulty -= 1

    def make_challenge(self) -> Challenge:
        challenge = self.good.make_challenge()
        return replace(challenge, difficulty=challenge.difficulty + 1)


TestTakesLessWork = challenging(TakesLessWork, "test_work_that_was_not_done_is_refused")


class NeverEnds(PlainChallenger):
    """Looks at the date as it was when it came up."""

    def __init__(self, data_dir: Path, clock: ManualClock, audience: str) -> None:
        super().__init__(data_dir, clock, audience)
        self.good = make_good(data_dir, ManualClock(), audience)


TestNeverEnds = challenging(NeverEnds, "test_a_challenge_ends")


class NamesDevicesByTheirText(PlainChallenger):
    def identify_device(self, public_key: bytes) -> tuple[str, Mapping[str, Any]]:
        _, key = self.good.identify_device(public_key)
        return f"device:{hash(public_key)}", key


TestNamesDevicesByTheirText = challenging(
    NamesDevicesByTheirText, "test_a_key_stands_for_one_subject"
)


class TakesPrivateKeys(PlainChallenger):
    def identify_device(self, public_key: bytes) -> tuple[str, Mapping[str, Any]]:
        with suppress(ValueError, AttributeError):
            jwk = json.loads(public_key)
            jwk.pop("d", None)
            public_key = json.dumps(jwk).encode()
        return self.good.identify_device(public_key)


TestTakesPrivateKeys = challenging(TakesPrivateKeys, "test_what_is_no_device_key_is_refused")


class ChecksNothing:
    def __init__(self, data_dir: Path, clock: ManualClock, audience: str) -> None:
        good = make_good(data_dir, clock, audience)
        self.issue, self.authenticate = good.issue, good.authenticate


TestChecksNothing = checking(
    ChecksNothing,
    "test_a_certificate_without_a_key_signs_nothing",
    "test_a_device_brings_its_own_package",
    "test_a_device_is_in_time",
    "test_a_relay_may_forward_later",
    "test_a_relay_needs_the_certificate_of_the_device",
    "test_an_altered_package_is_refused",
    "test_it_checks_signed_packages",
    "test_the_algorithm_comes_from_the_certificate",
    "test_the_certificate_held_when_the_package_was_signed",
    "test_the_key_comes_from_the_certificate",
)


class WritesTheClaimsAnew(PlainChecker):
    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        signed = self.good.check_signed_package(jws, bearer)
        return replace(signed, claims=json.dumps(json.loads(signed.claims)).encode())


TestWritesTheClaimsAnew = checking(WritesTheClaimsAnew, "test_a_device_brings_its_own_package")


class TakesSmallPackages(PlainChecker):
    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        if len(jws) > 8000:
            raise AuthenticationError("too long")
        return self.good.check_signed_package(jws, bearer)


TestTakesSmallPackages = checking(TakesSmallPackages, "test_a_device_brings_its_own_package")


class ReadsOnlyThreeParts(PlainChecker):
    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        return self.good.check_signed_package(".".join(jws.split(".")[:3]), bearer)


TestReadsOnlyThreeParts = checking(ReadsOnlyThreeParts, "test_an_altered_package_is_refused")


class BelievesTheKeyInTheHeader(PlainChecker):
    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        with suppress(ValueError, InvalidInputError):
            named = self.good.identify_device(json.dumps(header_of(jws)["jwk"]).encode())[1]
            signed = self.good.check_signed_package(jws, replace(bearer, public_key=named))
            return replace(signed, device=bearer)
        return self.good.check_signed_package(jws, bearer)


TestBelievesTheKeyInTheHeader = checking(
    BelievesTheKeyInTheHeader,
    "test_a_certificate_without_a_key_signs_nothing",
    "test_a_relay_may_forward_later",
    "test_the_key_comes_from_the_certificate",
)


class TakesPackagesWithoutSignature(PlainChecker):
    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        with suppress(ValueError, AttributeError):
            if header_of(jws).get("alg") == "none":
                return SignedPackage(payload_of(jws), bearer)
        return self.good.check_signed_package(jws, bearer)


TestTakesPackagesWithoutSignature = checking(
    TakesPackagesWithoutSignature, "test_the_algorithm_comes_from_the_certificate"
)


class NeedsNoKey(PlainChecker):
    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        if bearer.role is Role.DEVICE and bearer.public_key is None:
            return SignedPackage(payload_of(jws), bearer)
        return self.good.check_signed_package(jws, bearer)


TestNeedsNoKey = checking(NeedsNoKey, "test_a_certificate_without_a_key_signs_nothing")


class TakesOldPackages(PlainChecker):
    """Looks at a package's dates as if it had just been signed."""

    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        try:
            return self.good.check_signed_package(jws, bearer)
        except AuthenticationError as ex:
            if "out of date" in str(ex) or "too late" in str(ex):
                return SignedPackage(payload_of(jws), bearer)
            raise


TestTakesOldPackages = checking(
    TakesOldPackages,
    "test_a_device_is_in_time",
    "test_a_relay_may_forward_later",
    "test_the_certificate_held_when_the_package_was_signed",
)


class ForwardsNothingLate(PlainChecker):
    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        with suppress(ValueError):
            if json.loads(payload_of(jws)).get("exp", 0) < self.clock():
                raise AuthenticationError("too late")
        return self.good.check_signed_package(jws, bearer)


TestForwardsNothingLate = checking(
    ForwardsNothingLate,
    "test_a_relay_may_forward_later",
    "test_the_certificate_held_when_the_package_was_signed",
)


class TakesAnyCertificate(PlainChecker):
    """Does not look at the dates of the device's certificate, or whose it is."""

    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        try:
            return self.good.check_signed_package(jws, bearer)
        except AuthenticationError as ex:
            if "when the package was signed" in str(ex) or "not a device's" in str(ex):
                return SignedPackage(payload_of(jws), bearer)
            raise


TestTakesAnyCertificate = checking(
    TakesAnyCertificate,
    "test_a_relay_needs_the_certificate_of_the_device",
    "test_the_certificate_held_when_the_package_was_signed",
)
