"""The image: linted, small, not root, and made by commands that work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, IMAGE, VERSION, compose, routes
from tests.house.tree import ROOT, tracked

DOCKERFILE = DEPLOY / "Dockerfile"
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))


def _stages() -> list[list[tuple[str, str]]]:
    """Return each stage's instructions."""
    lines = [
        line
        for line in DOCKERFILE.read_text("utf-8").splitlines()
        if not line.lstrip().startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    instructions = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    stages: list[list[tuple[str, str]]] = []
    for name, _, rest in instructions:
        if name == "FROM":
            stages.append([])
        if stages:
            stages[-1].append((name, rest.strip()))
    return stages


BUILD, LAST = _stages()


def _said(name: str) -> str:
    (found,) = (rest for instruction, rest in LAST if instruction == name)
    return found


def _in_context(path: Path) -> bool:
    """Tell whether a tracked file is sent to the builder."""
    wanted = [name for kind, rest in BUILD if kind == "COPY" for name in rest.split()[:-1]]
    inside = path.relative_to(ROOT)
    return any(inside.is_relative_to(name) for name in wanted) and "tests" not in inside.parts


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([str(linter), str(DOCKERFILE)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()


def test_it_is_not_root_and_stops_as_it_should() -> None:
    user, _, group = _said("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert _said("STOPSIGNAL") == "SIGTERM"
    assert json.loads(_said("ENTRYPOINT")) == ["eventserver"]


def test_it_asks_itself_whether_it_lives() -> None:
    (path,) = re.findall(r"\{port\}(/[\w/]+)", _said("HEALTHCHECK"))
    assert path in routes()


def test_the_last_stage_builds_nothing() -> None:
    commands = [rest for name, rest in LAST if name == "RUN"]
    assert not [c for c in commands if re.search(r"\b(apt-get|pip install|gcc|curl|wget)\b", c)]
    assert any(c.startswith("pip uninstall") for c in commands)


def test_it_says_which_version_it_is() -> None:
    assert f'org.opencontainers.image.version="{VERSION}"' in _said("LABEL")
    base = re.search(r"^ARG PYTHON_IMAGE=python:(\S+)$", DOCKERFILE.read_text("utf-8"), re.M)
    assert base
    assert re.match(r"3\.\d+\.\d+-slim", base[1])


def test_what_is_copied_is_sent_to_the_builder() -> None:
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    for name, rest in BUILD:
        if name == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in sent
    assert "*" in sent


def test_nothing_is_sent_that_is_not_copied() -> None:
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    copied = {s for name, rest in BUILD if name == "COPY" for s in rest.split()[:-1]}
    assert {line.removeprefix("!") for line in sent if line.startswith("!")} == copied
    assert not {"clients", "examples", "tests", "docs"} & copied


def test_volumes_of_the_authority_belong_to_the_user() -> None:
    user, _, group = _said("USER").partition(":")
    (made,) = (rest for name, rest in LAST if name == "RUN")
    for service in compose()["services"].values():
        for volume in service.get("volumes", []) if service["image"] == IMAGE else []:
            path = volume.split(":")[1]
            assert re.search(rf"--owner {user} --group {group} --mode 0700 [^&]*{path}\b", made)


@pytest.mark.slow
def test_its_commands_install_everything(tmp_path: Path) -> None:
    base = tmp_path / "base"
    subprocess.run([sys.executable, "-m", "venv", str(base)], check=True)
    source = tmp_path / "src"
    for path in filter(_in_context, tracked()):
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("EVENTSERVER", "PYTHON"))}
    environ["PIP_NO_COMPILE"] = "1"  # it takes its time, and shows nothing
    environ["PATH"] = f"{base / 'bin'}:/usr/bin:/bin"
    installed = tmp_path / "opt" / "eventserver"
    for command in (rest for name, rest in BUILD if name == "RUN"):
        here = command.replace("/opt/eventserver", str(installed))
        here = here.replace("/wheels", str(tmp_path / "wheels"))
        done = subprocess.run(
            ["sh", "-c", here], cwd=source, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    listed = subprocess.run(
        [str(installed / "bin" / "eventserver"), "plugins", "--json"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        check=True,
    )
    folders = {"provisioning": "provision"}
    found = {(plugin["role"], plugin["name"]) for plugin in json.loads(listed.stdout)}
    assert set(PLUGINS) <= {f"{folders.get(role, role)}_{name}" for role, name in found}
    driver = [str(installed / "bin" / "python"), "-c", "import psycopg"]
    subprocess.run(driver, env=environ, check=True)
    assert not (installed / "bin" / "pip").exists()


def test_every_plugin_is_released_with_the_core() -> None:
    for name in PLUGINS:
        project = tomllib.loads((ROOT / "plugins" / name / "pyproject.toml").read_text("utf-8"))
        assert project["project"]["version"] == VERSION
