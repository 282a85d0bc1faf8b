"""``eventserver check-config``"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from eventserver_core.cli.context import (
    EXIT_CONFIGURATION,
    EXIT_FAILURE,
    CommandContext,
    fail,
    pass_command_context,
    printable,
)
from eventserver_core.cli.tables import make_table, plain
from eventserver_core.errors import ConfigurationError, EventServerError

if TYPE_CHECKING:
    from eventserver_core.settings import Settings
    from eventserver_core.wiring import Services
    from eventserver_core.wiring.survey import Process, Survey

_PIPED_WIDTH = 240
_CHECKS = {"chain": "blockchain"}
"""What callers see of a role under another name."""


@click.command("check-config")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, where settings are at fault too."
)
@click.option(
    "--for",
    "process",
    type=click.Choice(["api", "worker", "migrate"]),
    default="api",
    help="What is to run under them; a worker needs no signing key.",
    show_default=True,
)
@pass_command_context
def command(context: CommandContext, as_json: bool, process: str) -> None:
    """Show every setting and where it came from, then ask each backend whether it answers.

    Everything that is wrong with the settings is told at once. Exit status 0 where all is well, 1
    where a backend can't be reached, 78 where the settings are at fault.
    """
    from eventserver_core.wiring.survey import Process, survey_configuration

    wanted = Process(process)
    _configure_logging(context)
    survey = survey_configuration(context.config_dir, process=wanted)
    if survey.services is None:
        if as_json:
            click.echo(json.dumps(_document(survey, {}, None), indent=2))
            sys.exit(EXIT_CONFIGURATION)
        _print_warnings(survey)
        fail(ConfigurationError(survey.faults))
    if not as_json:
        _print_settings(survey.settings)
    reached = _ask(survey.services, wanted)
    authority = _authority(survey.settings, wanted)
    if as_json:
        click.echo(json.dumps(_document(survey, reached, authority), indent=2))
    else:
        _print_backends(reached)
        if authority is not None:
            click.echo(f"certificate authority: {printable(authority['detail'])}")
        _print_warnings(survey)
    if any(why is not None for why in reached.values()):
        sys.exit(EXIT_FAILURE)


def _configure_logging(context: CommandContext) -> None:
    """Keep what backends log while they are made away from what is printed."""
    from eventserver_core import log
    from eventserver_core.sections import LoggingSettings
    from eventserver_core.settings import DEVELOPMENT, Sources

    sources = Sources(context.config_dir)
    section = sources.peek(LoggingSettings)
    plain_format = "pretty" if sources.environment == DEVELOPMENT else "json"
    log.configure(section.level, section.format or plain_format)


def _document(
    survey: Survey, reached: Mapping[str, str | None], authority: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "environment": survey.settings.environment,
        "settings": [
            {"name": f"{o.section}.{o.spec.key}", "value": o.shown, "source": o.source}
            for o in survey.settings.origins
        ],
        "faults": survey.faults,
        "warnings": survey.warnings,
        "backends": [
            {"name": name, "reachable": why is None, "detail": why} for name, why in reached.items()
        ],
        "certificateAuthority": authority,
    }


def _ask(services: Services, process: Process) -> dict[str, str | None]:
    """Return why each backend doesn't answer, or None where it does."""
    from eventserver_core.wiring.survey import ROLES

    wanted = {"database", *(_CHECKS.get(role, role) for role in ROLES[process])}
    checks = {name: check for name, check in services.checks().items() if name in wanted}
    reached = {name: _reach(check) for name, check in checks.items()}
    if reached["database"] is None and process.value != "migrate":
        reached["database"] = _reach(services.check_schema)
    return reached


def _reach(check: Callable[[], None]) -> str | None:
    try:
        check()
    except EventServerError as ex:
        return str(ex)
    return None


def _authority(settings: Settings, process: Process) -> dict[str, Any] | None:
    """Say in one line how it is with the certificate authority, for whoever needs it."""
    from eventserver_core.cli.ca import describe
    from eventserver_core.pki.files import ISSUING_CERTIFICATE, ISSUING_KEY, ROOT_CERTIFICATE
    from eventserver_core.wiring.authority import authority_directory, load_authority, read_root

    directory = authority_directory(settings)
    names = (ROOT_CERTIFICATE, ISSUING_CERTIFICATE, ISSUING_KEY)
    if process.value == "migrate":
        return None
    if not any((directory / name).exists() for name in names):
        detail = f"none in {directory}; relays can enrol once there is: eventserver ca init"
        return {"state": "none", "endsAt": None, "detail": detail}
    try:
        if process.value == "worker":
            read_root(settings)
            return {"state": "usable", "endsAt": None, "detail": "its root certificate is there"}
        ends_at = describe(load_authority(settings))["issuingExpiresAt"]
    except ConfigurationError as ex:
        return {"state": "unusable", "endsAt": None, "detail": str(ex)}
    return {"state": "usable", "endsAt": ends_at, "detail": f"ends at {ends_at}"}


def _print_settings(settings: Settings) -> None:
    table = make_table("setting", "value", "from", title=f"environment: {settings.environment}")
    for origin in settings.origins:
        source = "[dim]default[/dim]" if origin.source == "default" else plain(origin.source)
        table.add_row(f"{origin.section}.{origin.spec.key}", plain(origin.shown), source)
    _console().print(table)


def _print_backends(reached: Mapping[str, str | None]) -> None:
    table = make_table("backend", "", "what is wrong")
    for name, why in reached.items():
        mark = "[green]ok[/green]" if why is None else "[red]no[/red]"
        table.add_row(plain(name), mark, plain(why or ""))
    _console().print(table)


def _print_warnings(survey: Survey) -> None:
    for warning in survey.warnings:
        click.secho(f"warning: {printable(warning)}", fg="yellow", err=True)


def _console() -> Console:
    """Return where tables go: as wide as they are, where nobody's terminal would wrap them."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPED_WIDTH)
