"""What the docs say is what the code does: text copied by hand drifts."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import pytest

from eventserver_core import errors, hookspecs
from eventserver_core.builtin.provisioning_static import ProvisioningSettings
from eventserver_core.builtin.ratelimit_memory import RateLimitSettings
from eventserver_core.cli import main
from eventserver_core.http import errors as http_errors
from eventserver_core.http.openapi.problems import statuses
from eventserver_core.plugins import Plugins
from eventserver_core.sections import CORE_SECTIONS
from tests.house.tree import CORE, ROOT, python_files, text, tracked

HOOKS = [value for name, value in vars(hookspecs).items() if name.startswith("eventserver_")]
MARKDOWN = [path for path in tracked() if path.suffix == ".md"]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.__name__)
def test_a_hook_is_documented_with_its_signature(hook: object) -> None:
    signature = f"{hook.__name__}{inspect.signature(hook)}".replace("'", "")  # type: ignore[attr-defined,arg-type]
    assert signature in text("docs/hooks.md")


def test_every_documented_hook_exists() -> None:
    documented = set(re.findall(r"\b(eventserver_\w+)\(", text("docs/hooks.md")))
    assert documented == {hook.__name__ for hook in HOOKS}


def test_every_setting_is_documented_with_its_default() -> None:
    page = text("docs/configuration.md")
    sections = dict(re.findall(r"^## \[(\w+)\]\n(.*?)(?=^## |\Z)", page, re.S | re.M))
    for section in [*CORE_SECTIONS, RateLimitSettings, ProvisioningSettings]:
        found = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", sections[section.name], re.M)
        rows = {key: default for key, default, _ in found}
        said = {key: what for key, _, what in found}
        assert list(rows) == [spec.key for spec in section.options()]
        for spec in section.options():
            assert rows[spec.key].strip("`") == (spec.default or "")
            assert said[spec.key].startswith(spec.doc), spec.key
            assert ("Secret." in said[spec.key]) == spec.secret, spec.key
            assert f"`{spec.environment_variable}`" in said[spec.key] + "`None`"


@pytest.mark.parametrize("folder", sorted((ROOT / "plugins").iterdir()), ids=lambda path: path.name)
def test_every_plugin_setting_is_in_the_plugins_readme(folder: Path) -> None:
    role, name = folder.name.split("_")
    role = {"provision": "provisioning"}.get(role, role)
    readme = text(f"plugins/{folder.name}/README.md")
    sections = Plugins({role: name}).sections()
    assert sections
    for section in sections:
        assert f"`{section.name}`" in readme or f"[{section.name}]" in readme
        for spec in section.options():
            assert f"`{spec.key}`" in readme, f"{section.name}.{spec.key}"


def test_every_route_is_documented() -> None:
    page = text("docs/http-api.md")
    source = text("eventserver_core/http/app.py") + text("eventserver_core/http/network.py")
    templates = re.findall(r'^        "(/[^"]+)": ', source, re.M)
    assert len(templates) >= 30
    for template in templates:
        assert template in page


def test_every_error_code_is_documented() -> None:
    codes = set()
    for path in python_files(CORE) + python_files("plugins"):
        codes |= set(re.findall(r'\bcode(?:: str)? = "([a-z_]+)"', path.read_text("utf-8")))
        codes |= set(re.findall(r'\bcode="([a-z_]+)"', path.read_text("utf-8")))
    never_answered = {"error", "configuration", "lease_lost", "object_not_found"}
    assert codes - never_answered <= set(_catalogue())


def test_every_documented_error_exists_with_its_status() -> None:
    documented = {code: int(status[:3]) for code, status in _catalogue().items()}
    assert documented == {code: status.value for code, status in statuses().items()}


def test_the_catalogue_says_of_every_error_whether_to_retry_and_what_to_do() -> None:
    row = r"^\| `(\w+)` \| [\d, ]+ \| [^|]+ \| (yes|no) \| [^|]+ \|$"
    retry = dict(re.findall(row, text("docs/errors.md"), re.M))
    assert set(retry) == set(_catalogue())
    assert {code for code, answer in retry.items() if answer == "yes"} == {
        "request_timeout",
        "rate_limited",
        "internal_error",
        "backend_unavailable",
    }


def _catalogue() -> dict[str, str]:
    return dict(re.findall(r"^\| `(\w+)` \| ([\d, ]+) \|", text("docs/errors.md"), re.M))


def test_every_error_has_a_status() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.EventServerError):
            known = kind in (
                errors.EventServerError,
                errors.ConfigurationError,
                errors.EvidenceDamagedError,
            )
            assert known or http_errors.status_of(kind) != 500, kind


def test_every_command_is_documented() -> None:
    page = text("README.md") + text("docs/configuration.md")
    with click.Context(main) as context:
        for name in main.list_commands(context):
            assert f"`{name}" in page or f"eventserver {name}" in page, name


def test_every_benchmark_is_documented() -> None:
    page = text("docs/performance.md")
    names = {path.stem for path in python_files("benchmarks/scenarios")} - {"__init__"}
    assert set(re.findall(r"^\| `([a-z-]+)` \|", page, re.M)) == {
        name.replace("_", "-") for name in names
    }


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


def test_every_core_module_is_on_the_map() -> None:
    page = text("docs/architecture.md")
    for path in (ROOT / CORE).iterdir():
        if path.suffix == ".py" and path.name not in ("__init__.py", "__main__.py"):
            assert f"`{path.name}`" in page, path.name
        elif (path / "__init__.py").is_file():
            assert f"`{path.name}/`" in page, path.name
