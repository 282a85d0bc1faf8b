"""Who stood a moment ago is let in without a question; what was taken back is seen soon."""

from __future__ import annotations

import pytest

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database
from eventserver_core.errors import RevokedCertificateError
from eventserver_core.services.standing import REMEMBERED_FOR, Standings
from eventserver_core.testing.clock import ManualClock
from tests.db.network_rows import credentials

RELAY = credentials("relay-1", Role.RELAY)


@pytest.fixture
def certificates(database: Database) -> CertificateRepository:
    return CertificateRepository(database)


@pytest.fixture
def standings(certificates: CertificateRepository, clock: ManualClock) -> Standings:
    return Standings(certificates, clock)


def revoke_elsewhere(certificates: CertificateRepository, clock: ManualClock) -> None:
    certificates.revoke("c-1", "lost", clock.now())


def test_what_was_taken_back_elsewhere_is_refused_within_two_seconds(
    standings: Standings, certificates: CertificateRepository, clock: ManualClock
) -> None:
    standings.require_recent(RELAY)
    revoke_elsewhere(certificates, clock)
    clock.advance(REMEMBERED_FOR - 0.001)
    standings.require_recent(RELAY)
    clock.advance(0.001)
    with pytest.raises(RevokedCertificateError):
        standings.require_recent(RELAY)


@pytest.mark.parametrize(
    "another",
    [
        credentials("relay-1", Role.RELAY, "c-2"),
        credentials("relay-2", Role.RELAY),
        credentials("relay-1", Role.DEVICE),
    ],
    ids=["certificate", "subject", "role"],
)
def test_it_is_remembered_for_one_certificate_alone(
    standings: Standings,
    certificates: CertificateRepository,
    clock: ManualClock,
    another: Credentials,
) -> None:
    standings.require_recent(another)
    certificates.revoke(RELAY.certificate_id, "lost", clock.now())
    with pytest.raises(RevokedCertificateError):
        standings.require_recent(RELAY)


def test_an_admins_is_asked_for_each_time(
    standings: Standings, certificates: CertificateRepository, clock: ManualClock
) -> None:
    admin = credentials("admin-1", Role.ADMIN)
    standings.require_recent(admin)
    revoke_elsewhere(certificates, clock)
    with pytest.raises(RevokedCertificateError):
        standings.require_recent(admin)


def test_a_body_that_took_its_time_is_asked_for_whatever_is_remembered(
    standings: Standings, certificates: CertificateRepository, clock: ManualClock
) -> None:
    standings.require_recent(RELAY)
    revoke_elsewhere(certificates, clock)
    with pytest.raises(RevokedCertificateError):
        standings.require(RELAY)


def test_an_answer_from_before_something_was_taken_back_is_not_remembered(
    certificates: CertificateRepository, clock: ManualClock
) -> None:
    class Overtaken(CertificateRepository):
        """Somebody takes the certificate back after it was looked up."""

        def standing(self, credentials: Credentials) -> object:  # type: ignore[override]
            found = super().standing(credentials)
            revoke_elsewhere(certificates, clock)
            standings.forget()
            return found

    standings = Standings(Overtaken(certificates._database), clock)
    standings.require_recent(RELAY)
    with pytest.raises(RevokedCertificateError):
        standings.require_recent(RELAY)
