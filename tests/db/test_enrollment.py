"""Tokens to enrol with, and the TLS certificates that came of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import peewee
import pytest

from eventserver_core.db.connection import Database
from eventserver_core.db.enrollment import EnrollmentRepository, TokenRecord

from .network_rows import new_certificate, relay_id
from .rows import NOW

Moment = Callable[[float], datetime]


@pytest.fixture
def enrollment(database: Database) -> EnrollmentRepository:
    return EnrollmentRepository(database)


class TestTokens:
    def test_a_token_is_known_by_its_digest(
        self, enrollment: EnrollmentRepository, soon: Moment
    ) -> None:
        enrollment.add_token("d-1", relay_id(1), soon(60))
        assert enrollment.find_token("d-1") == TokenRecord(relay_id(1), soon(60), None)
        assert enrollment.find_token("D-1") is None
        with pytest.raises(peewee.IntegrityError):
            enrollment.add_token("d-1", relay_id(2), soon(60))

    def test_all_that_a_relay_has_are_used_up_at_once(
        self, enrollment: EnrollmentRepository, soon: Moment
    ) -> None:
        for number in (1, 2, 3):
            enrollment.add_token(f"d-{number}", relay_id(number // 3), soon(60))
        enrollment.use_tokens(relay_id(0), soon(1))
        found = [enrollment.find_token(f"d-{number}") for number in (1, 2, 3)]
        assert [token and token.used_at for token in found] == [soon(1), soon(1), None]

    def test_when_a_token_was_used_is_not_said_twice(
        self, enrollment: EnrollmentRepository, soon: Moment
    ) -> None:
        enrollment.add_token("d-1", relay_id(0), soon(60))
        enrollment.use_tokens(relay_id(0), soon(1))
        enrollment.add_token("d-2", relay_id(0), soon(60))
        enrollment.use_tokens(relay_id(0), soon(2))
        found = [enrollment.find_token(digest) for digest in ("d-1", "d-2")]
        assert [token and token.used_at for token in found] == [soon(1), soon(2)]

    def test_a_token_is_forgotten_once_it_has_ended_and_no_sooner(
        self, enrollment: EnrollmentRepository, soon: Moment
    ) -> None:
        for seconds in (5, 6):
            enrollment.add_token(f"ends at {seconds}", relay_id(0), soon(seconds))
        enrollment.use_tokens(relay_id(0), soon(1))
        enrollment.forget(soon(5))
        assert enrollment.find_token("ends at 5") is not None
        enrollment.forget(soon(5.001))
        assert enrollment.find_token("ends at 5") is None
        assert enrollment.find_token("ends at 6") is not None


class TestCertificates:
    def test_a_certificate_is_known_by_its_serial_number(
        self, enrollment: EnrollmentRepository
    ) -> None:
        enrollment.add_certificate(new_certificate("0a"))
        enrollment.add_certificate(new_certificate("0b", relay_id=relay_id(7)))
        assert enrollment.find_certificate("0a") == new_certificate("0a")
        assert enrollment.find_certificate("0b") == new_certificate("0b", relay_id=relay_id(7))
        assert enrollment.find_certificate("0c") is None
        with pytest.raises(peewee.IntegrityError):
            enrollment.add_certificate(new_certificate("0a"))

    def test_the_longest_serial_number_has_room(self, enrollment: EnrollmentRepository) -> None:
        enrollment.add_certificate(new_certificate("7f" * 20))
        assert enrollment.find_certificate("7f" * 20) is not None

    def test_it_is_taken_back_once_and_the_first_word_stays(
        self, enrollment: EnrollmentRepository, soon: Moment
    ) -> None:
        enrollment.add_certificate(new_certificate("0a"))
        enrollment.add_certificate(new_certificate("0b"))
        assert enrollment.revoke("0a", "keyCompromise", soon(1))
        assert not enrollment.revoke("0a", "unspecified", soon(2))
        assert not enrollment.revoke("0c", "unspecified", soon(2))
        revoked = replace(new_certificate("0a"), revoked_at=soon(1), reason="keyCompromise")
        assert enrollment.revoked(soon(3)) == [revoked]
        assert enrollment.find_certificate("0b") == new_certificate("0b")

    def test_all_that_a_relay_has_are_taken_back_but_those_that_have_ended(
        self, enrollment: EnrollmentRepository, soon: Moment
    ) -> None:
        ended = new_certificate("01", not_after=soon(10))
        enrollment.add_certificate(ended)
        enrollment.add_certificate(new_certificate("02", not_after=soon(10.001)))
        enrollment.add_certificate(new_certificate("03"))
        enrollment.add_certificate(new_certificate("04", relay_id=relay_id(9)))
        enrollment.revoke("03", "keyCompromise", soon(5))
        enrollment.revoke_all_of(relay_id(0), "cessationOfOperation", soon(10))
        found = [(c.serial, c.reason, c.revoked_at) for c in enrollment.revoked(soon(0))]
        assert found == [
            ("02", "cessationOfOperation", soon(10)),
            ("03", "keyCompromise", soon(5)),
        ]
        assert enrollment.find_certificate("01") == ended

    def test_the_list_has_them_until_their_end(
        self, enrollment: EnrollmentRepository, soon: Moment
    ) -> None:
        for serial, seconds in (("0b", 20), ("0a", 10), ("0c", 30)):
            enrollment.add_certificate(new_certificate(serial, not_after=soon(seconds)))
        assert enrollment.revoked(NOW) == []
        for serial in ("0c", "0b", "0a"):
            enrollment.revoke(serial, "unspecified", NOW)
        at = [[c.serial for c in enrollment.revoked(soon(s))] for s in (0, 9.999, 10, 20, 30)]
        assert at == [["0a", "0b", "0c"], ["0a", "0b", "0c"], ["0b", "0c"], ["0c"], []]

    def test_of_many_threads_exactly_one_takes_it_back(
        self, enrollment: EnrollmentRepository, at_once: Callable[..., list[Any]]
    ) -> None:
        enrollment.add_certificate(new_certificate("0a"))
        later = [NOW + timedelta(seconds=number) for number in range(12)]
        results = at_once([lambda m=m: enrollment.revoke("0a", "unspecified", m) for m in later])
        assert sorted(results) == [False] * 11 + [True]
        found = enrollment.find_certificate("0a")
        assert found is not None
        assert found.revoked_at == later[results.index(True)]

    def test_what_has_ended_is_forgotten_and_no_sooner(
        self, enrollment: EnrollmentRepository, soon: Moment
    ) -> None:
        enrollment.add_certificate(new_certificate("01", not_after=soon(5)))
        enrollment.add_certificate(new_certificate("02", not_after=soon(6)))
        enrollment.forget(soon(5))
        assert enrollment.find_certificate("01") is not None
        enrollment.forget(soon(5.001))
        assert enrollment.find_certificate("01") is None
        assert enrollment.find_certificate("02") is not None

    def test_those_that_have_not_ended_are_known(
        self, enrollment: EnrollmentRepository, soon: Moment
    ) -> None:
        enrollment.add_certificate(new_certificate("01", not_after=soon(5)))
        enrollment.add_certificate(new_certificate("02", not_after=soon(7)))
        enrollment.add_certificate(new_certificate("03", relay_id=relay_id(9)))
        assert enrollment.live_of(relay_id(0), soon(4)) == [soon(5), soon(7)]
        assert enrollment.live_of(relay_id(0), soon(5)) == [soon(7)]
