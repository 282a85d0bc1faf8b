"""``eventserver migrate``"""

from __future__ import annotations

import json

import click

from eventserver_core.cli.context import CommandContext, pass_command_context
from eventserver_core.db.migrate import Migrations
from eventserver_core.wiring import open_database


@click.group("migrate")
def command() -> None:
    """Move the database's schema."""


@command.command("up")
@click.argument("target", required=False)
@pass_command_context
def up(context: CommandContext, target: str | None) -> None:
    """Apply the migrations that are pending, up to TARGET."""
    _report("applied", _migrations(context).up(target))


@command.command("down")
@click.argument("target", required=False)
@pass_command_context
def down(context: CommandContext, target: str | None) -> None:
    """Take back the last migration, or all down to TARGET. What they held is lost."""
    _report("taken back", _migrations(context).down(target))


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_command_context
def status(context: CommandContext, as_json: bool) -> None:
    """List the migrations, and which were applied. Exit status 1 where some are pending."""
    found = _migrations(context).status()
    if as_json:
        rows = [{"name": m.name, "appliedAt": m.applied_at and str(m.applied_at)} for m in found]
        click.echo(json.dumps(rows))
    else:
        for migration in found:
            click.echo(f"{migration.name}  {migration.applied_at or 'pending'}")
    if any(migration.applied_at is None for migration in found):
        raise SystemExit(1)


@command.command("new")
@click.argument("name")
@pass_command_context
def new(context: CommandContext, name: str) -> None:
    """Write the skeleton of a new migration."""
    click.echo(_migrations(context).new(name))


def _migrations(context: CommandContext) -> Migrations:
    return Migrations(open_database(context.configuration.settings))


def _report(what: str, names: list[str]) -> None:
    for name in names:
        click.echo(f"{what}: {name}")
    if not names:
        click.echo("nothing to do")
