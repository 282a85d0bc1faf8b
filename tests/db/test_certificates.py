"""What is remembered of certificates and challenges, once and for all instances."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database

from .rows import NOW, go_on, output


@pytest.fixture
def certificates(database: Database) -> CertificateRepository:
    return CertificateRepository(database)


def test_nothing_is_revoked_at_first(certificates: CertificateRepository) -> None:
    assert not certificates.revoked(["c-1"])
    assert not certificates.revoked([])


def test_a_revoked_certificate_stays_revoked(certificates: CertificateRepository) -> None:
    assert certificates.revoke("c-1", "lost", NOW)
    assert not certificates.revoke("c-1", "again", NOW)
    assert certificates.revoked(["c-1"])
    assert certificates.revoked(["c-2", "c-1"])
    assert not certificates.revoked(["c-2", "C-1"])


def test_another_instance_knows_it_at_once(
    certificates: CertificateRepository, open_database: Callable[..., Database]
) -> None:
    other = CertificateRepository(open_database())
    assert not other.revoked(["c-1"])
    certificates.revoke("c-1", "lost", NOW)
    assert other.revoked(["c-1"])


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
