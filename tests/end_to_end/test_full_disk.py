"""A disk that takes no more: "later" for every event, nothing half-stored, and on again after.

The kernel's limit on the size of files stands in for the disk: it can be set on running processes,
and taken away again. A write past it takes what still fits, and the next one fails, as on a full
disk.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess
from tests.end_to_end.conftest import Start
from tests.end_to_end.stored import Stored
from tests.end_to_end.submissions import FORM_TYPE, Sender, Submission, enroll
from tests.end_to_end.waiting import group, wait_until

KIB = 1024
NOTHING_FITS = 0
A_PACK_FITS = 4 * KIB
ALL_OBJECTS_FIT = 64 * KIB
"""More than the largest object here has, and less than the database's log once it has grown."""


@pytest.fixture
def server(start: Start) -> EventServerProcess:
    server = start("serve", server__workers=1, server__threads=4, security__pow_difficulty=1)
    assert httpx.get(f"{server.url}/health").json()["status"] == "healthy"
    return server


@pytest.fixture
def submissions(
    server: EventServerProcess, relay: Mapping[str, str], photo: Path
) -> list[Submission]:
    """One event in every form."""
    device, token = enroll(server.url)
    sender = Sender(relay, device, token, photo.with_suffix(".png"))
    return [
        sender.plain(),
        sender.with_photo(),
        sender.form(),
        sender.signed(),
        sender.forwarded(),
    ]


@pytest.mark.parametrize("limit", [NOTHING_FITS, A_PACK_FITS, ALL_OBJECTS_FIT])
def test_events_are_put_off_while_the_disk_is_full_and_taken_afterwards(
    server: EventServerProcess, submissions: list[Submission], tmp_path: Path, limit: int
) -> None:
    stored = Stored(tmp_path / "data")
    put_off = [s for s in submissions if s.media is not None or limit != A_PACK_FITS]
    before = _grow_log(server, submissions[0], stored) if limit == ALL_OBJECTS_FIT else 0
    with _full_disk(server, limit):
        for submission in put_off:
            answer = _send(server, submission)
            assert (answer.status_code, answer.json()["code"]) == (503, "backend_unavailable")
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert int(answer.headers["Retry-After"]) >= 1
            assert str(tmp_path) not in answer.text
        assert len(stored.events()) == before
        assert stored.incoming() == []
        # what fits is there in full, though no row names it yet
        if limit == NOTHING_FITS:
            assert stored.objects() == []
    for submission in submissions:
        assert _send(server, submission).status_code == 201
        assert _send(server, submission).status_code == 200
    events = stored.events()
    assert len(events) == before + len(submissions)
    assert {s.digest_hex for s in submissions} <= {event["digest_hex"] for event in events}
    for event in events:
        stored.check_event(event)


def test_a_server_whose_disk_is_full_says_that_it_is_unhealthy(
    server: EventServerProcess,
) -> None:
    with _full_disk(server, NOTHING_FITS):
        health = wait_until(lambda: _health(server, "unhealthy"), "the server is unhealthy")
        assert health.status_code == 503
        assert health.headers["Retry-After"]
        assert health.json()["services"]["storage"] is False
        assert httpx.get(f"{server.url}/health/ready").status_code == 503
        assert httpx.get(f"{server.url}/health/live").status_code == 200
    health = wait_until(lambda: _health(server, "healthy"), "the server is healthy again")
    assert health.status_code == 200


def test_what_is_stored_can_be_read_while_the_disk_is_full(
    server: EventServerProcess, submissions: list[Submission], relay: Mapping[str, str]
) -> None:
    for submission in submissions:
        assert _send(server, submission).status_code == 201
    with _full_disk(server, NOTHING_FITS):
        for submission in submissions:
            if submission.headers["Content-Type"] != FORM_TYPE:  # whose media has to go somewhere
                again = _send(server, submission)
                assert (again.status_code, again.json()["hash"]) == (200, submission.digest_hex)
            url = f"{server.url}/api/v1/events/{submission.digest_hex}"
            if submission.headers["Authorization"] == relay["Authorization"]:
                assert httpx.get(url, headers=relay).status_code == 200
                assert httpx.get(f"{url}/package", headers=relay).status_code == 200
            assert httpx.get(f"{url}/proof").status_code == 202


def test_a_worker_whose_disk_is_full_anchors_once_there_is_room(
    start: Start, relay: Mapping[str, str], tmp_path: Path
) -> None:
    server = start("serve", server__workers=1)
    worker = start(
        "worker",
        ready="lease_acquired",
        anchoring__batch_max_age=0.1,
        anchoring__poll_interval=0.1,
        anchoring__retry_max_delay=1,
    )
    stored = Stored(tmp_path / "data")
    with _full_disk(worker, NOTHING_FITS):
        sent = httpx.post(f"{server.url}/api/v1/events", json=make_package(), headers=relay)
        assert sent.status_code == 201
        worker.skip_log()
        worker.wait_for_event("worker_waits")
        assert [event["batch_state"] for event in stored.events()] == [None]
    worker.wait_for_event("batch_confirmed")
    assert [event["batch_state"] for event in stored.events()] == ["confirmed"]
    stored.check_batches()
    assert len(stored.ledger()) == 1


def _grow_log(server: EventServerProcess, like: Submission, stored: Stored) -> int:
    """Send events until the database's log has outgrown the limit; return how many."""
    log = stored.data_dir / "eventserver.sqlite3-wal"
    while log.stat().st_size <= ALL_OBJECTS_FIT:
        url, headers = f"{server.url}{like.path}", dict(like.headers)
        assert httpx.post(url, json=make_package(), headers=headers).status_code == 201
    return len(stored.events())


@contextmanager
def _full_disk(server: EventServerProcess, limit: int) -> Iterator[None]:
    """Let no file of a server's processes grow past so many bytes."""
    pids = [process.pid for process in group(server)]
    for pid in pids:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))
    yield
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))


def _send(server: EventServerProcess, submission: Submission) -> httpx.Response:
    headers = dict(submission.headers)
    return httpx.post(
        f"{server.url}{submission.path}", content=submission.content, headers=headers, timeout=30
    )


def _health(server: EventServerProcess, status: str) -> httpx.Response | None:
    answer = httpx.get(f"{server.url}/health")
    return answer if answer.json()["status"] == status else None
