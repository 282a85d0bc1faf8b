"""``/metrics`` of real processes: one answer for all of them, whatever becomes of each."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess
from tests.end_to_end.conftest import Start
from tests.end_to_end.raw_http import RawConnection
from tests.end_to_end.waiting import wait_until

Samples = list[tuple[str, dict[str, str], float]]


def scrape(url: str) -> Samples:
    """Return the samples that a fresh connection gets, from whichever process takes it."""
    answer = httpx.get(f"{url}/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return [(one.name, one.labels, one.value) for family in families for one in family.samples]


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(
        value
        for found, its, value in samples
        if found == f"eventserver_{name}" and labels.items() <= its.items()
    )


def processes(samples: Samples, role: str) -> set[int]:
    """Return the processes that run, by what is said of their memory."""
    return {
        int(labels["pid"])
        for name, labels, value in samples
        if name == "eventserver_process_resident_memory_bytes"
        and labels["role"] == role
        and value > 1_000_000
    }


def directory_of(server: EventServerProcess) -> Path:
    """Return where a server's processes count."""
    variables = Path(f"/proc/{_worker(server)}/environ").read_bytes().split(b"\0")
    name = b"PROMETHEUS_MULTIPROC_DIR="
    (found,) = [one.removeprefix(name) for one in variables if one.startswith(name)]
    return Path(os.fsdecode(found))


def _worker(server: EventServerProcess) -> int:
    """Return the anchoring worker, which began with its master's variables."""
    (pid,) = wait_until(lambda: processes(scrape(server.url), "worker"), "there is a worker")
    return pid


def test_whoever_answers_speaks_for_all_processes(
    start: Start, relay: Mapping[str, str], tmp_path: Path
) -> None:
    server = start("serve", "--with-worker", server__workers=3, anchoring__batch_max_age=0.1)
    answered = 0
    # each on a connection of its own, until each process has answered some
    for _ in range(30):
        with httpx.Client(base_url=server.url, headers=relay) as client:
            assert client.post("/api/v1/events", json=make_package()).status_code == 201
            answered += 1
    for _ in range(6):
        samples = scrape(server.url)
        assert total(samples, "events_total", outcome="stored") == answered
        assert total(samples, "http_requests_total", route="/api/v1/events") == answered
        assert total(samples, "http_requests_in_flight") == 1
        assert total(samples, "http_received_bytes_total") > answered * 300
    wait_until(
        lambda: total(scrape(server.url), "batches_total", outcome="confirmed") >= 1,
        "the worker's batches are counted here",
    )
    samples = scrape(server.url)
    assert len(processes(samples, "api")) == 3
    assert len(processes(samples, "worker")) == 1
    assert processes(samples, "master") == {server.pid}
    assert total(samples, "worker_holds_lease") == 1


def test_a_process_that_ends_leaves_what_it_counted_and_nothing_else(
    start: Start, relay: Mapping[str, str]
) -> None:
    server = start("serve", "--with-worker", server__workers=1)
    with httpx.Client(base_url=server.url, headers=relay) as client:
        assert client.post("/api/v1/events", json=make_package()).status_code == 201
    (old,) = processes(scrape(server.url), "api")
    working = _worker(server)
    os.kill(old, signal.SIGKILL)
    os.kill(working, signal.SIGKILL)
    server.wait_for_event("anchoring_worker_ended")

    def replaced() -> Samples | None:
        try:
            samples = scrape(server.url)
        except httpx.TransportError:
            return None  # it was killed, and nobody listens for a moment
        there = processes(samples, "api") | processes(samples, "worker")
        return samples if len(there) == 2 and not there & {old, working} else None

    samples = wait_until(replaced, "others have taken their places")
    assert total(samples, "events_total", outcome="stored") == 1
    assert total(samples, "http_requests_in_flight") == 1
    directory = directory_of(server)
    living = sorted(path.name for path in directory.glob("gauge_live*"))
    assert not [name for name in living if f"_{old}.db" in name or f"_{working}.db" in name]


def test_the_directory_is_fresh_and_ends_with_its_server(
    start: Start, relay: Mapping[str, str]
) -> None:
    server = start("serve", "--with-worker", server__workers=1)
    with httpx.Client(base_url=server.url, headers=relay) as client:
        assert client.post("/api/v1/events", json=make_package()).status_code == 201
    killed = directory_of(server)
    assert killed.stat().st_mode & 0o077 == 0
    server.kill_all()
    server.start()
    assert not killed.exists()
    second = directory_of(server)
    assert total(scrape(server.url), "events_total", outcome="stored") == 0
    assert server.stop() == 0
    assert not second.exists()


def test_what_is_no_request_is_counted(start: Start) -> None:
    server = start("serve", server__workers=1)
    with RawConnection(server.url) as connection:
        connection.send(b"garbage\r\n\r\n")
        assert connection.answer().status == 400
    samples = scrape(server.url)
    assert total(samples, "http_requests_total", route="unknown", status="400") == 1
    assert total(samples, "http_problems_total", code="malformed_request") == 1


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_worker_by_itself_answers_on_its_own_port(
    start: Start, issue: Callable[..., object], free_port: int
) -> None:
    worker = start(
        "worker",
        ready="worker_started",
        metrics__worker_host="127.0.0.1",
        metrics__worker_port=free_port,
    )
    url = f"http://127.0.0.1:{free_port}"
    samples = wait_until(
        lambda: (found := scrape(url)) and total(found, "worker_holds_lease") and found,
        "it works",
    )
    assert processes(samples, "worker") == {worker.pid}
    assert total(samples, "scrape_errors") == 0
    assert total(samples, "worker_round_timestamp_seconds") > 0
    assert httpx.get(f"{url}/elsewhere").status_code == 404
    idle = [socket.create_connection(("127.0.0.1", free_port)) for _ in range(4)]
    assert scrape(url)
    for connection in idle:
        connection.close()
    assert worker.stop() == 0


def test_a_port_that_is_taken_is_a_fault_of_the_settings(
    start: Start, issue: Callable[..., object]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match=r"metrics\.worker_port"):
            start("worker", ready="worker_started", metrics__worker_port=port)
