"""Batches of 500 events, against 500 a write with the same work on each event, without HTTP."""

from __future__ import annotations

from benchmarks import events, floors
from benchmarks.figures import FLOOR, SERVER, at_least, rate_row
from benchmarks.scenarios import Outcome
from benchmarks.stage import Stage
from benchmarks.turns import floor_side, in_turn, load_side

CONNECTIONS = 16


def run(stage: Stage) -> Outcome:
    """Compare rates."""
    size = floors.BULK
    with (
        stage.server("batches") as server,
        stage.floor(server.database, floors.bulk, processes=2, threads=8) as floor,
    ):
        rounds = in_turn(
            stage,
            {
                FLOOR: floor_side(stage, floor),
                SERVER: load_side(
                    stage,
                    server,
                    events.batches(server, size),
                    events.expect_created(size),
                    connections=CONNECTIONS,
                    each=size,
                ),
            },
            rounds=stage.pick(5, 2),
            seconds=stage.pick(6, 3),
        )
    what = f"batches of {size} against the {size}-a-write floor with the work"
    return Outcome([rate_row(what, rounds, at_least(0.7), unit="events")], rounds)
