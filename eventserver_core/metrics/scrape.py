"""Answering a scrape: what was counted, and what others are asked for in that moment.

A scrape never fails and never takes long: what can't be asked in time is left out, and
``eventserver_scrape_errors`` says which part it was.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from eventserver_core.metrics.definitions import REGISTRY
from eventserver_core.metrics.processes import process_metrics, running_only

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
REMEMBERED_FOR = 5.0
PATIENCE = 4.0
"""Seconds; Prometheus waits ten for a whole scrape."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge's values at one moment.

    Attributes:
        labels: the labels' names.
        values: with the labels' values.
    """

    name: str
    doc: str
    labels: Sequence[str]
    values: Sequence[tuple[tuple[str, ...], float]]


class Question:
    """Something to ask at a scrape, a few seconds apart at most, and once at a time.

    Args:
        part: its name in ``eventserver_scrape_errors``.
        ask: returns what there is to say; runs in a thread of its own.
        remembered_for: for how many seconds an answer is given again.
    """

    def __init__(
        self,
        part: str,
        ask: Callable[[], Iterable[Reading]],
        remembered_for: float = REMEMBERED_FOR,
    ) -> None:
        self.part = part
        self._ask = ask
        self._remembered_for = remembered_for
        self._lock = threading.Lock()
        self._answer: Future[list[Reading]] | None = None
        self._asked_at = 0.0

    def answer(self) -> tuple[Future[list[Reading]], float]:
        """Return the answer, which may be on its way or a moment old, and when it was asked for."""
        with self._lock:
            now = time.monotonic()
            if self._answer is None or (
                self._answer.done() and now - self._asked_at >= self._remembered_for
            ):
                self._asked_at = now
                self._answer = Future()
                name = f"scrape {self.part}"
                # a daemon: what hangs must not hold a server up that stops
                threading.Thread(
                    target=self._work, args=(self._answer,), name=name, daemon=True
                ).start()
            return self._answer, self._asked_at

    def _work(self, answer: Future[list[Reading]]) -> None:
        try:
            answer.set_result(list(self._ask()))
        except BaseException as ex:  # noqa: BLE001 - whatever it is, the scrape goes on without
            answer.set_exception(ex)


class Scrape:
    """Makes the text that Prometheus reads.

    Args:
        questions: what is asked each time.
        constants: what never changes.
        patience: seconds to wait for an answer, from when it was asked for.
    """

    def __init__(
        self,
        questions: Sequence[Question] = (),
        constants: Sequence[Reading] = (),
        patience: float = PATIENCE,
    ) -> None:
        self._questions = questions
        self._constants = constants
        self._patience = patience

    def text(self) -> bytes:
        """Return what there is to tell now."""
        return generate_latest(_Collected(self._metrics()))

    def _metrics(self) -> Iterator[Metric]:
        asked = {question.part: question.answer() for question in self._questions}
        answers = {part: answer for part, (answer, _) in asked.items()}
        for answer, asked_at in asked.values():
            # from when it was asked: what hangs is not waited for by one scrape after the other
            wait([answer], max(0.0, asked_at + self._patience - time.monotonic()))
        counted = running_only(_counted())
        yield from counted
        yield from process_metrics(counted)
        errors = GaugeMetricFamily(
            "eventserver_scrape_errors", "Whether a part couldn't be asked.", labels=["part"]
        )
        readings = list(self._constants)
        for part, answer in answers.items():
            failed = not answer.done() or answer.exception() is not None
            errors.add_metric([part], float(failed))
            if not failed:
                readings += answer.result()
        yield errors
        for reading in readings:
            gauge = GaugeMetricFamily(reading.name, reading.doc, labels=reading.labels)
            for labels, value in reading.values:
                gauge.add_metric(labels, value)
            yield gauge


_LOCK = "moving"


class _Collected:
    """What was collected, as a collector."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _counted() -> Iterable[Metric]:
    if values.ValueClass._multiprocess:
        try:
            collector = MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        except ValueError:  # the directory is gone: better little than nothing
            return []
        with undisturbed(Path(collector._path)):
            metrics: Iterable[Metric] = list(collector.collect())  # type: ignore[no-untyped-call]
        return metrics
    return REGISTRY.collect()


@contextmanager
def undisturbed(directory: Path, *, alone: bool = False) -> Iterator[None]:
    """Keep the files of ended processes where they are while all are read, or move them alone.

    A scrape in between would see counts twice or not at all, and Prometheus a counter that was
    reset.
    """
    lock = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)
