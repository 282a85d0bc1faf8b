"""Sealing 100,000 events that wait, in batches as the setting has them and in large ones."""

from __future__ import annotations

import time

import psutil
import psycopg

from benchmarks.figures import Round, Row
from benchmarks.processes import peak_mib
from benchmarks.rows import make_waiting
from benchmarks.scenarios import Outcome
from benchmarks.stage import Stage, wait_until

BATCH_SIZES = (1024, 65_536)
_SEALED = "SELECT NOT EXISTS (SELECT FROM events WHERE batch_id IS NULL)"


def run(stage: Stage) -> Outcome:
    """Let a worker seal them all; count the seconds and its peak of memory."""
    total = stage.pick(100_000, 10_000)
    rows: list[Row] = []
    rounds: list[Round] = []
    for size in BATCH_SIZES:
        name = f"sealing_{size}"
        database = stage.migrated_database(name)
        make_waiting(name, database, total)
        with stage.run(name, database, ("worker",), anchoring__batch_max_events=size) as worker:
            process = psutil.Process(worker.process.pid)
            meter = stage.server_meter(worker)
            before = peak_mib(process)
            wait_until(database, _SEALED)
            seconds, cpu_ms = _seconds_until_now(database), meter.milliseconds_each(total)
            peak = peak_mib(process)
        more = {"before MiB": before, "peak MiB": peak}
        rounds.append(Round(f"batches of {size}", total, seconds, cpu_ms, more=more))
        rows.append(
            Row(
                f"sealing {total:,} events in batches of {size:,}",
                [seconds],
                unit="s",
                sides={"worker before": f"{before:.0f} MiB", "at its peak": f"{peak:.0f} MiB"},
            )
        )
        stage.say(f"{rows[-1].what}: {seconds:.1f} s, peak {peak:.0f} MiB")
    return Outcome(rows, rounds)


def _seconds_until_now(database: str) -> float:
    """Return the seconds since the worker began with the first batch, by its own account."""
    with psycopg.connect(database) as connection:
        (began,) = connection.execute("SELECT min(sealed_at) FROM batches").fetchone() or (0,)
    return time.time() - float(began) / 1000
