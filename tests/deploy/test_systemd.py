"""The units are ones that systemd takes, and start what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from eventserver_core.cli import main
from eventserver_core.cli.context import EXIT_CONFIGURATION
from eventserver_core.sections import ServerSettings
from tests.deploy.files import DEPLOY
from tests.house.tree import text

UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
PROGRAM = "/opt/eventserver/bin/eventserver"

named = pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)


class _Repeated(dict[str, str]):
    """Keeps all values of a key that is there several times, as systemd does."""

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, list) and key in self:
            value = [*self[key], *value]
        super().__setitem__(key, value)  # type: ignore[assignment]


def read(path: Path) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None, dict_type=_Repeated)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text("utf-8"))
    return parser


def test_systemd_takes_them(tmp_path: Path) -> None:
    """Where systemd is; elsewhere the tests below are all there is."""
    analyze = shutil.which("systemd-analyze")
    for path in UNITS:
        there = path.read_text("utf-8").replace(PROGRAM, "/bin/true")
        (tmp_path / path.name).write_text(re.sub("=eventserver$", "=root", there, flags=re.M))
    assert len(UNITS) == 4
    if analyze:
        copies = map(str, sorted(tmp_path.iterdir()))
        done = subprocess.run(
            [analyze, "verify", *copies], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


@named
def test_a_unit_starts_a_command_that_exists(unit: Path) -> None:
    service = read(unit)["Service"]
    commands = service["ExecStart"].splitlines() + service.get("ExecStartPre", "").splitlines()
    for command in filter(None, commands):
        program, name, *_ = command.split()
        assert program == PROGRAM
        assert main.get_command(click.Context(main), name) is not None, command


@named
def test_a_unit_has_no_more_rights_than_it_needs(unit: Path) -> None:
    service = read(unit)["Service"]
    assert service["User"] == "eventserver"
    assert service["CapabilityBoundingSet"] == ""
    assert (service["ProtectSystem"], service["NoNewPrivileges"]) == ("strict", "true")
    assert service["UMask"] == "0077"


@named
def test_a_unit_runs_in_production_over_the_state_directory(unit: Path) -> None:
    service = read(unit)["Service"]
    assert "EVENTSERVER_ENVIRONMENT=production" in service["Environment"]
    data_dir = f"EVENTSERVER__SERVER__DATA_DIR=/var/lib/{service['StateDirectory']}"
    assert data_dir in service["Environment"]


def test_wrong_settings_are_not_tried_again_and_a_stop_has_its_time() -> None:
    service = read(DEPLOY / "systemd" / "eventserver.service")["Service"]
    assert service["RestartPreventExitStatus"] == str(EXIT_CONFIGURATION)
    (graceful,) = (o for o in ServerSettings.options() if o.key == "graceful_timeout")
    assert int(service["TimeoutStopSec"]) > int(graceful.default or 0)


def test_the_accounts_key_is_the_workers_alone() -> None:
    told = {path.name: "worker-environment" in path.read_text("utf-8") for path in SERVICES}
    assert told == {
        "eventserver-fsck.service": False,
        "eventserver-worker.service": True,
        "eventserver.service": False,
    }


def test_the_page_installs_every_unit() -> None:
    page = text("docs/operations.md")
    assert "install --mode 0644 deploy/systemd/* /etc/systemd/system/" in page
    enabled = "systemctl enable --now eventserver eventserver-worker eventserver-fsck.timer"
    assert enabled in page
