"""``eventserver rebuild-index``"""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.progress import Progress

from eventserver_core.cli.context import (
    EXIT_FAILURE,
    EXIT_NOT_DONE,
    CommandContext,
    fail,
    pass_command_context,
    printable,
)
from eventserver_core.cli.progress import progress_bar
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.services.rebuild import Conflict, DamagedPack, RebuildIndex, Rebuilt

_KEPT = 10_000
"""So many damaged packs are named in the summary; those after them are counted only."""


class _Followed:
    """Draws how far it is, and prints what is left out."""

    def __init__(self, progress: Progress, *, quiet: bool) -> None:
        self._progress = progress
        self._reading = progress.add_task("packs", total=None)
        self._inserting: Any = None
        self._quiet = quiet
        self.kept: list[DamagedPack] = []
        self.conflicts: list[Conflict] = []

    def read(self, packs: int) -> None:
        self._progress.update(self._reading, completed=packs)

    def begin_inserting(self, lines: int) -> None:
        self._inserting = self._progress.add_task("lines", total=lines)

    def inserted(self, lines: int) -> None:
        self._progress.advance(self._inserting, lines)

    def undecided(self, conflict: Conflict) -> None:
        if len(self.conflicts) < _KEPT:
            self.conflicts.append(conflict)
        if not self._quiet:
            click.secho(
                f"✗ event {conflict.event_id}: {conflict.kept.digest_hex} is taken, since it came "
                f"first; {conflict.left.digest_hex} in {conflict.left.pack_key} is left out",
                fg="red",
            )

    def damaged(self, pack: DamagedPack) -> None:
        if len(self.kept) < _KEPT:
            self.kept.append(pack)
        if not self._quiet:
            click.secho(f"✗ {pack.key}: {printable(pack.detail)}", fg="red")


@click.command("rebuild-index")
@click.option("--dry-run", is_flag=True, help="Say what is missing, and change nothing.")
@click.option("--all", "every_pack", is_flag=True, help="Read packs too that rows name whole.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_command_context
def command(context: CommandContext, dry_run: bool, every_pack: bool, as_json: bool) -> None:
    """Make the rows of events that are in storage and not in the database.

    For a database that was restored from an older backup, or lost. Rows that are there are never
    changed, but for a signature that one lacks; it can be run again, and servers may run
    meanwhile. Events without a batch are then anchored by the worker.

    An event whose signature doesn't hold, or whose signed package is damaged, is taken without it
    and named; once the signed package is put back, --all adds it.

    Not in storage, and not made again: batches and anchors, revocations, admins, relays and their
    certificates, labels, the audit trail. What is in no backup of these is lost.

    Exit status 0 where every pack was whole and every id one event's, 1 where something was left
    out that a person has to look at, 3 where storage or the database went away; run it again then.
    """
    with progress_bar() as progress:
        followed = _Followed(progress, quiet=as_json)
        try:
            services = context.services
            work = RebuildIndex(services.storage, services.events)
            summary = work.run(followed, dry_run=dry_run, every_pack=every_pack)
        except BackendUnavailableError as ex:
            progress.stop()
            fail(ex, EXIT_NOT_DONE)
    if as_json:
        click.echo(json.dumps(_document(summary, followed, dry_run=dry_run), indent=2))
    else:
        _print_summary(summary, dry_run=dry_run)
    if summary.damaged or summary.undecided:
        sys.exit(EXIT_FAILURE)


def _document(summary: Rebuilt, followed: _Followed, *, dry_run: bool) -> dict[str, Any]:
    return {
        "format": "eventserver-rebuild/1",
        "dryRun": dry_run,
        "packs": summary.packs,
        "packsRead": summary.packs_read,
        "lines": summary.lines,
        "inserted": summary.inserted,
        "signaturesAdded": summary.signatures,
        "repeated": summary.repeated,
        "conflicting": summary.conflicting,
        "undecided": summary.undecided,
        "undecidedEvents": [
            {
                "eventId": conflict.event_id,
                "taken": {"hash": conflict.kept.digest_hex, "pack": conflict.kept.pack_key},
                "leftOut": {"hash": conflict.left.digest_hex, "pack": conflict.left.pack_key},
            }
            for conflict in followed.conflicts
        ],
        "damaged": summary.damaged,
        "damagedPacks": [{"key": pack.key, "detail": pack.detail} for pack in followed.kept],
    }


def _print_summary(summary: Rebuilt, *, dry_run: bool) -> None:
    made = "would be made" if dry_run else "made"
    for name, count in (
        ("packs", f"{summary.packs}, of which {summary.packs_read} were read"),
        (f"rows {made}", summary.inserted),
        ("signatures added", summary.signatures),
        ("repetitions", f"{summary.repeated} lines whose event has a row, or came earlier"),
        ("conflicts", f"{summary.conflicting} lines with an id that another event has"),
        ("damaged", f"{summary.damaged} packs, lines or signatures that were left out"),
    ):
        click.echo(f"{name + ':':<20}{count}")
    if summary.undecided:
        click.echo(
            f"{summary.undecided} ids have two contents, of which storage doesn't say which one "
            "was acknowledged: ask who sent them, which has the answer.",
            err=True,
        )
    if summary.damaged:
        click.echo(
            "Put the damaged objects back from another version or copy of the storage, and run "
            "this again, with --all if they were signed packages.",
            err=True,
        )
