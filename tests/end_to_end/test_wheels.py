"""The wheels hold everything: installed with the source out of reach, the main job runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = (
    ROOT,
    ROOT / "plugins" / "auth_cert",
    ROOT / "clients" / "python",
    ROOT / "examples" / "relay",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the wheels were installed into."""
    wheels = tmp_path_factory.mktemp("wheels")
    target = tmp_path_factory.mktemp("installed")
    for source in DISTRIBUTIONS:
        _python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(source))
    found = [str(path) for path in wheels.glob("*.whl")]
    assert len(found) == len(DISTRIBUTIONS)
    _python("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), *found)
    return target


def _python(*arguments: str, cwd: Path = ROOT, path: Path | None = None) -> str:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("EVENTSERVER")}
    if path is not None:
        environ["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.xdist_group("wheels")
def test_the_demo_runs_from_the_wheels(installed: Path, tmp_path: Path) -> None:
    where = "import eventserver_core, eventserver_auth_cert; print(eventserver_core.__file__)"
    assert str(installed) in _python("-c", where, cwd=tmp_path, path=installed)
    _python("-m", "eventserver_core", "demo", cwd=tmp_path, path=installed)
    assert list(tmp_path.glob("demo-output/*.zip"))


@pytest.mark.slow
@pytest.mark.xdist_group("wheels")
def test_the_migrations_are_inside(installed: Path) -> None:
    inside = {path.name for path in (installed / "eventserver_core" / "migrations").glob("*.py")}
    assert inside == {path.name for path in (ROOT / "migrations").glob("*.py")}


@pytest.mark.slow
@pytest.mark.xdist_group("wheels")
def test_types_and_pictures_are_inside(installed: Path) -> None:
    core = installed / "eventserver_core"
    assert (core / "py.typed").is_file()
    assert (core / "demo" / "photo.jpg").is_file()
    assert not (installed / "tests").exists()
