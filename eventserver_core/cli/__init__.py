"""The command line: ``eventserver`` and its sub-commands."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from eventserver_core import __version__
from eventserver_core.cli.context import CommandContext, fail
from eventserver_core.errors import EventServerError

_COMMANDS = {
    "serve": "serve",
    "worker": "worker",
    "migrate": "migrate",
    "check-config": "check_config",
    "plugins": "plugins",
    "plugin": "plugin",
    "certificate": "certificate",
    "admin": "admin",
    "ca": "ca",
    "audit": "audit",
    "fsck": "fsck",
    "rebuild-index": "rebuild_index",
    "chain": "chain",
    "verify": "verify",
    "demo": "demo",
}


class _LazyGroup(click.Group):
    """Imports a command's module only when it is asked for, and turns our errors into exits."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"eventserver_core.cli.{_COMMANDS[name]}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EventServerError as ex:
            fail(ex)


@click.group(cls=_LazyGroup, invoke_without_command=True)
@click.version_option(__version__, prog_name="eventserver")
@click.option(
    "--config-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where default.toml and <environment>.toml are.  [default: config]",
)
@click.option("--check-config", is_flag=True, help="The same as the command check-config.")
@click.pass_context
def main(ctx: click.Context, config_dir: Path | None, check_config: bool) -> None:
    """Receive, store, anchor and prove what people witnessed.

    Settings come from defaults, config/default.toml, config/<environment>.toml and environment
    variables, the later the stronger. EVENTSERVER_ENVIRONMENT names the environment.
    """
    ctx.obj = CommandContext(config_dir)
    if check_config:
        ctx.invoke(importlib.import_module("eventserver_core.cli.check_config").command)
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
