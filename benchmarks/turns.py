"""Runs sides in turn, A B A B, so that a machine whose speed moves moves for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks.figures import FLOOR, SERVER, Round
from benchmarks.floor_processes import FloorProcesses
from benchmarks.load import Check, closed_loop
from benchmarks.stage import RunningServer, Stage

Side = Callable[[float], Round]
"""Does one side's work for so many seconds, and returns what came of it."""

CONNECTIONS = 64

_WARM_UP_SHARE = 0.5


def in_turn(stage: Stage, sides: Mapping[str, Side], *, rounds: int, seconds: float) -> list[Round]:
    """Let the sides work in turn, so many times, after a warm-up that does not count.

    Args:
        stage: tells what happens.
        sides: by name, in the order of their turns.
        rounds: how often.
        seconds: how long each turn is.
    """
    for side in sides.values():
        side(seconds * _WARM_UP_SHARE)
    stage.settle()
    found: list[Round] = []
    for number in range(1, rounds + 1):
        for name, side in sides.items():
            result = side(seconds)
            found.append(result)
            stage.say(
                f"round {number} of {rounds}, {name}: {result.rate:,.0f} a second, "
                f"{result.cpu_total_ms:.2f} ms of CPU each"
            )
    return found


def load_side(
    stage: Stage,
    server: RunningServer,
    requests: Iterator[bytes],
    check: Check,
    *,
    connections: int = CONNECTIONS,
    name: str = SERVER,
    each: int = 1,
) -> Side:
    """Return the side of a server under load.

    Args:
        stage: whose parts are counted with it.
        server: the server.
        requests: without end.
        check: looks at each answer.
        connections: how many at once.
        name: the side's name.
        each: how many events a request has.
    """

    def run(seconds: float) -> Round:
        meter = stage.server_meter(server)
        load = closed_loop(server.url, requests, check, connections=connections, seconds=seconds)
        count = load.count * each
        return Round(name, count, load.seconds, meter.milliseconds_each(count), load.latencies_ms)

    return run


def floor_side(stage: Stage, floor: FloorProcesses) -> Side:
    """Return a floor's side."""

    def run(seconds: float) -> Round:
        meter = stage.meter(floor=floor.family)
        load = floor.run(seconds)
        cpu_ms = meter.milliseconds_each(load.count)
        return Round(FLOOR, load.count, load.seconds, cpu_ms, load.latencies_ms)

    return run
