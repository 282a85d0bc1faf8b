"""A server that is told to stop finishes what it began, and leaves no process behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil
import pytest

from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess
from tests.end_to_end.conftest import Start
from tests.end_to_end.memory import MIB
from tests.end_to_end.raw_http import RawConnection
from tests.end_to_end.stored import Stored
from tests.end_to_end.submissions import FORM_TYPE, form_end, form_start
from tests.end_to_end.waiting import children, group, wait_until

GATHER_SECONDS = 10.0
"""How soon processes notice that their master is gone; each looks once a second."""

PROMPTLY = 15.0
"""Seconds within which a server with nothing to do ends; half of what it may take at most."""

_SLOW_FORKS = """\
import os, time
os.register_at_fork(after_in_child=lambda: time.sleep(1))
"""


def test_an_upload_under_way_is_finished_before_the_server_ends(
    start: Start, relay: Mapping[str, str], clip: Path, tmp_path: Path
) -> None:
    server = start("serve", "--with-worker", server__workers=2, anchoring__batch_max_age=0.1)
    _wait_for_worker(server)
    stored = Stored(tmp_path / "data")
    media = clip.read_bytes().ljust(MIB, b"\0")
    members = {"type": "video/mp4", "name": "clip.mp4", "size": len(media)}
    head, tail = form_start(make_package() | {"media": members}), form_end()
    length = str(len(head) + len(media) + len(tail))
    with RawConnection(server.url) as connection:
        headers = {**relay, "Content-Type": FORM_TYPE, "Content-Length": length}
        connection.send_head("POST", "/api/v1/events", headers)
        connection.send(head + media[: len(media) // 2])
        wait_until(stored.incoming, "the upload has begun")
        server.signal(signal.SIGTERM)
        _wait_until_refused(server)
        connection.send(media[len(media) // 2 :] + tail)
        answer = connection.answer()
    assert answer.status == 201
    assert server.wait() == 0
    assert group(server) == []
    (event,) = stored.events()
    assert event["digest_hex"] == answer.json["hash"]
    stored.check_event(event)
    # what was not anchored before the end is anchored after the next start
    start("worker", ready="batch_confirmed", anchoring__batch_max_age=0.1)
    assert [event["batch_state"] for event in stored.events()] == ["confirmed"]


def test_an_upload_that_does_not_end_is_cut_off_when_the_time_is_up(
    start: Start, relay: Mapping[str, str], clip: Path, tmp_path: Path
) -> None:
    server = start("serve", server__workers=1, server__graceful_timeout=1)
    stored = Stored(tmp_path / "data")
    with RawConnection(server.url) as connection:
        headers = {**relay, "Content-Type": FORM_TYPE, "Content-Length": "1000000"}
        connection.send_head("POST", "/api/v1/events", headers)
        head = form_start(make_package(clip, inline=False))
        connection.send(head + clip.read_bytes().ljust(500_000, b"\0"))
        wait_until(stored.incoming, "the upload has begun")
        server.signal(signal.SIGTERM)
        assert server.wait(PROMPTLY) == 0
        assert connection.everything() == b""
    assert group(server) == []
    assert (stored.events(), stored.objects()) == ([], [])
    start("serve")
    assert stored.incoming() == [], "what was left behind goes at the next start"


def test_silent_and_idle_connections_do_not_hold_up_a_stop(start: Start) -> None:
    server = start("serve", server__workers=1, server__graceful_timeout=30)
    with RawConnection(server.url) as silent, RawConnection(server.url) as idle:
        silent.send(b"GET /")
        idle.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.answer().status == 200
        server.signal(signal.SIGTERM)
        assert server.wait(PROMPTLY) == 0


def test_a_request_sent_on_an_idle_connection_while_the_server_stops_is_answered(
    start: Start,
) -> None:
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    server = start("serve", server__workers=1)
    with RawConnection(server.url) as idle:
        idle.send(request)
        assert idle.answer().status == 200
        server.signal(signal.SIGTERM)
        _wait_until_refused(server)
        idle.send(request)
        answer = idle.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert server.wait() == 0


def test_a_stopping_server_takes_no_new_connections_while_it_finishes_others(
    start: Start, relay: Mapping[str, str], clip: Path, tmp_path: Path
) -> None:
    server = start("serve", server__workers=1)
    with RawConnection(server.url) as uploading:
        headers = {**relay, "Content-Type": FORM_TYPE, "Content-Length": "1000000"}
        uploading.send_head("POST", "/api/v1/events", headers)
        head = form_start(make_package(clip, inline=False))
        uploading.send(head + clip.read_bytes().ljust(500_000, b"\0"))
        wait_until(Stored(tmp_path / "data").incoming, "the upload has begun")
        server.signal(signal.SIGTERM)
        _wait_until_refused(server)
        assert children(server), "the process that has the upload goes on"


def test_a_port_that_a_killed_masters_processes_still_hold_is_waited_for(start: Start) -> None:
    killed = start("serve", server__workers=1)
    wait_until(lambda: children(killed), "a process serves requests")
    killed.signal(signal.SIGKILL)
    killed.wait()
    assert group(killed), "too late: the port is free already"
    port = killed.url.rpartition(":")[2]
    assert start("serve", server__workers=1, server__port=port).url == killed.url


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_is_told_to_stop_takes_all_its_processes_along(
    start: Start, number: signal.Signals
) -> None:
    server = start("serve", "--with-worker", server__workers=2)
    _wait_for_worker(server)
    wait_until(lambda: len(children(server)) == 3, "all processes run")
    server.signal(number)
    assert server.wait(PROMPTLY) == 0
    assert group(server) == []


def test_a_server_that_is_told_to_stop_while_its_processes_begin_does_so(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_SLOW_FORKS)
    settings = {
        "EVENTSERVER__SERVER__WORKERS": "2",
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]),
    }
    with EventServerProcess(["serve"], tmp_path, settings) as server:
        wait_until(lambda: len(children(server)) == 2, "its processes are there")
        server.signal(signal.SIGTERM)
        assert server.wait(PROMPTLY) == 0
        assert group(server) == []


def test_a_worker_that_is_told_to_stop_ends_with_status_0(start: Start) -> None:
    worker = start("worker", ready="lease_acquired")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert any("worker_stopped" in line for line in worker.lines)


@pytest.mark.parametrize("with_worker", [False, True], ids=["alone", "with the worker"])
def test_no_process_outlives_a_master_that_was_killed(start: Start, with_worker: bool) -> None:
    arguments = ["serve", "--with-worker"] if with_worker else ["serve"]
    server = start(*arguments, server__workers=2)
    if with_worker:
        _wait_for_worker(server)
    wait_until(lambda: len(children(server)) == 2 + with_worker, "all processes run")
    server.signal(signal.SIGKILL)
    server.wait()
    wait_until(lambda: not group(server), "all processes are gone", GATHER_SECONDS)


def test_a_server_process_that_was_killed_is_started_again(start: Start) -> None:
    server = start("serve", server__workers=1)
    (first,) = wait_until(lambda: children(server), "a process serves requests")
    first.kill()
    wait_until(lambda: _others(server, first), "another process serves requests")
    assert httpx.get(f"{server.url}/health/live").status_code == 200


def test_an_anchoring_worker_that_was_killed_is_started_again(
    start: Start, relay: Mapping[str, str], tmp_path: Path
) -> None:
    server = start(
        "serve",
        "--with-worker",
        server__workers=1,
        anchoring__batch_max_age=0.1,
        anchoring__lease_duration=1,
    )
    first = _wait_for_worker(server)
    os.kill(first, signal.SIGKILL)
    assert server.wait_for_event("anchoring_worker_ended")["level"] == "error"
    assert _wait_for_worker(server) != first
    sent = httpx.post(f"{server.url}/api/v1/events", json=make_package(), headers=relay)
    assert sent.status_code == 201
    server.wait_for_event("batch_confirmed")
    assert [e["batch_state"] for e in Stored(tmp_path / "data").events()] == ["confirmed"]


def _wait_for_worker(server: EventServerProcess) -> int:
    """Wait until the anchoring worker is up, and return its process id."""
    name = str(server.wait_for_event("worker_started")["worker"])
    pid = int(name.split(":")[1])
    assert psutil.pid_exists(pid)
    return pid


def _wait_until_refused(server: EventServerProcess) -> None:
    """Wait until the server takes no new connections."""

    def refused() -> bool:
        try:
            RawConnection(server.url).socket.close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, "no new connection is taken", seconds=10)


def _others(server: EventServerProcess, known: psutil.Process) -> list[psutil.Process]:
    return [process for process in children(server) if process != known]


def test_while_it_drains_requests_are_taken_and_new_ones_sent_elsewhere(
    start: Start, relay: Mapping[str, str]
) -> None:
    server = start("serve", server__workers=2, server__drain_delay=3600)
    with httpx.Client(base_url=server.url, headers=relay) as client:
        assert client.get("/health/ready").status_code == 200
        server.signal(signal.SIGTERM)
        server.wait_for_event("server_draining")
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert "Retry-After" in ready.headers
        assert client.get("/health").status_code == 200
        assert client.get("/health/live").status_code == 200
        assert client.post("/api/v1/events", json=make_package()).status_code == 201
    server.signal(signal.SIGTERM)  # whoever can't wait says so again
    assert server.wait(PROMPTLY) == 0
    assert group(server) == []


def test_a_drained_server_ends_by_itself(start: Start) -> None:
    server = start("serve", "--with-worker", server__workers=1, server__drain_delay=0.5)
    server.signal(signal.SIGTERM)
    server.wait_for_event("server_draining")
    assert server.wait(PROMPTLY) == 0
    assert group(server) == []
