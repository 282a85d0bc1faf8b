"""``eventserver worker``: once, for as long as it is let, and what it says of the backlog."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.domain.instant import now
from eventserver_core.services.ingest import IngestEvents, IngestLimits
from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess
from eventserver_core.wiring import Services

from .conftest import PATIENCE, Run

AT_ONCE = {"EVENTSERVER__ANCHORING__BATCH_MAX_EVENTS": "1"}


def store(services: Services, count: int = 1) -> list[str]:
    """Store events, and return their hashes."""
    ingest = IngestEvents(services.storage, services.events, IngestLimits(10**6, 10**6, None), now)
    submitter = Credentials("relay-1", Role.RELAY, "c-1", now(), now())
    return [ingest.ingest_package(make_package(), submitter).digest_hex for _ in range(count)]


def statuses(services: Services, hashes: list[str]) -> set[str]:
    found = [services.events.find(digest_hex) for digest_hex in hashes]
    return {event.status for event in found if event is not None}


def status(run: Run) -> dict[str, Any]:
    result = run("worker", "--status", "--json")
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout)
    return found


class TestOnce:
    def test_it_anchors_what_waits_and_ends(self, run: Run, services: Services) -> None:
        hashes = store(services, 3)
        result = run("worker", "--once", **AT_ONCE)
        assert (result.exit_code, result.stdout) == (0, "")
        assert statuses(services, hashes) == {"confirmed"}

    def test_the_next_run_goes_on_at_once(self, run: Run, services: Services) -> None:
        for _ in range(3):
            hashes = store(services)
            assert run("worker", "--once", **AT_ONCE).exit_code == 0
            assert statuses(services, hashes) == {"confirmed"}

    def test_events_that_may_still_wait_are_left(self, run: Run, services: Services) -> None:
        hashes = store(services)
        assert run("worker", "--once").exit_code == 0
        assert statuses(services, hashes) == {"stored"}

    def test_with_nothing_to_do_it_ends(self, run: Run) -> None:
        assert run("worker", "--once").exit_code == 0

    def test_a_chain_that_is_down_is_noted(self, run: Run, services: Services, home: Path) -> None:
        store(services)
        (home / "data" / "ledger.ndjson").write_text("this is no ledger\n" * 100)
        assert run("worker", "--once", **AT_ONCE).exit_code == 0
        found = status(run)
        assert found["backlog"] == 1
        assert "altered" in found["lastError"]


class TestStatus:
    def test_with_nothing_stored_nothing_waits(self, run: Run) -> None:
        assert status(run) == {"backlog": 0, "oldestReceivedAt": None, "lastError": None}
        result = run("worker", "--status")
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [
            "events not anchored yet: 0",
            "the oldest came in at:   -",
            "last error:              -",
        ]

    def test_it_counts_what_waits(self, run: Run, services: Services) -> None:
        hashes = store(services, 2)
        oldest = services.events.find(hashes[0])
        assert oldest is not None
        found = status(run)
        assert found["backlog"] == 2
        assert found["oldestReceivedAt"].endswith("Z")
        assert found["oldestReceivedAt"] in run("worker", "--status").stdout


def test_settings_at_fault_start_nothing(run: Run) -> None:
    result = run("worker", EVENTSERVER__ANCHORING__POLL_INTERVAL="x")
    assert result.exit_code == 78
    assert "anchoring.poll_interval" in result.stderr


class TestTheProcess:
    @pytest.fixture
    def worker(self, home: Path) -> Iterator[EventServerProcess]:
        settings = AT_ONCE | {"EVENTSERVER__ANCHORING__POLL_INTERVAL": "0.05"}
        with EventServerProcess(["worker"], home, settings, "worker_started") as process:
            yield process

    def test_it_anchors_what_comes(self, worker: EventServerProcess, services: Services) -> None:
        hashes = store(services, 2)
        for _ in hashes:
            worker.wait_for_log(lambda record: record["event"] == "batch_confirmed", PATIENCE)
        assert statuses(services, hashes) == {"confirmed"}

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_ends_well_when_it_is_told(self, worker: EventServerProcess, number: int) -> None:
        worker.wait_for_log(lambda record: record["event"] == "lease_acquired", PATIENCE)
        worker.signal(number)
        worker.wait_for_log(lambda record: record["event"] == "worker_stopped", PATIENCE)
        assert worker.process is not None
        assert worker.process.wait(PATIENCE) == 0

    def test_another_goes_on_where_one_was_told_to_end(
        self, worker: EventServerProcess, run: Run, services: Services
    ) -> None:
        worker.wait_for_log(lambda record: record["event"] == "lease_acquired", PATIENCE)
        assert worker.stop() == 0
        hashes = store(services)
        assert run("worker", "--once", **AT_ONCE).exit_code == 0
        assert statuses(services, hashes) == {"confirmed"}

    def test_beside_its_parent_it_ends_when_the_parent_does(self, home: Path) -> None:
        parent = """
import os, subprocess, sys
worker = subprocess.Popen(
    [sys.executable, "-m", "eventserver_core", "worker", "--beside", str(os.getpid())],
    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
)
for line in worker.stderr:
    if "worker_started" in line:
        break
print(worker.pid, flush=True)
sys.stdin.read()
"""
        process = subprocess.Popen(
            [sys.executable, "-c", parent],
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        watch = os.pidfd_open(worker)
        try:
            process.kill()
            process.communicate()
            ended, _, _ = select.select([watch], [], [], PATIENCE)
            assert ended
        finally:
            os.close(watch)
