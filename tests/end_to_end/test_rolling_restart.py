"""Instances that are replaced one after the other, under load: no request fails."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from eventserver_core.testing.factories import make_package
from eventserver_core.testing.parts.process import free_port
from eventserver_core.testing.server import EventServerProcess
from tests.end_to_end.conftest import Start
from tests.end_to_end.stored import Stored
from tests.end_to_end.waiting import wait_until

INSTANCES = 2
SENDERS = 4
DRAIN_DELAY = 2.0
LOOK_SECONDS = 0.1
"""How often the balancer asks; the instances drain for much longer."""
SENT_BETWEEN = 40
"""Events that are taken between one replacement and the next."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("heavy")]


@dataclass
class Balancer:
    """Sends requests in turn to the instances that say that they are ready.

    Nothing is sent twice: a request that fails is a fault.

    Args:
        urls: where the instances are.

    Attributes:
        answered: how often each instance answered with which status.
        faults: what should not have happened.
    """

    urls: list[str]
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ready: list[str] = []
        self._turns = itertools.count()
        self._lock = threading.Lock()

    def look(self, stopping: threading.Event) -> None:
        """Ask all instances again and again whether they are ready."""
        while not stopping.is_set():
            self._ready = [url for url in self.urls if _is_ready(url)]
            stopping.wait(LOOK_SECONDS)

    def ready(self) -> list[str]:
        """Return the instances that were ready when they were asked last."""
        return self._ready

    def post(self, headers: Mapping[str, str]) -> None:
        """Send one event over a connection of its own."""
        ready = self._ready
        if not ready:
            self.faults.append("no instance was ready")
            return
        with self._lock:
            url = ready[next(self._turns) % len(ready)]
        try:
            answer = httpx.post(
                f"{url}/api/v1/events", json=make_package(), headers=headers, timeout=30
            )
        except httpx.HTTPError as ex:
            self.faults.append(f"{url}: {ex!r}")
            return
        if answer.status_code != 201:
            self.faults.append(f"{url}: {answer.status_code} {answer.text}")
        with self._lock:
            self.answered[url, answer.status_code] += 1


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def instances(start: Start) -> list[EventServerProcess]:
    """Instances over one data directory, each at an address that it keeps."""
    return [
        start(
            "serve",
            server__port=free_port(),
            server__workers=1,
            server__drain_delay=DRAIN_DELAY,
            security__rate_limit_per_minute=1_000_000,
        )
        for _ in range(INSTANCES)
    ]


@pytest.fixture
def balancer(instances: list[EventServerProcess], relay: Mapping[str, str]) -> Iterator[Balancer]:
    """A balancer before the instances, and senders that never rest."""
    made = Balancer([instance.url for instance in instances])
    stopping = threading.Event()

    def send() -> None:
        while not stopping.is_set() and not made.faults:
            made.post(relay)

    with ThreadPoolExecutor(SENDERS + 1) as threads:
        threads.submit(made.look, stopping)
        try:
            wait_until(lambda: len(made.ready()) == INSTANCES, "all instances are ready")
            for _ in range(SENDERS):
                threads.submit(send)
            yield made
        finally:
            stopping.set()


def test_a_rolling_restart_under_load_fails_no_request(
    instances: list[EventServerProcess], balancer: Balancer, tmp_path: Path
) -> None:
    def took(count: int, *urls: str) -> bool:
        taken = sum(n for (url, _), n in balancer.answered.items() if url in urls)
        return bool(balancer.faults) or taken >= count

    def sent_on(*urls: str) -> None:
        """Wait until these instances have taken that many more."""
        before = sum(n for (url, _), n in balancer.answered.items() if url in urls)
        wait_until(lambda: took(before + SENT_BETWEEN, *urls), "events are taken", seconds=60)

    sent_on(*balancer.urls)
    for instance in instances:
        others = [url for url in balancer.urls if url != instance.url]
        first = instance.pid
        instance.process.terminate()  # type: ignore[union-attr]
        wait_until(lambda gone=instance.url: gone not in balancer.ready(), "it is left out")  # type: ignore[misc]
        sent_on(*others)
        assert instance.wait() == 0
        instance.start()
        assert instance.pid != first
        wait_until(lambda: len(balancer.ready()) == INSTANCES, "it is back")
        sent_on(instance.url)
    assert balancer.faults == []
    assert {status for _, status in balancer.answered} == {201}
    assert set(balancer.urls) == {url for url, _ in balancer.answered}
    # the senders still send: what was counted is there, and perhaps a little more
    counted = balancer.answered.total()
    assert len(Stored(tmp_path / "data").events()) >= counted
