"""What is remembered of certificates and challenges, once and for all instances."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.db.admins import AdminRepository
from eventserver_core.db.certificates import CertificateRepository, Standing
from eventserver_core.db.connection import Database
from eventserver_core.db.relays import RelayRepository
from eventserver_core.domain.relay import RelayState

from .network_rows import credentials, new_admin, new_relay, relay_id
from .rows import NOW, go_on, output


@pytest.fixture
def certificates(database: Database) -> CertificateRepository:
    return CertificateRepository(database)


def device(certificate_id: str = "c-1") -> Credentials:
    return credentials("device-1", Role.DEVICE, certificate_id)


def test_nothing_is_revoked_at_first(certificates: CertificateRepository) -> None:
    for role in Role:
        assert certificates.standing(credentials("somebody", role)) == Standing(False, None)


@pytest.mark.parametrize("role", Role)
def test_a_revoked_certificate_stays_revoked(
    certificates: CertificateRepository, role: Role
) -> None:
    assert certificates.revoke("c-1", "lost", NOW)
    assert not certificates.revoke("c-1", "again", NOW)
    assert certificates.standing(credentials("somebody", role)) == Standing(True, None)
    for other in ("c-2", "C-1"):
        assert not certificates.standing(credentials("somebody", role, other)).revoked


def test_another_instance_knows_it_at_once(
    certificates: CertificateRepository, open_database: Callable[..., Database]
) -> None:
    other = CertificateRepository(open_database())
    assert not other.standing(device()).revoked
    certificates.revoke("c-1", "lost", NOW)
    assert other.standing(device()).revoked


@pytest.mark.parametrize("state", RelayState)
def test_a_relays_state_is_told_with_each_of_its_certificates(
    certificates: CertificateRepository, database: Database, state: RelayState
) -> None:
    relay = new_relay(state=state)
    RelayRepository(database).insert(relay)
    certificates.revoke("c-2", "lost", NOW)
    assert certificates.standing(credentials(relay.id, Role.RELAY)) == Standing(False, state)
    assert certificates.standing(credentials(relay.id, Role.RELAY, "c-2")) == Standing(True, state)


def test_every_certificate_of_a_withdrawn_admin_is_revoked(
    certificates: CertificateRepository, database: Database
) -> None:
    admins, admin = AdminRepository(database), new_admin()
    admins.insert(admin)
    assert certificates.standing(credentials(admin.id, Role.ADMIN)) == Standing(False, None)
    admins.withdraw(admin.id, "admin-1", NOW)
    for certificate_id in ("c-1", "c-2"):
        holder = credentials(admin.id, Role.ADMIN, certificate_id)
        assert certificates.standing(holder) == Standing(True, None)


def test_whoever_has_an_id_in_another_role_is_somebody_else(
    certificates: CertificateRepository, database: Database
) -> None:
    RelayRepository(database).insert(new_relay(0, state=RelayState.SUSPENDED))
    AdminRepository(database).insert(new_admin(1))
    AdminRepository(database).withdraw(new_admin(1).id, "admin-1", NOW)
    roles = [(relay_id(0), Role.ADMIN), (relay_id(1), Role.RELAY)]
    roles += [(relay_id(number), Role.DEVICE) for number in (0, 1)]
    for subject, role in roles:
        assert certificates.standing(credentials(subject, role)) == Standing(False, None)


def test_a_challenge_is_good_once(certificates: CertificateRepository) -> None:
    assert certificates.redeem("challenge", NOW)
    assert not certificates.redeem("challenge", NOW)
    assert certificates.redeem("another", NOW)


def test_of_many_threads_exactly_one_redeems(
    certificates: CertificateRepository, at_once: Callable[..., list[Any]]
) -> None:
    for number in range(5):
        results = at_once([lambda n=number: certificates.redeem(f"c-{n}", NOW) for _ in range(20)])
        assert sorted(results) == [False] * 19 + [True]


def test_of_many_processes_exactly_one_redeems(
    certificates: CertificateRepository,
    url: str,
    start_python: Callable[..., subprocess.Popen[str]],
) -> None:
    source = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database

certificates = CertificateRepository(Database(sys.argv[1], Path("unused")))
sys.stdin.readline()
print(sum(certificates.redeem(f"c-{number}", datetime.now(UTC)) for number in range(50)))
"""
    processes = [start_python(source, url) for _ in range(4)]
    go_on(*processes)
    assert sum(int(output(process)) for process in processes) == 50


def test_a_challenge_is_forgotten_once_it_has_ended_and_no_sooner(
    certificates: CertificateRepository, soon: Callable[[float], Any]
) -> None:
    certificates.redeem("ends at 5", soon(5))
    certificates.redeem("ends at 6", soon(6))
    assert certificates.forget_expired(soon(5)) == 0
    assert certificates.forget_expired(soon(5.001)) == 1
    assert not certificates.redeem("ends at 6", soon(6))
    assert certificates.redeem("ends at 5", soon(5))
