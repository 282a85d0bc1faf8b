"""The drill: a database that was restored from an older backup, or lost, comes back of storage."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventserver_core.backends.auth import IssuedCertificate, Role
from eventserver_core.testing.server import EventServerProcess, clean_environ
from eventserver_core.wiring import Services, load_configuration, prepare_schema
from tests.end_to_end.conftest import variables
from tests.end_to_end.real_system import RealSystem
from tests.end_to_end.stored import Stored
from tests.end_to_end.submissions import Sender, Submission, enroll
from tests.end_to_end.waiting import wait_until

SETTINGS: dict[str, object] = {
    "server__workers": 1,
    "security__pow_difficulty": 1,
    "security__rate_limit_per_minute": 1_000_000,
    "security__rate_limit_public": "1000000/60",
    "anchoring__batch_max_age": 0.2,
    "anchoring__poll_interval": 0.1,
    "anchoring__lease_duration": 1,
}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("heavy")]


class Place(ABC):
    """A system with a database that can be backed up, lost and restored."""

    url: str
    stored: Stored
    issue: Callable[[Role, str], IssuedCertificate]

    @abstractmethod
    def start(self) -> None:
        """Start an instance and a worker."""

    @abstractmethod
    def stop(self) -> None:
        """Stop both."""

    @abstractmethod
    def back_up(self) -> None:
        """Back the database up while all runs."""

    @abstractmethod
    def restore(self) -> None:
        """Put the backup in the database's place."""

    @abstractmethod
    def lose(self) -> None:
        """Lose the database, and set an empty one up."""

    @abstractmethod
    def run(self, *arguments: str) -> str:
        """Run a command that must succeed, and return what it printed."""


class Embedded(Place):
    """The embedded defaults in a folder."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self._folder, self._running = folder, running
        self._environ = variables(SETTINGS)
        self._database = folder / "data" / "eventserver.sqlite3"
        self._server = EventServerProcess(["serve", "--with-worker"], folder, self._environ)
        data_dir = {"EVENTSERVER__SERVER__DATA_DIR": str(folder / "data")}
        services = Services(load_configuration(folder, self._environ | data_dir))
        prepare_schema(services.database)
        services.database.close()
        hour = timedelta(hours=1)
        self.issue = lambda role, subject: services.identities.issue(subject, role, hour)
        self.stored = Stored(folder / "data")

    def start(self) -> None:
        self._running.enter_context(self._server)
        self.url = self._server.url

    def stop(self) -> None:
        self._server.kill_all()

    def back_up(self) -> None:
        with (
            closing(sqlite3.connect(self._database)) as source,
            closing(sqlite3.connect(self._folder / "backup.sqlite3")) as target,
        ):
            source.backup(target)

    def restore(self) -> None:
        self._remove()
        (self._folder / "backup.sqlite3").rename(self._database)

    def lose(self) -> None:
        self._remove()

    def _remove(self) -> None:
        for path in self._database.parent.glob(f"{self._database.name}*"):
            path.unlink()

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "eventserver_core", *arguments],
            cwd=self._folder,
            env=clean_environ() | self._environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class Real(Place):
    """PostgreSQL, a bucket, Redis and an EVM chain."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self._dump = folder / "backup.sql"
        self._system = running.enter_context(RealSystem(folder, **SETTINGS))
        self._programs = Path(self._system.postgresql.command()[0]).parent
        self.issue = self._system.issue()
        self.stored = self._system.stored()

    def start(self) -> None:
        system = self._system
        if system.instances:
            system.instances[0].start()
            system.workers[0].start()
        else:
            system.start_instance()
            system.start_worker()
        self.url = system.instances[0].url

    def stop(self) -> None:
        for process in (*self._system.instances, *self._system.workers):
            process.kill_all()

    def back_up(self) -> None:
        self._program("pg_dump", f"--file={self._dump}", self._system.postgresql.url)

    def restore(self) -> None:
        self._empty()
        self._program(
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            f"--file={self._dump}",
            self._system.postgresql.url,
        )

    def lose(self) -> None:
        self._empty()
        self._system.run("migrate", "up")

    def run(self, *arguments: str) -> str:
        return self._system.run(*arguments)

    def _empty(self) -> None:
        self._system.postgresql.run_sql("DROP SCHEMA public CASCADE")
        self._system.postgresql.run_sql("CREATE SCHEMA public")

    def _program(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / name), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as running:
        made = (Embedded if request.param == "embedded" else Real)(tmp_path, running)
        made.start()
        yield made


@pytest.fixture
def sender(place: Place) -> Sender:
    relay = {"Authorization": f"Bearer {place.issue(Role.RELAY, 'relay-1').token}"}
    device, token = enroll(place.url)
    return Sender(relay, device, token, Path(__file__).parent.parent / "media" / "photo.png")


Answered = list[tuple[Submission, dict[str, Any]]]


def send(place: Place, sender: Sender) -> Answered:
    """Send an event of every kind, and return the receipts."""
    made = (sender.plain, sender.with_photo, sender.form, sender.signed, sender.forwarded)
    answered = []
    for submission in [make() for make in made]:
        answer = post(place, submission)
        assert answer.status_code == 201, answer.text
        answered.append((submission, answer.json()))
    return answered


def post(place: Place, submission: Submission) -> httpx.Response:
    return httpx.post(
        place.url + submission.path,
        content=submission.content,
        headers=dict(submission.headers),
        timeout=60,
    )


def wait_until_confirmed(place: Place, answered: Answered) -> None:
    wanted = {receipt["hash"] for _, receipt in answered}

    def confirmed() -> bool:
        states = {event["digest_hex"]: event["batch_state"] for event in place.stored.events()}
        return all(states.get(digest_hex) == "confirmed" for digest_hex in wanted)

    wait_until(confirmed, "every event is confirmed", seconds=60)


def check_nothing_is_lost(place: Place, answered: Answered, tmp_path: Path) -> None:
    """Every sender's retry gets its receipt, every event is anchored, all evidence verifies."""
    for submission, receipt in answered:
        again = post(place, submission)
        assert (again.status_code, again.json()) == (200, receipt)
    wait_until_confirmed(place, answered)
    admin = {"Authorization": f"Bearer {place.issue(Role.ADMIN, 'admin-1').token}"}
    for number, (_, receipt) in enumerate(answered):
        where = f"{place.url}/api/v1/events/{receipt['hash']}/package"
        package = httpx.get(where, headers=admin, timeout=60)
        assert package.status_code == 200
        path = tmp_path / f"evidence-{number}.zip"
        path.write_bytes(package.content)
        status = subprocess.run(
            [sys.executable, "-m", "eventserver_core", "verify", "--json", str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        # an EVM chain is asked by fsck below: here "incomplete" is all that is known without it
        assert json.loads(status.stdout)["verdict"] in ("valid", "incomplete"), status.stdout
        steps = {step["name"]: step["outcome"] for step in json.loads(status.stdout)["steps"]}
        assert not {"failed"} & set(steps.values())
        assert steps["statement"] == steps["merkle path"] == steps["anchor"] == "passed"
    for event in place.stored.events():
        place.stored.check_event(event)
    place.stored.check_batches()
    found = json.loads(place.run("fsck", "--all", "--json", "-"))
    assert (found["findings"], found["checked"]["events"]) == ([], len(answered))
    assert found["checked"]["anchors"] == found["checked"]["batches"] > 0


def test_after_an_older_backup_was_restored_nothing_is_lost(
    place: Place, sender: Sender, tmp_path: Path
) -> None:
    before = send(place, sender)
    wait_until_confirmed(place, before)
    place.back_up()
    after = send(place, sender)
    wait_until_confirmed(place, after)
    after += send(place, sender)
    place.stop()
    place.restore()
    assert len(place.stored.events()) == len(before)
    dry = json.loads(place.run("rebuild-index", "--dry-run", "--json"))
    made = json.loads(place.run("rebuild-index", "--json"))
    assert dry["inserted"] == made["inserted"] == len(after)
    assert made["packsRead"] == len(after)
    place.start()
    check_nothing_is_lost(place, before + after, tmp_path)
    assert json.loads(place.run("rebuild-index", "--json"))["packsRead"] == 0


def test_from_storage_alone_nothing_is_lost(place: Place, sender: Sender, tmp_path: Path) -> None:
    answered = send(place, sender)
    wait_until_confirmed(place, answered)
    place.stop()
    place.lose()
    # servers may run meanwhile, and their callers need not wait
    place.start()
    early, receipt = answered[0]
    assert post(place, early).status_code == 201
    assert json.loads(place.run("rebuild-index", "--json"))["inserted"] == len(answered) - 1
    known = [(early, post(place, early).json() | {"hash": receipt["hash"]}), *answered[1:]]
    check_nothing_is_lost(place, known, tmp_path)
