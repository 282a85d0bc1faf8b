"""The pages for plugins' authors: every snippet is a file's, and every promise is the code's."""

from __future__ import annotations

import importlib
import re
import textwrap

import pytest

from eventserver_core.hookspecs import INTERFACE
from eventserver_core.plugins import ABILITIES, PROTOCOLS
from tests.house.test_imports import PLUGIN_MAY_IMPORT
from tests.house.test_names import HEADINGS
from tests.house.tree import ROOT, python_files, text

PAGE = "docs/writing-a-plugin.md"
EXAMPLE = ROOT / "examples" / "plugin_storage_sqlite"
FENCE = re.compile(r"(?:^<!-- (\S+) -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
SNIPPETS = [
    pytest.param(place, language, body, id=f"{number} {place}")
    for number, (place, language, body) in enumerate(FENCE.findall(text(PAGE)))
    if language != "text"
]


@pytest.mark.parametrize(("place", "language", "body"), SNIPPETS)
def test_a_snippet_is_what_stands_in_a_file(place: str, language: str, body: str) -> None:
    assert place.startswith("examples/plugin_storage_sqlite/"), body
    assert language == {"sh": "sh", "toml": "toml", "py": "python"}[place.rpartition(".")[2]]
    lines = text(place).splitlines()
    wanted = body.splitlines()
    starts = range(len(lines) - len(wanted) + 1)
    found = ["\n".join(lines[start : start + len(wanted)]) for start in starts]
    assert "\n".join(wanted) in [textwrap.dedent(part) for part in found]
    if "/steps/" in place:
        assert wanted == lines  # a step is told whole


def test_every_step_is_told_in_order() -> None:
    told: list[str] = re.findall(r"^<!-- (\S+/steps/\S+) -->", text(PAGE), re.M)
    steps = sorted(path.name for path in (EXAMPLE / "steps").glob("*.sh"))
    assert [place.rpartition("/")[2] for place in told if place.endswith(".sh")] == steps
    followed = text("tests/end_to_end/test_third_party_plugin.py")
    assert [step for step in [*steps, "default.toml"] if f'"{step}"' not in followed] == []


def test_the_report_that_the_page_shows_is_the_one_that_is_written() -> None:
    source = text("eventserver_core/testing/contract_report.py")
    (shape,) = re.findall(r"^```text\n(.*?)^```$", text(PAGE), re.M | re.S)
    members = set(re.findall(r"[a-z_]+", shape)) - {"failed", "passed", "left_out"}
    assert members >= {"format", "core", "suites", "clauses", "abilities", "reason"}
    assert [name for name in members if f'"{name}"' not in source] == []


def test_what_is_public_is_what_plugins_may_import() -> None:
    table = re.search(r"## What is public\n(.*?)\n\n[A-Z]", text("docs/compatibility.md"), re.S)
    assert table
    named = re.findall(r"`([a-z.]+)`", "".join(re.findall(r"^\| (.*?) \|", table[1], re.M)[1:]))
    modules = [name for name in named if name != "eventserver_core"]
    assert {name.split(".")[0] for name in modules} == PLUGIN_MAY_IMPORT | {"testing"}
    for name in modules:
        assert importlib.import_module(f"eventserver_core.{name}").__doc__
    assert {f"backends.{role}" for role in PROTOCOLS} <= set(modules)


def test_the_interface_of_the_pages_is_the_cores() -> None:
    for page in ("docs/compatibility.md", "docs/hooks.md", PAGE):
        assert f"EVENTSERVER_INTERFACE = {INTERFACE}" in text(page), page


def test_every_ability_is_in_the_table_of_its_role() -> None:
    page = text("docs/hooks.md")
    for role, abilities in ABILITIES.items():
        (row,) = re.findall(rf"^\| `{role}` \| .*$", page, re.M)
        assert PROTOCOLS[role].__name__ in row
        for ability in abilities:
            assert f"`{ability.__name__}`" in row


def test_the_example_uses_only_what_is_public() -> None:
    found = python_files("examples/plugin_storage_sqlite/eventserver_storage_sqlite")
    assert len(found) >= 4
    for path in found:
        for module in re.findall(r"^from eventserver_core\.(\w+)", path.read_text("utf-8"), re.M):
            assert module in PLUGIN_MAY_IMPORT, f"{path.name}: {module}"
        assert "import eventserver_core" not in path.read_text("utf-8")


def test_the_examples_readme_has_the_headings_of_every_plugins() -> None:
    lines = (EXAMPLE / "README.md").read_text("utf-8").splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == list(HEADINGS)
    assert (EXAMPLE / "CHANGELOG.md").is_file()
