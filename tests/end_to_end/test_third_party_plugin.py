"""A plugin from outside: made, tested, built, installed and chosen as its author would do it.

What ``docs/writing-a-plugin.md`` says is followed step by step, in an environment that has the
core's wheel and none of this project's sources; then a server keeps its events with the plugin.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess, clean_environ
from tests.end_to_end.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "plugin_storage_sqlite"
STEPS = EXAMPLE / "steps"
OURS = ("eventserver", "_eventserver", "__editable__")
PATIENCE = 300.0

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("third_party")]


@dataclass
class Environment:
    """A virtual environment with the core's wheel, and a folder to work in.

    Attributes:
        done: what came of each step that was followed.
    """

    home: Path
    folder: Path
    done: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        return self.home / "bin" / "python"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run something in the folder; pip finds all it needs here, and asks nobody else."""
        return subprocess.run(
            arguments,
            cwd=self.folder,
            env=clean_environ()
            | {
                "PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "PIP_NO_INDEX": "1",
                "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this as: no isolation
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PYTHONPATH": "",
                "COLUMNS": "300",
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def follow(self, step: str) -> None:
        """Follow a step of the page."""
        self.done[step] = self.run("sh", "-e", str(STEPS / step))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment in which all the steps of the page were followed."""
    made = Environment(tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("work"))
    build(made, tmp_path_factory.mktemp("wheels"))
    for step in ("1_install.sh", "2_make.sh", "3_run.sh"):
        made.follow(step)
    write_the_code(made.folder / "storage_sqlite")
    made.follow("4_report.sh")
    made.follow("5_build.sh")
    (made.folder / "config").mkdir()
    shutil.copy(STEPS / "default.toml", made.folder / "config")
    made.follow("6_choose.sh")
    return made


def build(made: Environment, wheels: Path) -> None:
    """Make the environment: what others wrote is lent by this one, what is ours comes in wheels."""
    require(subprocess.run([sys.executable, "-m", "venv", str(made.home)], check=False))
    lent = made.home / "lent"
    lent.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith((*OURS, "pip", "__pycache__")):
            (lent / path.name).symlink_to(path)
    (site,) = made.home.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(f"{lent}\n")
    command = made.home / "bin" / "pytest"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(str(made.python))} -m pytest "$@"\n')
    command.chmod(0o755)
    for source in (ROOT, ROOT / "plugins" / "auth_cert"):
        command_line = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
        require(
            subprocess.run(
                [*command_line, "--outdir", str(wheels), str(source)],
                capture_output=True,
                text=True,
                check=False,
            )
        )
    found = [str(path) for path in wheels.glob("*.whl")]
    assert len(found) == 2
    require(made.run("pip", "install", "--quiet", *found))


def require(done: subprocess.CompletedProcess[Any]) -> None:
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def write_the_code(folder: Path) -> None:
    """Do what the page leaves to its reader: the example's files take the place of the new ones."""
    for name in ("eventserver_storage_sqlite", "tests"):
        shutil.rmtree(folder / name)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(EXAMPLE / name, folder / name, ignore=ignored)
    shutil.copy(EXAMPLE / "README.md", folder)


def test_nothing_of_this_projects_sources_can_be_reached(environment: Environment) -> None:
    code = (
        "import eventserver_core, eventserver_auth_cert as a; print(eventserver_core.__file__, a)"
    )
    shown = environment.run("python", "-c", code)
    assert shown.stdout.count(str(environment.home)) == 2, shown.stderr
    assert str(ROOT) not in environment.run("python", "-c", "import sys; print(sys.path)").stdout


def test_a_new_plugin_installs_and_its_tests_say_what_is_missing(environment: Environment) -> None:
    require(environment.done["1_install.sh"])
    require(environment.done["2_make.sh"])
    run = environment.done["3_run.sh"]
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    assert "NotImplementedError: put: store the bytes durably" in run.stdout
    assert "failed    StorageBackend.put: A put MUST be durable on return." in run.stdout
    assert "passed    StorageBackend: It has every method of the Protocol." in run.stdout


def test_with_its_code_it_keeps_the_whole_contract(environment: Environment) -> None:
    run = environment.done["4_report.sh"]
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads((environment.folder / "report.json").read_text("utf-8"))
    (suite,) = report["suites"]
    assert (suite["suite"], suite["backend"]) == ("StorageContract", "SqliteStorage")
    assert (suite["failed"], suite["left_out"]) == (0, 0)
    assert suite["passed"] == len(suite["clauses"]) >= 20
    assert f"(StorageContract): {suite['passed']} passed, 0 failed, 0 left out" in run.stdout


def test_its_wheel_is_chosen_by_configuration_alone(environment: Environment) -> None:
    require(environment.done["5_build.sh"])
    run = environment.done["6_choose.sh"]
    require(run)
    assert "sqlite" in run.stdout
    listed = json.loads(environment.run("eventserver", "plugins", "--json").stdout)
    chosen = {plugin["role"]: plugin for plugin in listed if plugin["selected"]}
    assert chosen["storage"] == {
        "role": "storage",
        "name": "sqlite",
        "distribution": "eventserver-storage-sqlite",
        "version": "0.1.0",
        "selected": True,
        "abilities": [],
    }
    where = "import eventserver_storage_sqlite as it; print(it.__file__)"
    assert "site-packages" in environment.run("python", "-c", where).stdout
    told = json.loads(environment.run("eventserver", "check-config", "--json").stdout)
    values = {setting["name"]: setting for setting in told["settings"]}
    assert values["plugins.storage"]["value"] == "sqlite"
    assert values["sqlite.file"]["value"] == "objects.sqlite3"


def test_a_server_keeps_its_events_with_it(environment: Environment, photo: Path) -> None:
    issued = environment.run(
        *("eventserver", "certificate", "issue", "--role", "relay", "--subject", "relay-1")
    )
    require(issued)
    bearer = {"Authorization": f"Bearer {issued.stdout.strip()}"}
    program, *arguments = shlex.split((STEPS / "7_serve.sh").read_text("utf-8"))
    assert program == "eventserver"
    settings = {"EVENTSERVER__ANCHORING__BATCH_MAX_AGE": "0.5"}
    package = make_package(photo)
    with EventServerProcess(
        arguments, environment.folder, settings, python=environment.python
    ) as server:
        events = f"{server.url}/api/v1/events"
        sent = httpx.post(events, json=package, headers=bearer)
        assert sent.status_code == 201, sent.text
        event = f"{events}/{sent.json()['hash']}"
        assert httpx.post(events, json=package, headers=bearer).status_code == 200
        wait_until(lambda: httpx.get(f"{event}/proof").status_code == 200, "the proof is there")
        assert httpx.get(f"{event}/verify").json()["exists"] is True
        downloaded = httpx.get(f"{event}/package", headers=bearer)
        assert downloaded.status_code == 200
    evidence = environment.folder / "evidence.zip"
    evidence.write_bytes(downloaded.content)
    verified = environment.run("eventserver", "verify", "--json", str(evidence))
    assert json.loads(verified.stdout)["verdict"] == "valid", verified.stdout

    file = environment.folder / "data" / "objects.sqlite3"
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT key, size FROM objects").fetchall()
        (kept,) = connection.execute(
            "SELECT content FROM pieces JOIN objects USING (upload) WHERE key LIKE 'media-%'"
        ).fetchone()
    assert {key.partition("-")[0] for key, _ in rows} == {"media", "pack"}
    assert kept == photo.read_bytes()
    assert not list((environment.folder / "data" / "objects").glob("*"))
