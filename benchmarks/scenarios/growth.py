"""Ingest, verifying and proofs with ten million rows in PostgreSQL, against ten thousand."""

from __future__ import annotations

import random
import statistics
from contextlib import ExitStack

import psycopg

from benchmarks import events
from benchmarks.figures import Round, Row, at_most, pairs
from benchmarks.load import expect
from benchmarks.rows import BATCH_SIZE, make_confirmed
from benchmarks.scenarios import Outcome
from benchmarks.stage import RunningServer, Stage
from benchmarks.turns import Side, in_turn, load_side

REAL_BATCHES = 10
JOBS = ("ingest", "verify", "proof")


def run(stage: Stage) -> Outcome:
    """Compare the time of each job, on two databases of one PostgreSQL, in turn."""
    sizes = {"small": 10, "large": stage.pick(10_000, 500)}
    sides: dict[str, dict[str, Side]] = {job: {} for job in JOBS}
    with ExitStack() as running:
        for name, batches in sizes.items():
            stage.say(f"making {batches * BATCH_SIZE:,} rows")
            database = stage.migrated_database(f"growth_{name}")
            hashes = make_confirmed(stage, f"growth_{name}", database, batches, REAL_BATCHES)
            random.Random(1).shuffle(hashes)
            size = _bytes_each(database)
            stage.say(f"they are there, {size:.0f} bytes each")
            server = running.enter_context(stage.run(f"growth_{name}", database, ("serve",)))
            for job in JOBS:
                sides[job][f"{job}, {name}"] = _side(stage, server, job, name, hashes)
        rounds = [
            found
            for job in JOBS
            for found in in_turn(
                stage, sides[job], rounds=stage.pick(5, 2), seconds=stage.pick(3, 2)
            )
        ]
    rows = [_row(job, sizes, rounds) for job in JOBS]
    rows.append(Row("PostgreSQL's room for an event, indexes included", [size], unit="bytes"))
    return Outcome(rows, rounds)


def _side(stage: Stage, server: RunningServer, job: str, name: str, hashes: list[str]) -> Side:
    if job == "ingest":
        requests, status = events.single_events(server), 201
    else:
        requests, status = events.reads([f"/api/v1/events/{h}/{job}" for h in hashes]), 200
    return load_side(
        stage,
        server,
        requests,
        expect(status),
        name=f"{job}, {name}",
    )


def _row(job: str, sizes: dict[str, int], rounds: list[Round]) -> Row:
    small, large = f"{job}, small", f"{job}, large"
    paired = pairs(rounds, small, large)
    milliseconds = {
        f"{sizes[name] * BATCH_SIZE:,} rows": statistics.median(
            1000 / found.rate for found in rounds if found.side == f"{job}, {name}"
        )
        for name in sizes
    }
    return Row(
        f"{job} with {sizes['large'] * BATCH_SIZE:,} rows: time against "
        f"{sizes['small'] * BATCH_SIZE:,}",
        [before.rate / after.rate for before, after in paired],
        target=at_most(1.2),
        sides={name: f"{value:.2f} ms" for name, value in milliseconds.items()},
        by_cpu=[after.cpu_total_ms / before.cpu_total_ms for before, after in paired],
    )


def _bytes_each(database: str) -> float:
    with psycopg.connect(database) as connection:
        question = "SELECT pg_total_relation_size('events') / count(*)::float FROM events"
        (size,) = connection.execute(question).fetchone() or (0.0,)
    return float(size)
