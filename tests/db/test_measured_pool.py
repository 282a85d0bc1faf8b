"""How much of a pool is in use, as ``/metrics`` tells it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from eventserver_core.db.connection import Database
from eventserver_core.metrics.definitions import REGISTRY
from eventserver_core.metrics.pool import MeasuredPool
from tests.end_to_end.waiting import wait_until

pytestmark = pytest.mark.real


@pytest.fixture
def dialect() -> str:
    """PostgreSQL only."""
    return "postgresql"


@pytest.fixture
def measured(open_database: Callable[..., Database]) -> Iterator[Database]:
    database = open_database(max_connections=1)
    database.peewee.pool = MeasuredPool(database.peewee.pool)
    yield database
    database.close()


def told(state: str) -> float | None:
    return REGISTRY.get_sample_value("eventserver_database_connections", {"state": state})


def waiting() -> float | None:
    return REGISTRY.get_sample_value("eventserver_database_waiting")


def test_a_connection_is_in_use_then_idle_then_gone(measured: Database) -> None:
    with measured.session():
        assert (told("in_use"), told("idle")) == (1, 0)
    assert (told("in_use"), told("idle")) == (0, 1)
    measured.close()
    assert (told("in_use"), told("idle")) == (0, 0)


def test_who_waits_is_counted_while_it_waits(measured: Database) -> None:
    def use() -> None:
        with measured.session():
            pass

    with measured.session():
        others = [threading.Thread(target=use) for _ in range(2)]
        for other in others:
            other.start()
        wait_until(lambda: waiting() == 2, "two wait")
    for other in others:
        other.join()
    assert waiting() == 0
    assert told("in_use") == 0


def test_one_that_got_none_is_counted_no_longer(open_database: Callable[..., Database]) -> None:
    database = open_database(max_connections=1, timeout=0.05)
    database.peewee.pool = MeasuredPool(database.peewee.pool)
    failed: list[Exception] = []

    def use() -> None:
        try:
            with database.session():
                pass
        except Exception as ex:  # noqa: BLE001 - looked at below
            failed.append(ex)

    with database.session():
        other = threading.Thread(target=use)
        other.start()
        other.join()
    assert len(failed) == 1
    assert waiting() == 0
    assert told("in_use") == 0
