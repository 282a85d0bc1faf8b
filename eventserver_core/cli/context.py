"""What commands share: the settings they run under, and how they fail."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from eventserver_core.errors import ConfigurationError, EventServerError

if TYPE_CHECKING:
    from eventserver_core.wiring import Configuration, Services

EXIT_FAILURE = 1
EXIT_NOT_DONE = 3
"""Something did not answer: nobody knows whether all is well. (2 is click's, for bad usage.)"""
EXIT_CONFIGURATION = 78
"""``EX_CONFIG`` of sysexits.h: nothing was started, the settings are at fault."""


class CommandContext:
    """The settings of this run, read when a command first needs them."""

    def __init__(self, config_dir: Path | None) -> None:
        self.config_dir = config_dir

    @cached_property
    def configuration(self) -> Configuration:
        """The settings and plugins; logging is set up on the way."""
        from eventserver_core.serving.server import configure_logging
        from eventserver_core.wiring import load_configuration

        configuration = load_configuration(self.config_dir)
        configure_logging(configuration)
        return configuration

    @cached_property
    def services(self) -> Services:
        """Everything a command works with; the schema is there."""
        from eventserver_core.wiring import Services, prepare_schema

        services = Services(self.configuration)
        prepare_schema(services.database)
        return services

    @property
    def arguments(self) -> list[str]:
        """Return the options that a child process needs to see the same settings."""
        return ["--config-dir", str(self.config_dir)] if self.config_dir else []


pass_command_context = click.make_pass_decorator(CommandContext)


def printable(text: str) -> str:
    """Return text that can't move the cursor or recolour the terminal; lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def fail(error: EventServerError, status: int = EXIT_FAILURE) -> NoReturn:
    """Say what is wrong on standard error, and end with the status that tells what kind it is."""
    if isinstance(error, ConfigurationError):
        click.secho("The settings are at fault:", fg="red", err=True)
        for fault in error.faults:
            click.echo(f"  - {printable(fault)}", err=True)
        sys.exit(EXIT_CONFIGURATION)
    click.secho(f"{error.code}: ", fg="red", err=True, nl=False)
    click.echo(printable(str(error)), err=True)
    sys.exit(status)
