"""``eventserver fsck``"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import IO, Any

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
from eventserver_core.domain import instant
from eventserver_core.domain.instant import format_rfc3339, parse_rfc3339
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.services.fsck import CheckIntegrity, Scope
from eventserver_core.services.integrity import Finding, Tally

_SAMPLE = 1000
_KEPT = 10_000
"""So many findings stand in the report; those after them are counted only."""


class _Moment(click.ParamType[datetime]):
    name = "when"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        try:
            if len(value) == len("2024-01-01"):
                return datetime.combine(date.fromisoformat(value), datetime.min.time(), UTC)
            return parse_rfc3339(value)
        except ValueError:
            self.fail("expected a date or a moment, such as 2024-01-01T00:00:00Z", param, ctx)


class _Findings:
    """Prints findings as they come, and keeps them for the report."""

    def __init__(self, progress: Progress, *, quiet: bool) -> None:
        self._progress = progress
        self._task = progress.add_task("events", total=None)
        self._quiet = quiet
        self.total = 0
        self.kept: list[Finding] = []
        self.damage = 0
        self.not_checked = 0

    def begin(self, total: int) -> None:
        self.total = total
        self._progress.update(self._task, total=total)

    def advance(self) -> None:
        self._progress.advance(self._task)

    def found(self, finding: Finding) -> None:
        if finding.is_damage:
            self.damage += 1
        else:
            self.not_checked += 1
        if len(self.kept) < _KEPT:
            self.kept.append(finding)
        if not self._quiet:
            mark, color = ("✗", "red") if finding.is_damage else ("?", "yellow")
            click.secho(f"{mark} {_subject(finding)}: {printable(finding.detail)}", fg=color)
            click.echo(f"    {finding.advice}")


@click.command("fsck")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Check N events, chosen at random, and their batches.  [default: {_SAMPLE}]",
)
@click.option("--all", "everything", is_flag=True, help="Check every event and every batch.")
@click.option("--since", type=_Moment(), help="Only events that were received since then.")
@click.option("--skip-chain", is_flag=True, help="Don't ask the chain whether it has the roots.")
@click.option(
    "--json", "report", type=click.File("w"), help="Write a report as JSON there; - prints it."
)
@pass_command_context
def command(
    context: CommandContext,
    sample: int | None,
    everything: bool,
    since: datetime | None,
    skip_chain: bool,
    report: IO[str] | None,
) -> None:
    """Check bytes against hash, hash against leaf, leaf against root, root against chain.

    Nothing is changed, and servers may run meanwhile. Goes on after damage, and says for each
    fault what it is and what to do.

    Exit status 0 where all was checked and nothing is wrong, 1 where something is damaged, 3
    where nothing is known to be wrong but not all could be checked.
    """
    if everything and sample is not None:
        raise click.UsageError("--all and --sample exclude each other")
    scope = Scope(None if everything else sample or _SAMPLE, since)
    quiet = report is not None and report.name in ("-", "<stdout>")
    started_at = instant.now()
    try:
        services = context.services
        check = CheckIntegrity(
            services.storage,
            services.events,
            services.batches,
            None if skip_chain else services.chain,
        )
    except BackendUnavailableError as ex:
        fail(ex, EXIT_NOT_DONE)
    with progress_bar() as progress:
        findings = _Findings(progress, quiet=quiet)
        tally = check.run(scope, findings)
    if report is not None:
        document = _document(scope, findings, tally, started_at) | {"chainAsked": not skip_chain}
        report.write(json.dumps(document, indent=2) + "\n")
    if not quiet:
        _print_summary(scope, findings, tally)
    if findings.damage:
        sys.exit(EXIT_FAILURE)
    if findings.not_checked:
        sys.exit(EXIT_NOT_DONE)


def _subject(finding: Finding) -> str:
    about = []
    if finding.event_hash is not None:
        about.append(f"event {finding.event_hash}")
    elif finding.batch is not None:
        about.append(f"batch {finding.batch}")
    if finding.object_key is not None:
        about.append(printable(finding.object_key))
    return ", ".join([finding.kind.value, *about])


def _document(
    scope: Scope, findings: _Findings, tally: Tally, started_at: datetime
) -> dict[str, Any]:
    return {
        "format": "eventserver-fsck/1",
        "startedAt": format_rfc3339(started_at),
        "finishedAt": format_rfc3339(instant.now()),
        "sample": scope.sample,
        "since": format_rfc3339(scope.since) if scope.since else None,
        "inScope": findings.total,
        "checked": {_camel(name): count for name, count in asdict(tally).items()},
        "damage": findings.damage,
        "notChecked": findings.not_checked,
        "findings": [
            {
                "kind": finding.kind.value,
                "eventHash": finding.event_hash,
                "eventId": finding.event_id,
                "batch": finding.batch,
                "object": finding.object_key,
                "detail": finding.detail,
                "advice": finding.advice,
            }
            for finding in findings.kept
        ],
        "findingsLeftOut": findings.damage + findings.not_checked - len(findings.kept),
    }


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _print_summary(scope: Scope, findings: _Findings, tally: Tally) -> None:
    # else a sample would pass for all that there is
    drawn = ", drawn at random" if findings.total == scope.sample else ""
    for name, count in (
        ("events", f"{tally.events} of {findings.total}{drawn}"),
        ("media", tally.media),
        ("signed packages", tally.signed_packages),
        ("bytes read", tally.bytes_read),
        ("batches", f"{tally.batches}, of which {tally.waiting} wait for their block"),
        ("anchors", tally.anchors),
        ("damage", findings.damage),
        ("not checked", findings.not_checked),
    ):
        click.echo(f"{name + ':':<17}{count}")
