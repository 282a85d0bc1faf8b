"""The 99th percentile at 70 % of the highest rate of single events, which arrive at fixed times."""

from __future__ import annotations

from benchmarks import events
from benchmarks.figures import SERVER, Round, Row, at_most
from benchmarks.load import closed_loop, expect, open_loop
from benchmarks.scenarios import Outcome
from benchmarks.stage import Stage
from benchmarks.turns import CONNECTIONS

SHARE = 0.7


def run(stage: Stage) -> Outcome:
    """Find the highest rate before each round, then send at 70 % of it."""
    rounds: list[Round] = []
    with stage.server("tail_latency") as server:
        requests, check = events.single_events(server), expect(201)
        warm_up = closed_loop(
            server.url, requests, check, connections=CONNECTIONS, seconds=stage.pick(4, 2)
        )
        stage.say(f"after a warm-up of {warm_up.count:,} events")
        for number in range(1, stage.pick(3, 1) + 1):
            highest = closed_loop(
                server.url, requests, check, connections=CONNECTIONS, seconds=stage.pick(6, 3)
            )
            rate = SHARE * highest.count / highest.seconds
            meter = stage.server_meter(server)
            load = open_loop(
                server.url,
                requests,
                check,
                rate=rate,
                connections=CONNECTIONS,
                seconds=stage.pick(12, 5),
            )
            cpu_ms = meter.milliseconds_each(load.count)
            more = {"offered per second": rate}
            found = Round(SERVER, load.count, load.seconds, cpu_ms, load.latencies_ms, more)
            rounds.append(found)
            stage.say(f"round {number}: {rate:,.0f} a second, p99 {found.latency_ms(0.99):.0f} ms")
    row = Row(
        f"p99 at {SHARE:.0%} of the highest rate, single events",
        [found.latency_ms(0.99) for found in rounds],
        unit="ms",
        target=at_most(250),
        sides={"offered": ", ".join(f"{r.more['offered per second']:,.0f}/s" for r in rounds)},
    )
    return Outcome([row], rounds)
