"""Verifying and proofs on 64 connections, against an empty GET on the same server."""

from __future__ import annotations

import random

from benchmarks import events
from benchmarks.figures import at_least, rate_row
from benchmarks.load import expect
from benchmarks.rows import make_confirmed
from benchmarks.scenarios import Outcome
from benchmarks.stage import Stage
from benchmarks.turns import CONNECTIONS, in_turn, load_side

BATCHES = 20
EMPTY = "empty GET"


def run(stage: Stage) -> Outcome:
    """Compare rates, over so many events that few answers come from a cache."""
    database = stage.migrated_database("reads")
    hashes = make_confirmed(stage, "reads", database, BATCHES, real=BATCHES)
    random.Random(1).shuffle(hashes)
    paths = {
        EMPTY: ["/health/live"],
        "verify": [f"/api/v1/events/{digest_hex}/verify" for digest_hex in hashes],
        "proof": [f"/api/v1/events/{digest_hex}/proof" for digest_hex in hashes],
    }
    with stage.run("reads", database, ("serve",)) as server:
        sides = {
            name: load_side(
                stage,
                server,
                events.reads(wanted),
                expect(200),
                name=name,
            )
            for name, wanted in paths.items()
        }
        rounds = in_turn(stage, sides, rounds=stage.pick(5, 2), seconds=stage.pick(4, 2))
    rows = [
        rate_row(
            f"{name}, {CONNECTIONS} connections, against an empty GET on the same server",
            rounds,
            at_least(0.4),
            unit="requests",
            of=name,
            against=EMPTY,
        )
        for name in ("verify", "proof")
    ]
    return Outcome(rows, rounds)
