"""Single events on one connection: latency, against the bare three calls in one thread."""

from __future__ import annotations

import statistics

from benchmarks import events, floors
from benchmarks.figures import FLOOR, SERVER, Row, at_most, pairs
from benchmarks.load import expect
from benchmarks.scenarios import Outcome
from benchmarks.stage import Stage
from benchmarks.turns import floor_side, in_turn, load_side


def run(stage: Stage) -> Outcome:
    """Compare the medians of the latencies."""
    with (
        stage.server("one_connection") as server,
        stage.floor(server.database, floors.flat, processes=1, threads=1) as floor,
    ):
        requests = events.single_events(server)
        rounds = in_turn(
            stage,
            {
                FLOOR: floor_side(stage, floor),
                SERVER: load_side(stage, server, requests, expect(201), connections=1),
            },
            rounds=stage.pick(5, 2),
            seconds=stage.pick(5, 2),
        )
    paired = pairs(rounds, FLOOR, SERVER)
    medians = {
        side: statistics.median(found.latency_ms(0.5) for found in rounds if found.side == side)
        for side in (FLOOR, SERVER)
    }
    row = Row(
        "single events, 1 connection: latency against the bare three calls",
        [mine.latency_ms(0.5) / bare.latency_ms(0.5) for bare, mine in paired],
        target=at_most(1.5),
        sides={side: f"{median:.1f} ms" for side, median in medians.items()},
        by_cpu=[mine.cpu_total_ms / bare.cpu_total_ms for bare, mine in paired],
    )
    return Outcome([row], rounds)
