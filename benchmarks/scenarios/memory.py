"""The memory of the processes that serve requests, after a million events in batches of 500."""

from __future__ import annotations

from benchmarks import events
from benchmarks.figures import SERVER, Round, Row, at_most
from benchmarks.floors import BULK
from benchmarks.load import Load, closed_loop
from benchmarks.processes import private_mib
from benchmarks.scenarios import Outcome
from benchmarks.stage import RunningServer, Stage

WARM_UP_SHARE = 0.2
LEAST_WARM_UP = 30_000
CONNECTIONS = 16
STEPS = 9
_AN_HOUR = 3600.0


def run(stage: Stage) -> Outcome:
    """Take the first fifth as warm-up, and look how each process grows over the rest."""
    total = stage.pick(1_000_000, 60_000)
    warm_up = max(int(total * WARM_UP_SHARE), LEAST_WARM_UP)
    rounds: list[Round] = []
    with stage.server("memory") as server:
        # each go's connections may be mostly one process's; over several each has its share
        for _ in range(STEPS):
            _send(server, warm_up // STEPS)
        workers = server.workers()
        before = [private_mib(worker) for worker in workers]
        for step in range(1, STEPS + 1):
            meter = stage.server_meter(server)
            load = _send(server, (total - warm_up) // STEPS)
            count = load.count * BULK
            after = [private_mib(worker) for worker in workers]
            more = {f"process {number} MiB": size for number, size in enumerate(after, 1)}
            cpu_ms = meter.milliseconds_each(count)
            rounds.append(Round(SERVER, count, load.seconds, cpu_ms, load.latencies_ms, more))
            shown = ", ".join(f"{size:.0f}" for size in after)
            stage.say(f"step {step} of {STEPS}: {shown} MiB, {rounds[-1].rate:,.0f} events/s")
    row = Row(
        f"memory of the process that grew most, over {total:,} events",
        [max((end / begin - 1) * 100 for begin, end in zip(before, after, strict=True))],
        unit="%",
        target=at_most(10),
        sides={
            "after the warm-up": ", ".join(f"{size:.0f} MiB" for size in before),
            "in the end": ", ".join(f"{size:.0f} MiB" for size in after),
        },
    )
    return Outcome([row], rounds)


def _send(server: RunningServer, count: int) -> Load:
    made = events.batches(server, BULK)
    requests = (next(made) for _ in range(-(-count // BULK)))
    check = events.expect_created(BULK)
    return closed_loop(server.url, requests, check, connections=CONNECTIONS, seconds=_AN_HOUR)
