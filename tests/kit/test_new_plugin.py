"""``eventserver plugin new`` makes a package that installs, and fails where code is missing."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner, Result

from eventserver_core.cli import main
from eventserver_core.cli.plugin import NewPlugin, compatible_versions
from eventserver_core.plugins import PROTOCOLS
from eventserver_core.testing.contracts.suites import SUITES
from tests.house.test_names import HEADINGS

FOLDERS = {role: f"{role}_gcs" for role in PROTOCOLS} | {"provisioning": "provision_gcs"}
PASSED_FROM_THE_START = {
    "test_the_core_finds_the_plugin_and_gets_a_backend",
    "test_it_states_the_interface_that_it_is_made_for",
    "test_every_setting_is_documented",
}
LINT = "E,F,W,I,N,UP,B,C4,PIE,PT,RET,RUF"


def make(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plugin", "new", *arguments])


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new plugin for each role."""
    folder = tmp_path_factory.mktemp("made")
    for role in PROTOCOLS:
        result = make(role, "gcs", "--directory", str(folder))
        assert result.exit_code == 0, result.output
    assert sorted(path.name for path in folder.iterdir()) == sorted(FOLDERS.values())
    return folder


@pytest.fixture(scope="module")
def installed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the new plugins were installed into, as wheels."""
    target = tmp_path_factory.mktemp("installed")
    sources = [str(path) for path in made.iterdir()]
    done = run(
        *("pip", "install", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--target", str(target), *sources),
        cwd=made,
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.slow
@pytest.mark.xdist_group("new_plugin")
@pytest.mark.parametrize("role", PROTOCOLS)
def test_its_tests_run_and_fail_only_where_there_is_code_to_write(
    made: Path, installed: Path, tmp_path: Path, role: str
) -> None:
    written = tmp_path / "junit.xml"
    done = run(
        *("pytest", "-p", "no:cacheprovider", "--strict-markers", "-W", "error"),
        f"--junitxml={written}",
        cwd=made / FOLDERS[role],
        PYTHONPATH=str(installed),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    passed, failed = set(), {}
    for case in ElementTree.parse(written).iter("testcase"):  # noqa: S314 - pytest just wrote it
        assert case.find("error") is None
        assert case.find("skipped") is None
        if (failure := case.find("failure")) is None:
            passed.add(case.attrib["name"])
        else:
            failed[case.attrib["name"]] = failure.text or ""
    suite = next(suite.contract for suite in SUITES if suite.role == role)
    clauses = {name for name in vars(suite) if name.startswith("test_")}
    (has_methods,) = passed - PASSED_FROM_THE_START
    assert has_methods.startswith(("test_it_is_a_", "test_it_is_an_"))
    assert passed > PASSED_FROM_THE_START
    assert failed.keys() == clauses - {has_methods}
    assert not [name for name, text in failed.items() if "NotImplementedError: " not in text]


@pytest.mark.parametrize("role", PROTOCOLS)
def test_every_method_of_the_protocol_is_there_and_says_what_to_do(made: Path, role: str) -> None:
    folder = made / FOLDERS[role]
    backend = (folder / f"eventserver_{FOLDERS[role]}" / "backend.py").read_text("utf-8")
    methods = dict(_methods(ast.parse(backend)))
    wanted = {n for n, f in vars(PROTOCOLS[role]).items() if n[0] != "_" and inspect.isfunction(f)}
    assert wanted <= methods.keys()
    for name in wanted - {"upload"}:
        assert f'raise NotImplementedError("{name}: ' in ast.unparse(methods[name]).replace(
            "'", '"'
        )
        assert ast.get_docstring(methods[name])


def _methods(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    kind = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    return ((node.name, node) for node in kind.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("role", PROTOCOLS)
def test_it_has_everything_that_a_plugin_has(made: Path, role: str) -> None:
    folder = made / FOLDERS[role]
    package = f"eventserver_{FOLDERS[role]}"
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == f"eventserver-{FOLDERS[role].replace('_', '-')}"
    assert project["entry-points"] == {f"eventserver.{role}": {"gcs": package}}
    assert project["dependencies"] == ["eventserver-core>=0.1,<0.2"]
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "CHANGELOG.md",
        "README.md",
        "pyproject.toml",
        f"{package}/__init__.py",
        f"{package}/backend.py",
        f"{package}/py.typed",
        f"{package}/settings.py",
        "tests/test_contract.py",
        "tests/test_plugin.py",
    }
    lines = (folder / "README.md").read_text("utf-8").splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == list(HEADINGS)


def test_it_is_clean(made: Path) -> None:
    for folder in made.iterdir():
        lint = run("ruff", "check", "--isolated", "--select", LINT, "--line-length=100", cwd=folder)
        assert lint.returncode == 0, lint.stdout
        form = run("ruff", "format", "--isolated", "--line-length=100", "--diff", cwd=folder)
        assert form.returncode == 0, form.stdout


@pytest.mark.slow
@pytest.mark.xdist_group("new_plugin")
def test_its_types_are_right(made: Path, tmp_path: Path) -> None:
    packages = [str(path) for path in made.glob("*/eventserver_*")]
    paths = os.pathsep.join(str(path) for path in made.iterdir())
    cache = f"--cache-dir={tmp_path}"
    done = run("mypy", "--strict", cache, *packages, cwd=made, MYPYPATH=paths)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("text", "name", "distribution", "stem"),
    [
        ("gcs", "gcs", "gcs", "Gcs"),
        ("GCS", "gcs", "gcs", "Gcs"),
        ("google-cloud", "google_cloud", "google-cloud", "GoogleCloud"),
        ("google._-cloud2", "google_cloud2", "google-cloud2", "GoogleCloud2"),
    ],
)
def test_one_word_has_the_form_that_each_place_wants(
    tmp_path: Path, text: str, name: str, distribution: str, stem: str
) -> None:
    assert make("chain", text, "--directory", str(tmp_path)).exit_code == 0
    folder = tmp_path / f"chain_{name}"
    pyproject = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    assert pyproject["project"]["name"] == f"eventserver-chain-{distribution}"
    points = pyproject["project"]["entry-points"]["eventserver.chain"]
    assert points == {name: f"eventserver_chain_{name}"}
    settings = (folder / f"eventserver_chain_{name}" / "settings.py").read_text("utf-8")
    assert f'class {stem}Settings(Section, name="{name}"):' in settings


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "a name is a letter"),
        ("9p", "a name is a letter"),
        ("_gcs", "a name is a letter"),
        ("gcs-", "a name is a letter"),
        ("g cs", "a name is a letter"),
        ("../gcs", "a name is a letter"),
        ("gcs/x", "a name is a letter"),
        ("$role", "a name is a letter"),
        ("gcs\n", "a name is a letter"),
        ("\N{KELVIN SIGN}elvin", "a name is a letter"),
        ("g" * 41, "a name is a letter"),
        ("class", "a word of Python's own"),
        ("Lambda", "a word of Python's own"),
        ("server", "a section of the core's settings or a role"),
        ("storage", "a section of the core's settings or a role"),
        ("filesystem", "has this name for storage; choose another, or uninstall it"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str, said: str) -> None:
    result = make("storage", "--directory", str(tmp_path), "--", name)
    assert result.exit_code == click.UsageError.exit_code
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_role_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    result = make("disk", "gcs", "--directory", str(tmp_path))
    assert result.exit_code == click.UsageError.exit_code
    assert all(role in result.stderr for role in PROTOCOLS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["folder", "file"])
def test_what_is_there_already_is_left_alone(tmp_path: Path, there: str) -> None:
    place = tmp_path / "storage_gcs"
    if there == "folder":
        place.mkdir()
        (place / "README.md").write_text("mine")
    else:
        place.write_text("mine")
    result = make("storage", "gcs", "--directory", str(tmp_path))
    assert result.exit_code == 1
    assert "is there already; nothing was changed" in result.stderr
    kept = place / "README.md" if there == "folder" else place
    assert kept.read_text() == "mine"
    assert len(list(tmp_path.rglob("*"))) == (2 if there == "folder" else 1)


def test_the_next_steps_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my plugins").mkdir()
    monkeypatch.chdir(tmp_path)
    output = make("storage", "gcs", "--directory", "my plugins").output
    assert "  pip install --editable './my plugins/storage_gcs[testing]'\n" in output
    assert "  pytest 'my plugins/storage_gcs'\n" in output
    assert "my plugins/storage_gcs/pyproject.toml\n" in output


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.1.0", ">=0.1,<0.2"),
        ("0.12.3.dev4", ">=0.12,<0.13"),
        ("1.0.0", ">=1.0,<2"),
        ("3.7.1", ">=3.7,<4"),
    ],
)
def test_a_new_plugin_asks_for_the_core_that_it_is_made_with(version: str, expected: str) -> None:
    assert compatible_versions(version) == expected


def test_a_plugin_that_does_not_fit_in_a_line_is_whole_all_the_same() -> None:
    for role in PROTOCOLS:
        for path, text in NewPlugin(role, "a_name_of_many_words_and_long_ones").files.items():
            assert "$" not in text, path
            if path.suffix == ".py":
                ast.parse(text)
