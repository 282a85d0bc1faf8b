"""``eventserver audit``"""

from __future__ import annotations

import json

import click

from eventserver_core.cli.context import (
    EXIT_FAILURE,
    CommandContext,
    pass_command_context,
    printable,
)
from eventserver_core.domain.instant import format_rfc3339

_SHOWN = 100


@click.group("audit")
def command() -> None:
    """Read the audit trail, and find out whether it was changed."""


@command.command("show")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Begin after this entry.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, all of them.")
@pass_command_context
def show(context: CommandContext, after: int, as_json: bool) -> None:
    """Print what was done, oldest first: at most a hundred entries, or with --json all."""
    trail = context.services.network.audit_entries
    if as_json:
        for entry in trail.all_entries(after):
            click.echo(json.dumps(entry.document() | {"digest": entry.digest_hex}))
        return
    entries = trail.entries(after, _SHOWN)
    for entry in entries:
        said = " ".join(f"{name}={value}" for name, value in entry.details.items())
        click.echo(
            printable(
                f"{entry.sequence:>6}  {format_rfc3339(entry.at)}  {entry.actor} ({entry.role})  "
                f"{entry.action} {entry.target}  {said}"
            )
        )
    if len(entries) == _SHOWN:
        click.echo(f"There may be more: --after {entries[-1].sequence}", err=True)


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_command_context
def check(context: CommandContext, as_json: bool) -> None:
    """Check every entry's digest, the chain of them, the head, and what of it was anchored.

    Exit status 1 where something was changed. That the anchored heads are on the blockchain is
    for their events' proofs to show: GET /api/v1/events/{eventHash}/proof.
    """
    network = context.services.network
    faults = list(network.audit.faults())
    head = network.audit_entries.head()
    checkpoint = network.audit_entries.last_checkpoint()
    if as_json:
        answer = {
            "valid": not faults,
            "faults": faults,
            "entries": head.sequence,
            "head": head.digest_hex,
            "anchoredUpTo": checkpoint.head.sequence if checkpoint else 0,
            "anchoredEvent": checkpoint.event_hash if checkpoint else None,
        }
        click.echo(json.dumps(answer, indent=2))
    else:
        for fault in faults:
            click.secho(f"✗ {printable(fault)}", fg="red")
        click.echo(f"entries:         {head.sequence}")
        click.echo(f"head:            {head.digest_hex}")
        if checkpoint:
            click.echo(
                f"anchored up to:  {checkpoint.head.sequence}, as event {checkpoint.event_hash}"
            )
        click.echo("the trail was changed" if faults else "the trail holds")
    if faults:
        raise SystemExit(EXIT_FAILURE)
