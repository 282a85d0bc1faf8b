"""How well a server says it is."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta

import pytest

from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.errors import AuthenticationError, BackendUnavailableError
from eventserver_core.services import health as health_module
from eventserver_core.services.health import Anchoring, CheckHealth
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import PATIENCE, fill

NEEDED = frozenset({"storage", "database"})


class Dependency:
    """Something that answers or doesn't; counts how often it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.before: Callable[[], None] = lambda: None
        self.asked = 0

    def check(self) -> None:
        self.before()
        self.asked += 1
        if self.error is not None:
            raise self.error


DOWN = BackendUnavailableError("x=y", "down")


@pytest.fixture
def dependencies(database: Database) -> dict[str, Dependency]:
    return {"storage": Dependency(), "blockchain": Dependency()}


@pytest.fixture
def make_health(
    dependencies: Mapping[str, Dependency], database: Database, clock: ManualClock
) -> Callable[..., CheckHealth]:
    def make(database: Database = database) -> CheckHealth:
        checks = {name: dependency.check for name, dependency in dependencies.items()}
        return CheckHealth(
            {**checks, "database": database.check},
            NEEDED,
            clock.now,
            Anchoring(BatchRepository(database), timedelta(minutes=10)),
        )

    return make


@pytest.fixture
def health(make_health: Callable[..., CheckHealth]) -> CheckHealth:
    return make_health()


def test_where_all_answer_it_is_healthy(health: CheckHealth) -> None:
    found = health.check()
    assert found.status == "healthy"
    assert found.services == {"storage": True, "blockchain": True, "database": True}
    assert found.backlog is not None
    assert (found.backlog.waiting, found.oldest_age) == (0, None)


def test_without_what_events_need_it_is_unhealthy(
    health: CheckHealth, dependencies: dict[str, Dependency]
) -> None:
    dependencies["storage"].error = DOWN
    found = health.check()
    assert found.status == "unhealthy"
    assert found.services == {"storage": False, "blockchain": True, "database": True}


def test_without_the_chain_events_are_taken_all_the_same(
    health: CheckHealth, dependencies: dict[str, Dependency]
) -> None:
    dependencies["blockchain"].error = DOWN
    assert health.check().status == "degraded"


def test_a_check_that_fails_otherwise_fails_too(
    health: CheckHealth, dependencies: dict[str, Dependency]
) -> None:
    dependencies["blockchain"].error = AuthenticationError("the node knows us no longer")
    found = health.check()
    assert found.status == "degraded"
    assert found.services["blockchain"] is False


def test_without_the_database_it_is_unhealthy_and_knows_no_backlog(
    make_health: Callable[..., CheckHealth], database: Database
) -> None:
    assert database.path is not None
    gone = Database("", database.path.parent / "gone" / "file")
    found = make_health(gone).check()
    assert found.status == "unhealthy"
    assert found.services["database"] is False
    assert (found.backlog, found.oldest_age) == (None, None)


def test_a_database_that_answers_but_cannot_be_read_is_down(
    make_health: Callable[..., CheckHealth], database: Database
) -> None:
    assert database.path is not None
    empty = Database("", database.path.parent / "empty.sqlite3")
    found = make_health(empty).check()
    assert (found.status, found.services["database"]) == ("unhealthy", False)
    empty.close()


def test_a_locked_database_is_no_reason_to_be_unhealthy(
    health: CheckHealth, database: Database
) -> None:
    assert database.path is not None
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert health.check().status == "healthy"


@pytest.mark.parametrize(("seconds", "status"), [(600, "healthy"), (600.001, "degraded")])
def test_an_event_that_waits_too_long_makes_it_degraded(
    health: CheckHealth,
    events: EventRepository,
    clock: ManualClock,
    seconds: float,
    status: str,
) -> None:
    fill(events, 3)
    clock.advance(seconds)
    found = health.check()
    assert found.status == status
    assert found.backlog is not None
    assert found.backlog.waiting == 3
    assert found.oldest_age == pytest.approx(seconds, abs=0.002)


def test_a_clock_that_went_back_gives_no_negative_age(
    health: CheckHealth, events: EventRepository, clock: ManualClock
) -> None:
    fill(events, 1)
    clock.advance(-100)
    assert health.check().oldest_age == 0


def test_an_answer_is_remembered_for_a_while(
    health: CheckHealth, dependencies: dict[str, Dependency]
) -> None:
    first = health.check()
    dependencies["storage"].error = DOWN
    assert health.check() is first
    assert dependencies["storage"].asked == 1


class TestWhileSomebodyElseAsks:
    """A dependency that hangs must not take all who ask along."""

    @pytest.fixture
    def asking(
        self, health: CheckHealth, dependencies: dict[str, Dependency], database: Database
    ) -> Iterator[Callable[[], None]]:
        """Start to ask a dependency that hangs, in another thread."""
        reached, released = threading.Event(), threading.Event()

        def hang() -> None:
            reached.set()
            released.wait(PATIENCE)

        def ask() -> None:
            health.check()
            database.close()

        thread = threading.Thread(target=ask)

        def start() -> None:
            dependencies["blockchain"].before = hang
            thread.start()
            assert reached.wait(PATIENCE)

        yield start
        released.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()

    def test_a_recent_answer_is_given(
        self,
        health: CheckHealth,
        asking: Callable[[], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(health, "_remembered_for", 0.0)
        monkeypatch.setattr(health_module, "_TRUSTED_FOR", 3600.0)
        first = health.check()
        asking()
        assert health.check() is first

    def test_an_older_answer_beats_none_while_somebody_else_asks(
        self,
        health: CheckHealth,
        asking: Callable[[], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(health_module, "_PATIENCE", 0.02)
        first = health.check()
        monkeypatch.setattr(health, "_remembered_for", 0.0)
        monkeypatch.setattr(health_module, "_TRUSTED_FOR", 0.0)
        asking()
        assert health.check() is first

    def test_without_one_it_is_unhealthy(
        self,
        health: CheckHealth,
        asking: Callable[[], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(health_module, "_PATIENCE", 0.02)
        asking()
        assert health.check().status == "unhealthy"


def test_and_then_asked_for_again(
    health: CheckHealth, dependencies: dict[str, Dependency], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_remembered_for", 0.0)
    health.check()
    dependencies["storage"].error = DOWN
    assert health.check().status == "unhealthy"
    assert dependencies["storage"].asked == 2


class TestManyAtOnce:
    def test_a_slow_one_keeps_no_other_waiting(self, clock: ManualClock) -> None:
        barrier = threading.Barrier(3)  # passes only when all three are asked at once
        checks = dict.fromkeys(("storage", "blockchain", "redis"), lambda: barrier.wait(30))
        found = CheckHealth(checks, frozenset({"storage"}), clock.now).check()  # type: ignore[arg-type]
        assert found.services == {"storage": True, "blockchain": True, "redis": True}
        assert (found.status, found.backlog) == ("healthy", None)
