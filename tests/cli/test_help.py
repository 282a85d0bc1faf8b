"""Every command explains itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version

import click
import pytest

from eventserver_core.cli import main

from .conftest import Run

MAX_COLUMNS = 100


def commands(command: click.Command, trail: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield trail
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*trail, name))


ALL = list(commands(main))


def test_there_are_the_commands_of_the_contract() -> None:
    assert {" ".join(trail) for trail in ALL} >= {
        "serve",
        "worker",
        "migrate up",
        "migrate down",
        "migrate status",
        "migrate new",
        "check-config",
        "plugins",
        "certificate issue",
        "certificate revoke",
        "certificate show",
        "verify",
        "demo",
    }


@pytest.mark.parametrize("trail", ALL, ids=" ".join)
@pytest.mark.parametrize("columns", ["80", "300"])
def test_help_is_there_and_fits_the_screen(run: Run, trail: tuple[str, ...], columns: str) -> None:
    result = run(*trail, "--help", COLUMNS=columns)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert result.stderr == ""
    assert max(len(line) for line in result.stdout.splitlines()) <= MAX_COLUMNS


@pytest.mark.parametrize("trail", ALL, ids=" ".join)
def test_every_command_and_option_says_what_it_is_for(trail: tuple[str, ...]) -> None:
    command: click.Command = main
    for name in trail:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    assert command.help
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    assert not [option.name for option in options if not option.help]


def test_without_a_command_help_is_shown(run: Run) -> None:
    result = run()
    assert result.exit_code == 0
    assert "check-config" in result.stdout


def test_a_command_that_does_not_exist_is_told(run: Run) -> None:
    result = run("serv")
    assert result.exit_code == 2
    assert "No such command 'serv'" in result.stderr


def test_help_reads_no_settings(run: Run) -> None:
    assert run("worker", "--help", EVENTSERVER__NONE__SUCH="1").exit_code == 0


def test_the_version_is_told(
    run_process: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_process("--version")
    assert done.returncode == 0
    assert version("eventserver-core") in done.stdout
