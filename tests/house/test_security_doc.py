"""The threat model names a test for each line, and the tests exist."""

from __future__ import annotations

import re

import pytest

from eventserver_core.sections import (
    PluginSettings,
    SecuritySettings,
    ServerSettings,
    StorageSettings,
)
from eventserver_core.serving import server, worker
from tests.house.tree import ROOT, text

THREATS = 38
PAGE = "docs/security.md"
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")

ROWS = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", text(PAGE), re.M)


def test_every_threat_has_its_line_in_order() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, THREATS + 1))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_threat_is_held_by_tests_that_exist(row: tuple[str, str, str, str]) -> None:
    named = TEST.findall(row[3])
    assert named
    # nothing stands in the cell that this does not look at
    assert TEST.sub("", row[3]).strip(", ") == ""
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert re.search(rf"^\s*def {name}\(", text(path), re.M), f"{path}::{name}"


def test_the_limits_are_those_of_the_code() -> None:
    page = text(PAGE)
    for what, amount in (
        ("a header", f"{server._MAX_HEADER_SIZE // 1024} KiB"),
        ("headers", f"{server._MAX_HEADERS}"),
        ("request line and headers together", f"{worker.MAX_HEAD_SIZE // 1024} KiB"),
        ("an idle connection", f"{server._KEEP_ALIVE_SECONDS} s"),
    ):
        assert f"| {what} | {amount} |" in page, what
    defaults = {
        f"{section.name}.{spec.key}": spec.default
        for section in (ServerSettings, StorageSettings, PluginSettings, SecuritySettings)
        for spec in section.options()
    }
    for name, unit, suffix in (
        ("server.read_timeout", 1, "s"),
        ("server.request_timeout", 1, "s"),
        ("server.graceful_timeout", 1, "s"),
        ("plugins.time_limit", 1, "s"),
        ("server.max_json_size", 1024**2, "MiB"),
        ("storage.max_inline_size", 1024**2, "MiB"),
        ("storage.max_file_size", 1024**2, "MiB"),
    ):
        amount = int(defaults[name] or 0) // unit
        assert re.search(rf"^\| .+ \| {amount} {suffix} \| `{name}`", page, re.M), name
    assert (
        f"| calls of one caller | {defaults['security.rate_limit_per_minute']} a minute |" in page
    )
