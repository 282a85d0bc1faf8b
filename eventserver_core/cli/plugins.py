"""``eventserver plugins``"""

from __future__ import annotations

import json

import click
from rich.console import Console

from eventserver_core.cli.context import (
    EXIT_FAILURE,
    CommandContext,
    pass_command_context,
    printable,
)
from eventserver_core.cli.tables import make_table, plain
from eventserver_core.errors import ConfigurationError


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_command_context
def command(context: CommandContext, as_json: bool) -> None:
    """List the roles, what is installed for each, and what is selected.

    Only what is selected is imported, to tell its backend's abilities; in JSON they are null
    where they can't be told. Exit status 1 where what is selected for a role isn't installed, is
    there twice, or can't be loaded.
    """
    from eventserver_core.plugins import PROTOCOLS, installed
    from eventserver_core.sections import PluginSettings
    from eventserver_core.settings import Sources

    sources = Sources(context.config_dir)
    if sources.faults:
        raise ConfigurationError(sources.faults)
    chosen = sources.peek(PluginSettings)
    rows = [
        (plugin, getattr(chosen, role) == plugin.name)
        for role in PROTOCOLS
        for plugin in installed(role)
    ]
    faults: list[str] = []
    abilities: dict[str, list[str] | None] = {}
    for role in PROTOCOLS:
        name = getattr(chosen, role)
        count = sum(plugin.role == role and selected for plugin, selected in rows)
        if count == 1:
            abilities[role] = _abilities(role, name, faults)
        else:
            what = "but not installed" if count == 0 else f"but offered {count} times"
            faults.append(f"plugins.{role} = {name}: selected, {what}")
    if as_json:
        answer = [
            {
                "role": plugin.role,
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "selected": selected,
                "abilities": abilities.get(plugin.role) if selected else None,
            }
            for plugin, selected in rows
        ]
        click.echo(json.dumps(answer, indent=2))
    else:
        table = make_table("role", "name", "selected", "distribution", "version")
        for plugin, selected in rows:
            mark = "yes" if selected else ""
            cells = (plugin.role, plugin.name, mark, plugin.distribution, plugin.version)
            table.add_row(*map(plain, cells))
        Console().print(table)
    for fault in faults:
        click.echo(printable(fault), err=True)
    if faults:
        raise SystemExit(EXIT_FAILURE)


def _abilities(role: str, name: str, faults: list[str]) -> list[str] | None:
    from eventserver_core.plugins import abilities

    try:
        return abilities(role, name)
    except ConfigurationError as ex:
        faults += ex.faults
        return None
