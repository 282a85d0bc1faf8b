"""``eventserver check-config``"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click
from rich.console import Console

from eventserver_core.cli.context import EXIT_FAILURE, CommandContext, pass_command_context
from eventserver_core.cli.tables import make_table, plain
from eventserver_core.errors import ConfigurationError, EventServerError

if TYPE_CHECKING:
    from eventserver_core.settings import Settings
    from eventserver_core.wiring import Services


@click.command("check-config")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_command_context
def command(context: CommandContext, as_json: bool) -> None:
    """Show every setting and where it came from, then ask each backend whether it answers.

    Exit status 0 where all is well, 1 where a backend can't be reached, 78 where the settings
    are at fault.
    """
    from eventserver_core.wiring import Services

    settings = context.configuration.settings
    if not as_json:
        _print_settings(settings)
    reached = _ask(Services(context.configuration))
    if as_json:
        answer = {
            "environment": settings.environment,
            "settings": [
                {"name": f"{o.section}.{o.spec.key}", "value": o.shown, "source": o.source}
                for o in settings.origins
            ],
            "backends": [
                {"name": name, "reachable": why is None, "detail": why}
                for name, why in reached.items()
            ],
        }
        click.echo(json.dumps(answer, indent=2))
    else:
        _print_backends(reached)
    if any(why is not None for why in reached.values()):
        sys.exit(EXIT_FAILURE)


def _ask(services: Services) -> dict[str, str | None]:
    """Return why each backend doesn't answer, or None where it does."""
    reached = {name: _reach(check) for name, check in services.checks().items()}
    if reached["database"] is None:
        reached["database"] = _reach(services.check_schema)
    return reached


def _reach(check: Callable[[], None]) -> str | None:
    try:
        check()
    except ConfigurationError:
        raise
    except EventServerError as ex:
        return str(ex)
    return None


def _print_settings(settings: Settings) -> None:
    table = make_table("setting", "value", "from", title=f"environment: {settings.environment}")
    for origin in settings.origins:
        source = "[dim]default[/dim]" if origin.source == "default" else plain(origin.source)
        table.add_row(f"{origin.section}.{origin.spec.key}", plain(origin.shown), source)
    Console().print(table)


def _print_backends(reached: Mapping[str, str | None]) -> None:
    table = make_table("backend", "", "what is wrong")
    for name, why in reached.items():
        mark = "[green]ok[/green]" if why is None else "[red]no[/red]"
        table.add_row(plain(name), mark, plain(why or ""))
    Console().print(table)
