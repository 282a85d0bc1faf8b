"""What every file of the project keeps to."""

from __future__ import annotations

import ast
import re
import tomllib

from tests.house.tree import CORE, ROOT, python_files, text, tracked

MAX_LINES = 360
MAX_TEST_LINES = 500
LOCK_FILES = {"uv.lock", "poetry.lock", "package-lock.json", "yarn.lock", "pnpm-lock.yaml"}
FORBIDDEN_NAMES = re.compile(r"(Manager|Helper|Util|Utils|Base|Impl)$")
OPEN_ENDS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def test_a_file_is_read_in_one_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in python_files()
        if (lines := len(path.read_text("utf-8").splitlines()))
        > (MAX_TEST_LINES if "tests" in path.parts else MAX_LINES)
    }
    assert not long


def test_no_lock_file_is_tracked() -> None:
    assert not [path for path in tracked() if path.name in LOCK_FILES]


def test_constraints_hold_names_and_versions_only() -> None:
    first, *lines = text("constraints.txt").splitlines()
    assert re.fullmatch(r"# npm: @foundry-rs/anvil@[0-9.]+", first)
    for line in lines:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[A-Za-z0-9.+!]+", line), line


def test_every_dependency_is_pinned() -> None:
    pinned = {line.split("==")[0] for line in text("constraints.txt").splitlines()}
    for pyproject in [ROOT / "pyproject.toml", *ROOT.glob("*/*/pyproject.toml")]:
        project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
        extras = project.get("optional-dependencies", {}).values()
        wanted = [*project["dependencies"], *(name for extra in extras for name in extra)]
        for requirement in wanted:
            name = re.split(r"[\[<>=!~;, ]", requirement)[0].lower().replace("_", "-")
            assert name in pinned or name.startswith("eventserver-"), requirement


def test_nothing_is_left_open() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in python_files()
        if OPEN_ENDS.search(path.read_text("utf-8"))
    ]
    assert not found


def test_classes_have_names_that_say_something() -> None:
    for path in python_files(CORE):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                assert not FORBIDDEN_NAMES.search(node.name), f"{path.name}: {node.name}"


def test_modules_and_public_classes_and_functions_have_docstrings() -> None:
    silent: list[str] = []
    for path in python_files(CORE) + python_files("benchmarks"):
        tree = ast.parse(path.read_text("utf-8"))
        if not ast.get_docstring(tree):
            silent.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                silent.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not silent


def test_errors_are_named_and_drawn() -> None:
    from eventserver_core import errors

    drawing = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert name.endswith("Error")
            assert name in drawing
