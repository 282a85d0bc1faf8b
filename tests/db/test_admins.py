"""Admins' rows: who may run the network, and who no longer may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import peewee
import pytest

from eventserver_core.db.admins import AdminRepository
from eventserver_core.db.connection import Database

from .network_rows import new_admin
from .rows import NOW


@pytest.fixture
def admins(database: Database) -> AdminRepository:
    return AdminRepository(database)


def test_there_are_none_at_first(admins: AdminRepository) -> None:
    assert admins.all() == []
    assert admins.count_active() == 0
    assert admins.find(new_admin().id) is None
    assert admins.find_by_key(new_admin().thumbprint) is None


def test_an_admin_is_read_as_it_was_let_in(admins: AdminRepository) -> None:
    admin = new_admin(1, name="Ángela 🦊", authorized_by=new_admin(0).id)
    admins.insert(admin)
    assert admins.find(admin.id) == admin
    assert admins.find_by_key(admin.thumbprint) == admin
    assert admin.state == "active"


def test_they_are_listed_in_the_order_in_which_they_came(admins: AdminRepository) -> None:
    for number in (3, 1, 2):
        admins.insert(new_admin(number))
    same_moment = [new_admin(n, authorized_at=NOW) for n in (9, 8)]
    for admin in same_moment:
        admins.insert(admin)
    assert admins.all() == [*reversed(same_moment), *(new_admin(n) for n in (1, 2, 3))]


def test_who_is_withdrawn_stays_on_record(admins: AdminRepository) -> None:
    admins.insert(new_admin(0))
    admins.insert(new_admin(1))
    assert admins.withdraw(new_admin(0).id, "admin-1", NOW)
    withdrawn = replace(new_admin(0), withdrawn_at=NOW, withdrawn_by="admin-1")
    assert admins.find(new_admin(0).id) == admins.find_by_key("thumbprint-0") == withdrawn
    assert withdrawn.state == "withdrawn"
    assert admins.all() == [withdrawn, new_admin(1)]
    assert admins.count_active() == 1


def test_an_admin_is_withdrawn_once_and_the_first_word_stays(admins: AdminRepository) -> None:
    admins.insert(new_admin())
    assert admins.withdraw(new_admin().id, "admin-1", NOW)
    assert not admins.withdraw(new_admin().id, "admin-2", NOW + timedelta(hours=1))
    found = admins.find(new_admin().id)
    assert found is not None
    assert (found.withdrawn_at, found.withdrawn_by) == (NOW, "admin-1")


def test_nobody_is_withdrawn_who_is_not_there(admins: AdminRepository) -> None:
    admins.insert(new_admin(0))
    assert not admins.withdraw(new_admin(1).id, "admin-1", NOW)
    assert admins.count_active() == 1


@pytest.mark.parametrize("same", ["id", "thumbprint"])
def test_no_two_have_one_id_or_one_key(admins: AdminRepository, same: str) -> None:
    admins.insert(new_admin(0))
    members: dict[str, Any] = {same: getattr(new_admin(0), same)}
    with pytest.raises(peewee.IntegrityError):
        admins.insert(new_admin(1, **members))
    assert admins.all() == [new_admin(0)]


def test_a_withdrawn_admin_keeps_its_key_to_itself(admins: AdminRepository) -> None:
    admins.insert(new_admin(0))
    admins.withdraw(new_admin(0).id, "admin-1", NOW)
    with pytest.raises(peewee.IntegrityError):
        admins.insert(new_admin(1, thumbprint=new_admin(0).thumbprint))


def test_of_many_threads_exactly_one_withdraws(
    admins: AdminRepository, at_once: Callable[..., list[Any]]
) -> None:
    admins.insert(new_admin())
    withdrawals = [lambda n=n: admins.withdraw(new_admin().id, f"a-{n}", NOW) for n in range(12)]
    results = at_once(withdrawals)
    assert sorted(results) == [False] * 11 + [True]
    found = admins.find(new_admin().id)
    assert found is not None
    assert found.withdrawn_by == f"a-{results.index(True)}"
