"""``python -m benchmarks``: floors and server in turn, on the real parts."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.machine import describe
from benchmarks.report import Finished, show, write_json, write_markdown
from benchmarks.scenarios import Scenario, scenarios
from benchmarks.stage import Stage

OUTPUT = Path("bench-output/results.json")


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Run this one; may be given again.")
@click.option("--quick", is_flag=True, help="Do less of everything: to see that it runs.")
@click.option("--list", "listing", is_flag=True, help="Say what there is, and end.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=OUTPUT,
    help=f"Where to write what was measured, as JSON.  [default: {OUTPUT}]",
)
def main(only: tuple[str, ...], quick: bool, listing: bool, output: Path) -> None:
    """Measure EventServer against floors, on PostgreSQL, Valkey and SeaweedFS that it starts.

    A quarter of an hour on two cores that have nothing else to do, and 15 GB of disk for a while.
    A target that is missed is shown, and is no error; exit status 1 where a scenario failed.
    """
    known = {scenario.name: scenario for scenario in scenarios()}
    if listing:
        for scenario in known.values():
            click.echo(f"{scenario.name:<16} {scenario.summary}")
        return
    if unknown := set(only) - set(known):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}; see --list", param_hint="--only")
    chosen = [scenario for name, scenario in known.items() if not only or name in only]
    # whatever ends it, what it started ends with it
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    say = _Progress()
    started, began = datetime.now(UTC), time.monotonic()
    facts: dict[str, Any] = {}
    finished: list[Finished] = []
    with ExitStack() as open_:
        folder = Path(tempfile.mkdtemp(prefix="eventserver-bench-"))
        open_.callback(shutil.rmtree, folder, ignore_errors=True)
        stage = open_.enter_context(Stage(folder, say, quick))
        facts |= describe(stage) | {"startedAt": started.isoformat(), "quick": quick}
        if os.getloadavg()[0] > (os.cpu_count() or 1):
            say("this machine has other work: look at what is by CPU, and at how far ratios go")
        for scenario in chosen:
            say.scenario = scenario.name
            finished.append(_run(scenario, stage))
            facts["loadAverageInTheEnd"] = os.getloadavg()
            # whatever ends the run later, this much is kept
            facts["seconds"] = round(time.monotonic() - began, 1)
            write_json(output, facts, finished)
            write_markdown(output.with_suffix(".md"), finished)
    show(Console(), finished)
    click.echo(f"{output} has all of it, and what each round was; beside it are these tables.")
    if any(done.error for done in finished):
        raise SystemExit(1)


def _run(scenario: Scenario, stage: Stage) -> Finished:
    began = time.monotonic()
    stage.say(scenario.summary)
    try:
        outcome, error = scenario.run(stage), None
    except Exception as ex:  # noqa: BLE001 - the others can still run
        outcome, error = None, f"{type(ex).__name__}: {ex}"
        stage.say(error)
    return Finished(scenario, outcome, error, time.monotonic() - began)


class _Progress:
    """Says what happens, line by line: a bar would be drawn by the process that makes the load."""

    def __init__(self) -> None:
        self.scenario = "stage"
        self._began = time.monotonic()

    def __call__(self, what: str) -> None:
        elapsed = int(time.monotonic() - self._began)
        click.echo(f"{elapsed // 60:3}:{elapsed % 60:02}  {self.scenario}: {what}", err=True)


if __name__ == "__main__":
    main()
