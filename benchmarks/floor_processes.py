"""Runs a floor's work in processes and threads of its own, for as long as it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Self

import psutil

from benchmarks.load import Load

_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where a floor writes to.

    Attributes:
        endpoint: the store's host and port.
        bucket: a bucket that is there.
        database: the address of a database with EventServer's schema.
    """

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    redis_url: str
    database: str


Call = Callable[[], int]
"""Does a floor's work once, and returns how many events that was."""
MakeCall = Callable[[Places], Callable[[], Call]]
"""Called once in each process; what it returns once in each thread."""


class FloorProcesses:
    """Processes that wait, and do a floor's work when told to; a context manager.

    Args:
        places: where to write to.
        make_call: makes what does the work; a function of a module.
        processes: how many.
        threads: how many in each.
    """

    def __init__(
        self, places: Places, make_call: MakeCall, *, processes: int, threads: int
    ) -> None:
        context = get_context("spawn")
        self._ends: list[Any] = []
        self._processes: list[Any] = []
        for _ in range(processes):
            mine, theirs = context.Pipe()
            arguments = (theirs, places, make_call, threads)
            self._processes.append(context.Process(target=_work, args=arguments, daemon=True))
            self._ends.append(mine)

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        for end in self._ends:
            self._receive(end, _START_SECONDS)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def family(self) -> list[psutil.Process]:
        """Return the processes."""
        return [psutil.Process(process.pid) for process in self._processes]

    def run(self, seconds: float) -> Load:
        """Do the work for so long, in each thread once at least."""
        for end in self._ends:
            end.send(seconds)
        loads = [self._receive(end, seconds + _START_SECONDS) for end in self._ends]
        return Load(
            sum(load.count for load in loads),
            max(load.seconds for load in loads),
            [latency for load in loads for latency in load.latencies_ms],
        )

    @staticmethod
    def _receive(end: Any, seconds: float) -> Any:
        if not end.poll(seconds):
            raise TimeoutError("a floor's process does not answer")
        received = end.recv()
        if isinstance(received, Exception):
            raise received
        return received


def _work(end: Connection, places: Places, make_call: MakeCall, threads: int) -> None:
    make = make_call(places)
    calls = [make() for _ in range(threads)]
    end.send(None)
    while True:
        seconds: float = end.recv()
        try:
            end.send(_run(calls, seconds))
        except Exception as ex:  # noqa: BLE001 - whoever asked raises it
            end.send(RuntimeError(f"{type(ex).__name__}: {ex}"))


def _run(calls: list[Call], seconds: float) -> Load:
    counts = [0] * len(calls)
    failures: list[Exception] = []
    latencies: list[float] = []
    began = time.perf_counter()

    def repeat(number: int) -> None:
        try:
            while True:
                start = time.perf_counter()
                counts[number] += calls[number]()
                now = time.perf_counter()
                latencies.append((now - start) * 1000)
                if now - began >= seconds:
                    return
        except Exception as ex:  # noqa: BLE001 - raised again below
            failures.append(ex)

    running = [threading.Thread(target=repeat, args=(number,)) for number in range(len(calls))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]
    return Load(sum(counts), time.perf_counter() - began, latencies)
