"""Labels' versions: added, never changed, and numbered without a gap however many define."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.labels import LabelRepository
from eventserver_core.domain.canonical import pointer
from eventserver_core.domain.labels import Definition, LabelType, LabelVersion, Option
from eventserver_core.domain.package import check_package
from eventserver_core.errors import ConflictError, LabelsViolatedError, NotFoundError
from eventserver_core.services.audit import AuditTrail
from eventserver_core.services.labels import REMEMBERED_FOR, CheckLabels, Labels
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.factories import make_package

from .rows import NOW, go_on, output

ADMIN = Credentials("admin-1", Role.ADMIN, "c-1", NOW, NOW + timedelta(hours=1))
TEXT = Definition("Title", "Titre", LabelType.TEXT, False, {"maxLength": 80}, {})
NUMBER = Definition("Visitors", "Visiteurs", LabelType.NUMBER, True, {"minimum": 0.5}, {}, "a", "b")
CHOICE = Definition(
    "Category",
    "Catégorie",
    LabelType.ENUM,
    False,
    {},
    {"z\0": Option("Zoo", "Zoo 🦊"), "a": Option("Arts", "Arts")},
)


@pytest.fixture
def repository(database: Database) -> LabelRepository:
    return LabelRepository(database)


@pytest.fixture
def trail(database: Database, clock: ManualClock) -> AuditTrail:
    return AuditTrail(AuditRepository(database), clock.now, tuple)


@pytest.fixture
def labels(repository: LabelRepository, clock: ManualClock, trail: AuditTrail) -> Labels:
    return Labels(repository, clock.now, trail)


def version(
    label_id: str, number: int, definition: Definition | None = TEXT, **members: Any
) -> LabelVersion:
    return LabelVersion(
        label_id, number, definition, members.get("made_at", NOW), members.get("made_by", "admin-1")
    )


def actions(trail: AuditTrail) -> list[tuple[str, str, Any]]:
    return [
        (entry.action, entry.target, entry.details.get("version"))
        for entry in trail.page(0, 1000)[0]
    ]


class TestTheRows:
    def test_there_are_none_at_first(self, repository: LabelRepository) -> None:
        assert repository.versions() == repository.in_force() == repository.history("a") == []
        assert repository.last("a") is None

    @pytest.mark.parametrize("definition", [TEXT, NUMBER, CHOICE, None])
    def test_a_version_is_read_as_it_was_added(
        self, repository: LabelRepository, definition: Definition | None
    ) -> None:
        added = version("label", 1, definition)
        assert repository.add(added)
        assert repository.last("label") == added
        assert repository.versions() == repository.history("label") == [added]

    def test_a_number_is_given_once(self, repository: LabelRepository) -> None:
        assert repository.add(version("a", 1, TEXT))
        assert not repository.add(version("a", 1, NUMBER))
        assert repository.add(version("b", 1, NUMBER))
        assert repository.history("a") == [version("a", 1, TEXT)]

    def test_all_come_in_the_order_of_their_numbers(self, repository: LabelRepository) -> None:
        added = [version(label_id, n) for label_id in ("a", "b") for n in range(1, 12)]
        for one in reversed(added):
            repository.add(one)
        assert repository.versions() == added
        assert repository.history("b") == added[11:]
        assert repository.last("b") == added[-1]

    def test_the_last_ones_are_in_force_unless_they_say_deleted(
        self, repository: LabelRepository
    ) -> None:
        for number in (1, 2):
            repository.add(version("changed", number, TEXT if number == 1 else NUMBER))
            repository.add(version("deleted", number, TEXT if number == 1 else None))
            repository.add(version("back", number, None if number == 1 else TEXT))
        assert repository.in_force() == [version("back", 2, TEXT), version("changed", 2, NUMBER)]

    def test_ids_are_sorted_alike_on_every_database(self, repository: LabelRepository) -> None:
        ids = ["a", "B", "a-b", "ab", "A", "a_b", "a.b", "1"]
        for label_id in ids:
            repository.add(version(label_id, 1))
        assert [found.label_id for found in repository.in_force()] == sorted(ids)
        assert len(repository.versions()) == len(ids)
        assert repository.history("A") == [version("A", 1)]


class TestDefining:
    def test_each_change_is_a_version(self, labels: Labels, trail: AuditTrail) -> None:
        first, created, changed = labels.put("label", TEXT, ADMIN)
        assert (first.version, created, changed) == (1, True, True)
        second, created, changed = labels.put("label", NUMBER, ADMIN)
        assert (second.version, created, changed) == (2, False, True)
        assert labels.get("label") == [first, second]
        assert labels.list() == [second]
        assert actions(trail) == [("label_defined", "label", 1), ("label_defined", "label", 2)]

    def test_the_same_again_changes_nothing(
        self, labels: Labels, trail: AuditTrail, clock: ManualClock
    ) -> None:
        first = labels.put("label", NUMBER, ADMIN)[0]
        clock.advance(60)
        assert labels.put("label", NUMBER, ADMIN) == (first, False, False)
        assert labels.get("label") == [first]
        assert actions(trail) == [("label_defined", "label", 1)]

    def test_a_deletion_is_a_version_and_the_numbers_go_on(
        self, labels: Labels, trail: AuditTrail
    ) -> None:
        labels.put("label", TEXT, ADMIN)
        labels.delete("label", ADMIN)
        assert labels.list() == []
        with pytest.raises(NotFoundError):
            labels.delete("label", ADMIN)
        again, created, changed = labels.put("label", TEXT, ADMIN)
        assert (again.version, created, changed) == (3, True, True)
        assert [found.definition for found in labels.get("label")] == [TEXT, None, TEXT]
        assert [action for action, _, _ in actions(trail)] == [
            "label_defined",
            "label_deleted",
            "label_defined",
        ]

    def test_what_was_never_defined_is_not_there(self, labels: Labels, trail: AuditTrail) -> None:
        with pytest.raises(NotFoundError):
            labels.get("label")
        with pytest.raises(NotFoundError):
            labels.delete("label", ADMIN)
        assert actions(trail) == []

    def test_the_trail_says_who_and_what(self, labels: Labels, trail: AuditTrail) -> None:
        labels.put("label", NUMBER, ADMIN)
        (entry,) = trail.page(0, 10)[0]
        assert (entry.actor, entry.role) == ("admin-1", "admin")
        assert entry.details == {"version": 1, "definition": NUMBER.document()}
        assert not list(trail.faults())

    def test_nothing_is_defined_that_is_not_in_the_trail(
        self, repository: LabelRepository, database: Database, clock: ManualClock
    ) -> None:
        class FullTrail(AuditTrail):
            def record(self, *_: Any, **__: Any) -> Any:
                raise OSError("full")

        trail = FullTrail(AuditRepository(database), clock.now, tuple)
        labels = Labels(repository, clock.now, trail)
        with pytest.raises(OSError, match="full"):
            labels.put("label", TEXT, ADMIN)
        assert repository.versions() == []

    def test_a_clock_that_was_put_back_does_not_turn_the_history_round(
        self, labels: Labels, clock: ManualClock
    ) -> None:
        first = labels.put("label", TEXT, ADMIN)[0]
        clock.advance(-3600)
        second = labels.put("label", NUMBER, ADMIN)[0]
        assert second.made_at == first.made_at

    def test_of_many_at_once_each_gets_a_number(
        self,
        labels: Labels,
        trail: AuditTrail,
        at_once: Callable[..., list[Any]],
    ) -> None:
        names = [f"name {n}" for n in range(12)]
        definitions = [Definition(name, name, LabelType.BOOLEAN, False, {}, {}) for name in names]
        results = at_once([lambda d=d: labels.put("label", d, ADMIN) for d in definitions])
        assert sorted(made.version for made, _, _ in results) == list(range(1, 13))
        assert sorted(created for _, created, _ in results) == [False] * 11 + [True]
        history = labels.get("label")
        assert [found.version for found in history] == list(range(1, 13))
        assert sorted(found.definition.name_en for found in history if found.definition) == sorted(
            names
        )
        assert len(actions(trail)) == 12

    def test_of_many_that_say_the_same_at_once_one_changes_something(
        self, labels: Labels, at_once: Callable[..., list[Any]]
    ) -> None:
        results = at_once([lambda: labels.put("label", TEXT, ADMIN) for _ in range(8)])
        assert sorted(changed for _, _, changed in results) == [False] * 7 + [True]
        assert {made.version for made, _, _ in results} == {1}

    def test_many_processes_number_without_a_gap(
        self, labels: Labels, url: str, start_python: Callable[..., subprocess.Popen[str]]
    ) -> None:
        source = """
import sys
from pathlib import Path
from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.labels import LabelRepository
from eventserver_core.domain import instant
from eventserver_core.domain.labels import Definition, LabelType
from eventserver_core.services.audit import AuditTrail
from eventserver_core.services.labels import Labels

database = Database(sys.argv[1], Path("unused"))
trail = AuditTrail(AuditRepository(database), instant.now, tuple)
labels = Labels(LabelRepository(database), instant.now, trail)
admin = Credentials(sys.argv[2], Role.ADMIN, "c-1", instant.now(), instant.now())
sys.stdin.readline()
for n in range(10):
    name = f"{sys.argv[2]} {n}"
    labels.put("label", Definition(name, name, LabelType.TEXT, False, {}, {}), admin)
"""
        processes = [start_python(source, url, f"admin-{n}") for n in range(3)]
        go_on(*processes)
        for process in processes:
            output(process)
        assert [found.version for found in labels.get("label")] == list(range(1, 31))

    def test_a_number_that_was_taken_meanwhile_is_a_conflict(
        self, repository: LabelRepository, clock: ManualClock, trail: AuditTrail
    ) -> None:
        class Behind(LabelRepository):
            def last(self, label_id: str) -> None:
                return None

        repository.add(version("label", 1))
        labels = Labels(Behind(repository._database), clock.now, trail)
        with pytest.raises(ConflictError):
            labels.put("label", NUMBER, ADMIN)
        assert repository.history("label") == [version("label", 1)]
        assert actions(trail) == []


class CountedLabels(LabelRepository):
    """The rows, and how often all of them were read."""

    reads = 0

    def versions(self) -> list[LabelVersion]:
        self.reads += 1
        return super().versions()


class TestChecking:
    EVENT = check_package(make_package(annotations=[{"labelId": "label", "value": "a word"}]))

    @pytest.fixture
    def rows(self, database: Database) -> CountedLabels:
        return CountedLabels(database)

    @pytest.fixture
    def check(self, rows: CountedLabels, clock: ManualClock) -> CheckLabels:
        return CheckLabels(rows, clock.now)

    def test_nothing_is_read_before_there_is_an_event(
        self, rows: CountedLabels, check: CheckLabels
    ) -> None:
        assert rows.reads == 0
        with capture_logs() as lines, pytest.raises(LabelsViolatedError):
            check.check(self.EVENT)
        assert rows.reads == 1
        assert [line["event"] for line in lines] == ["no_labels_defined"]

    def test_labels_are_read_once_in_a_while(
        self, rows: CountedLabels, check: CheckLabels, clock: ManualClock
    ) -> None:
        rows.add(version("label", 1))
        with capture_logs() as lines:
            for _ in range(100):
                check.check(self.EVENT)
        assert not lines
        clock.advance(REMEMBERED_FOR.total_seconds() - 0.001)
        check.check(self.EVENT)
        assert rows.reads == 1
        clock.advance(0.001)
        check.check(self.EVENT)
        assert rows.reads == 2

    def test_many_threads_share_what_one_has_read(
        self, rows: CountedLabels, check: CheckLabels, at_once: Callable[..., list[Any]]
    ) -> None:
        rows.add(version("label", 1))
        assert at_once([lambda: check.check(self.EVENT) for _ in range(10)]) == [None] * 10
        assert rows.reads == 1

    def test_a_new_version_counts_a_little_later(
        self, rows: CountedLabels, check: CheckLabels, clock: ManualClock
    ) -> None:
        with pytest.raises(LabelsViolatedError) as caught:
            check.check(self.EVENT)
        assert [f.pointer for f in caught.value.faults] == [pointer("annotations", 0, "labelId")]
        rows.add(version("label", 1))
        clock.advance(REMEMBERED_FOR.total_seconds())
        check.check(self.EVENT)

    def test_a_clock_that_was_put_back_does_not_keep_what_is_known(
        self, rows: CountedLabels, check: CheckLabels, clock: ManualClock
    ) -> None:
        rows.add(version("label", 1))
        check.check(self.EVENT)
        clock.advance(-3600)
        check.check(self.EVENT)
        assert rows.reads == 2
