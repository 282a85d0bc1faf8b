"""One word, five places: folder, distribution, import, entry point, setting."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.plugins import PROTOCOLS
from eventserver_core.sections import PluginSettings
from tests.house.tree import ROOT

PLUGIN_FOLDERS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
HEADINGS = ("Overview", "Life of an event", "Settings", "Failure modes", "Running its tests")


def _project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.mark.parametrize("folder", PLUGIN_FOLDERS, ids=lambda folder: folder.name)
def test_a_plugins_names_agree(folder: Path) -> None:
    role, _, name = folder.name.partition("_")
    role = {"provision": "provisioning"}.get(role, role)
    project = _project(folder)
    assert project["name"] == f"eventserver-{folder.name.replace('_', '-')}"
    assert project["entry-points"] == {f"eventserver.{role}": {name: f"eventserver_{folder.name}"}}
    assert (folder / f"eventserver_{folder.name}" / "__init__.py").is_file()
    assert (folder / f"eventserver_{folder.name}" / "py.typed").is_file()


@pytest.mark.parametrize("folder", PLUGIN_FOLDERS, ids=lambda folder: folder.name)
def test_a_plugins_readme_has_the_headings(folder: Path) -> None:
    lines = (folder / "README.md").read_text("utf-8").splitlines()
    headings = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert [heading for heading in headings if heading in HEADINGS] == list(HEADINGS)
    assert (folder / "CHANGELOG.md").is_file()


def test_every_role_has_a_setting_and_an_installed_default() -> None:
    for spec in PluginSettings.options():
        if spec.key in PROTOCOLS:
            installed = {point.name for point in entry_points(group=f"eventserver.{spec.key}")}
            assert spec.default in installed
    assert set(PROTOCOLS) <= {spec.key for spec in PluginSettings.options()}


def test_built_ins_are_named_by_role_and_name() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    for group, names in points.items():
        if not group.startswith("eventserver."):
            continue  # as pytest's, by which the contract report is found
        role = group.removeprefix("eventserver.")
        for name, module in names.items():
            assert module == f"eventserver_core.builtin.{role}_{name}"
