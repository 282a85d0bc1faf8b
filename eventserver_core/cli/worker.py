"""``eventserver worker``"""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import suppress
from typing import Any

import click

from eventserver_core.cli.context import CommandContext, pass_command_context, printable
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.errors import LeaseLostError

_PARENT_POLL_SECONDS = 1.0


@click.command("worker")
@click.option("--once", is_flag=True, help="Do what there is to do now, and end.")
@click.option("--status", is_flag=True, help="Say what waits to be anchored, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --status: print JSON.")
@click.option("--beside", type=int, hidden=True, help="The parent's PID: end when it does.")
@pass_command_context
def command(
    context: CommandContext, once: bool, status: bool, as_json: bool, beside: int | None
) -> None:
    """Seal batches, anchor them, follow them until they are final.

    Any number of workers may run; one at a time does the work, and another takes over when it
    falls silent.
    """
    if status:
        _print_status(context, as_json)
        return
    context.services.require_account()
    worker = context.services.worker()
    if once:
        worker.run_until_idle()
        with suppress(LeaseLostError):
            context.services.relay_worker(worker.name).run_once()
        return
    from eventserver_core.serving.worker_metrics import begin_counting

    begin_counting(context.services, beside=beside is not None)
    relays = context.services.relay_worker(worker.name)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    relays.start()
    if beside is not None:
        threading.Thread(target=_watch_parent, args=(worker, beside), daemon=True).start()
    worker.run()
    relays.stop()


def _watch_parent(worker: Any, parent: int) -> None:
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(_PARENT_POLL_SECONDS)
    worker.stop()


def _print_status(context: CommandContext, as_json: bool) -> None:
    backlog = context.services.batches.backlog()
    oldest = format_rfc3339(backlog.oldest) if backlog.oldest else None
    if as_json:
        answer = {
            "backlog": backlog.waiting,
            "oldestReceivedAt": oldest,
            "lastError": backlog.last_error,
        }
        click.echo(json.dumps(answer))
        return
    click.echo(f"events not anchored yet: {backlog.waiting}")
    click.echo(f"the oldest came in at:   {oldest or '-'}")
    click.echo(f"last error:              {printable(backlog.last_error or '-')}")
