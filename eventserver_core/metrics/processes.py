"""What each process uses, read from the system when somebody wants to know."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from eventserver_core.metrics.definitions import PROCESS_STARTED_AT

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STARTED = "eventserver_process_start_time_seconds"
_USER_TIME, _SYSTEM_TIME, _RESIDENT = 11, 12, 21
"""Places in ``/proc/PID/stat`` after the command's name; see proc(5)."""


def announce(role: str) -> None:
    """Say that this process has begun.

    Args:
        role: ``master``, ``api`` or ``worker``.
    """
    PROCESS_STARTED_AT.labels(role).set(time.time())


def running_only(counted: Iterable[Metric]) -> list[Metric]:
    """Leave out what a fork has of its master's: the role, at 0."""
    metrics = list(counted)
    for metric in metrics:
        if metric.name == _STARTED:
            metric.samples = [sample for sample in metric.samples if sample.value]
    return metrics


def process_metrics(counted: Iterable[Metric]) -> Iterator[Metric]:
    """Return what the processes use that have announced themselves.

    A label says which process; there are as many as run.
    """
    names = ["role", "pid"]
    memory = GaugeMetricFamily(
        "eventserver_process_resident_memory_bytes", "Memory in use.", labels=names
    )
    cpu = CounterMetricFamily("eventserver_process_cpu_seconds", "CPU time used.", labels=names)
    files = GaugeMetricFamily("eventserver_process_open_fds", "Open files.", labels=names)
    for metric in counted:
        if metric.name != _STARTED:
            continue
        for sample in metric.samples:
            pid = sample.labels.get("pid", str(os.getpid()))
            labels = [sample.labels["role"], pid]
            try:
                used = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
                open_files = len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                continue  # it has just ended, or this is no Linux
            memory.add_metric(labels, int(used[_RESIDENT]) * _PAGE)
            cpu.add_metric(labels, (int(used[_USER_TIME]) + int(used[_SYSTEM_TIME])) / _TICKS)
            files.add_metric(labels, open_files)
    yield from (memory, cpu, files)
