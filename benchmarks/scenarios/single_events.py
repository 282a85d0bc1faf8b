"""Single events on 64 connections, against the three backend calls for each event without HTTP."""

from __future__ import annotations

import psycopg

from benchmarks import events, floors
from benchmarks.figures import FLOOR, SERVER, Row, at_least, rate_row
from benchmarks.load import expect
from benchmarks.scenarios import Outcome
from benchmarks.stage import Stage
from benchmarks.turns import CONNECTIONS, floor_side, in_turn, load_side


def run(stage: Stage) -> Outcome:
    """Compare rates."""
    with (
        stage.server("single_events") as server,
        stage.floor(server.database, floors.flat, processes=2, threads=8) as floor,
    ):
        requests = events.single_events(server)
        rounds = in_turn(
            stage,
            {
                FLOOR: floor_side(stage, floor),
                SERVER: load_side(stage, server, requests, expect(201)),
            },
            rounds=stage.pick(5, 2),
            seconds=stage.pick(8, 3),
        )
        packed = _packed(server.database)
    what = f"single events, {CONNECTIONS} connections, against the flat floor"
    rows = [
        rate_row(what, rounds, at_least(2), unit="events"),
        Row("single events that were written together, in one pack", [packed[0]], unit="events"),
        Row("an event's room in the store", [packed[1]], unit="bytes"),
    ]
    return Outcome(rows, rounds)


def _packed(database: str) -> tuple[float, float]:
    """Return how many events a pack has, and how many bytes an event; the floor's don't count."""
    question = (
        "SELECT count(*)::float / count(DISTINCT pack_key), avg(pack_length)::float FROM events "
        "WHERE storage_location NOT LIKE 's3://floor/%'"
    )
    with psycopg.connect(database) as connection:
        found = connection.execute(question).fetchone() or (0.0, 0.0)
    return float(found[0]), float(found[1])
