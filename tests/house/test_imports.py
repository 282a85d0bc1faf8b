"""Who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.tree import CORE, ROOT, imported_modules, module_name, python_files

LAYERS = (
    {"errors", "json_text"},
    {"domain"},
    {"log", "pki", "metrics"},
    {"settings", "sections", "backends"},
    {"hookspecs"},
    {"plugins", "db", "builtin"},
    {"services"},
    {"http"},
    {"wiring"},
    {"serving", "wsgi", "testing"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
"""Lowest first: a module imports from its own layer's package and from lower ones only."""

HOMES = {
    "orjson": ("json_text", "domain.canonical"),
    "falcon": ("http", "wsgi", "testing", "wiring"),
    "peewee": ("db",),
    "playhouse": ("db",),
    "psycopg": ("db",),
    "pluggy": ("hookspecs", "plugins"),
    "everett": ("settings",),
    "gunicorn": ("serving", "http.body"),
    "structlog": ("log", "http.middleware", "builtin"),
    "click": ("cli",),
    "pydantic": ("domain.package", "http"),
    "httpx": ("demo", "testing"),
    "joserfc": (
        "domain.signature",
        "domain.assertion",
        "domain.keys",
        "cli.admin",
        "demo",
        "testing",
    ),
    "cryptography": ("pki", "cli.ca"),
    "prometheus_client": ("metrics", "serving.counting"),
    "opentelemetry": ("wiring.traces",),
    "pytest": ("testing",),
}
"""Which parts of the core may know a library."""

NEVER = ("jwt", "redis", "minio", "web3", "boto3", "benchmarks")
PLUGIN_MAY_IMPORT = {"hookspecs", "errors", "backends", "domain", "settings", "sections"}
PROOF_MODULES = ("canonical", "digest", "merkle", "proof", "instant")

CORE_FILES = [pytest.param(path, id=module_name(path)) for path in python_files(CORE)]


def _part(name: str) -> str:
    return name.removeprefix(CORE).lstrip(".")


def _level(part: str) -> int | None:
    top = part.split(".")[0]
    return next((level for level, names in enumerate(LAYERS) if top in names), None)


@pytest.mark.parametrize("path", CORE_FILES)
def test_a_module_imports_only_from_below(path: Path) -> None:
    part = _part(module_name(path))
    if not part:
        return
    own = _level(part)
    assert own is not None, f"{part} belongs to no layer"
    for name in imported_modules(path):
        if not name.startswith(CORE + "."):
            continue
        other = _part(name)
        if other.split(".")[0] == part.split(".")[0]:
            continue
        level = _level(other)
        if level is not None:
            assert level < own or LAYERS[own] >= {"settings", "backends"}, f"{part} → {other}"


@pytest.mark.parametrize("path", CORE_FILES)
def test_a_library_is_known_only_where_it_belongs(path: Path) -> None:
    part = _part(module_name(path))
    for name in imported_modules(path):
        library = name.split(".")[0]
        assert library not in NEVER, f"{part} imports {library}"
        if library in HOMES:
            homes = HOMES[library]
            assert any(part == home or part.startswith(home + ".") for home in homes), (
                f"{part} imports {library}, which belongs in {homes}"
            )


def test_there_are_no_cycles() -> None:
    graph: dict[str, set[str]] = {}
    modules = {module_name(path) for path in python_files(CORE)}
    for path in python_files(CORE):
        tree = ast.parse(path.read_text("utf-8"))
        graph[module_name(path)] = _at_import_time(tree, modules)
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join([*trail, name])
        if name in done:
            return
        for other in graph.get(name, ()):
            visit(other, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def _at_import_time(tree: ast.Module, modules: set[str]) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in modules else node.module)
    return found & (modules - {CORE})


@pytest.mark.parametrize("name", PROOF_MODULES)
def test_a_proof_is_checked_without_anything_of_ours(name: str) -> None:
    allowed = {"eventserver_core", "orjson", "rfc8785", "__future__"}
    import sys

    for imported in imported_modules(ROOT / CORE / "domain" / f"{name}.py"):
        top = imported.split(".")[0]
        assert top in allowed or top in sys.stdlib_module_names, f"{name} imports {imported}"
        if top == CORE:
            assert imported.split(".")[1] in {"domain", "errors"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=str(path.relative_to(ROOT)))
        for path in python_files("plugins")
        if "tests" not in path.parts
    ],
)
def test_a_plugin_uses_only_what_is_public(path: Path) -> None:
    plugin = path.relative_to(ROOT / "plugins").parts[0]
    own = f"eventserver_{plugin}"
    for name in imported_modules(path):
        top = name.split(".")[0]
        if top == CORE and name != CORE:
            assert name.split(".")[1] in PLUGIN_MAY_IMPORT, f"{path.name} imports {name}"
        assert not top.startswith("eventserver_") or top in (CORE, own), f"imports {name}"


@pytest.mark.parametrize(
    "folder", ["clients/python/eventserver_client", "examples/relay/eventserver_relay"]
)
def test_who_calls_from_outside_knows_nothing_of_the_core(folder: str) -> None:
    found = python_files(folder)
    assert found
    for path in found:
        assert not any(name.split(".")[0] == CORE for name in imported_modules(path)), path
