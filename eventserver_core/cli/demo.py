"""``eventserver demo``"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from eventserver_core.cli.context import EXIT_FAILURE

if TYPE_CHECKING:
    from eventserver_core.demo.narration import Narrator
    from eventserver_core.demo.stage import Stage

_BY_SIGNAL = 128
"""What a shell adds to the number of the signal that ended a program."""


class _InterruptedError(BaseException):
    """A signal came; nothing on the way out but what cleans up may catch it."""

    def __init__(self, number: int) -> None:
        self.number = number


@click.command("demo")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-output"),
    help="Where to leave the evidence.  [default: demo-output]",
)
@click.option(
    "--real",
    is_flag=True,
    help="Run on PostgreSQL, Valkey, SeaweedFS and Anvil, which it starts itself.",
)
@click.option("--keep", is_flag=True, help="Keep the server's folder, and say where it is.")
def command(output: Path, real: bool, keep: bool) -> None:
    """Show the main job from end to end: a real server and relay, three events, their proofs.

    Runs in a temporary folder on the embedded defaults, or with --real on the parts of a
    production system, whatever the settings here are, and reaches nothing beyond this machine.
    Exit status 0 only if every step held.
    """
    from eventserver_core.demo.narration import Narrator
    from eventserver_core.demo.next_steps import next_steps
    from eventserver_core.demo.relay import is_installed
    from eventserver_core.demo.run import FAILURES, Demo
    from eventserver_core.demo.stage import EmbeddedStage

    if not is_installed():
        raise click.ClickException(
            "the demo's relay is not installed; run: pip install eventserver-relay"
        )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    say = Narrator(Console(highlight=False), Console(stderr=True, highlight=False))
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="eventserver-demo-"))
    try:
        say.title(
            "EventServer: from a photo to a proof",
            "Everything runs on this machine, in a temporary folder of its own.",
        )
        stage: Stage = EmbeddedStage(say, folder)
        if real:
            stage = _real_stage(say, folder)
        evidence = Demo(say, stage, folder, output).run()
    except FAILURES as ex:
        expected = getattr(ex, "expected", "no error")
        found = getattr(ex, "found", f"{type(ex).__name__}: {ex}")
        log = folder if real else folder / "server.log"
        say.failure(expected, found, f"{log} (the folder is kept)")
        sys.exit(EXIT_FAILURE)
    except _InterruptedError as ex:
        say.interrupted()
        _clean_up(folder, keep)
        sys.exit(_BY_SIGNAL + ex.number)
    except SystemExit:  # whoever was reading the output has left
        _clean_up(folder, keep)
        raise
    _clean_up(folder, keep)
    steps = next_steps(evidence, chain_is_gone=real)
    if keep:
        steps.append((f"ls {folder}", "what the server kept, its log, and the forged evidence"))
    say.end(f"Every step held, in {time.monotonic() - started:.1f} seconds.", steps)


def _real_stage(say: Narrator, folder: Path) -> Stage:
    try:
        from eventserver_core.demo.real_stage import RealStage
    except ImportError as ex:
        folder.rmdir()
        raise click.ClickException(
            f"{ex.name} is not installed; run: pip install 'eventserver-core[parts]'"
        ) from ex
    return RealStage(say, folder)


def _clean_up(folder: Path, keep: bool) -> None:
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


def _interrupt(number: int, _frame: Any) -> None:
    # an exception, so that the server is stopped on the way out
    raise _InterruptedError(number)
