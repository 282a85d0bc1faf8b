"""``eventserver plugins``"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Run

ROLES = ("auth", "ratelimit", "storage", "chain", "provisioning")


def test_every_role_has_what_is_installed_and_what_is_selected(run: Run) -> None:
    result = run("plugins", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    selected = {plugin["role"]: plugin["name"] for plugin in found if plugin["selected"]}
    assert selected == {
        "auth": "cert",
        "ratelimit": "memory",
        "storage": "filesystem",
        "chain": "ledger",
        "provisioning": "static",
    }
    cert = next(plugin for plugin in found if plugin["name"] == "cert")
    assert (cert["distribution"], cert["version"]) == ("eventserver-auth-cert", "0.1.0")


def test_people_see_a_table(run: Run) -> None:
    result = run("plugins")
    assert result.exit_code == 0
    for word in (*ROLES, "cert", "filesystem", "eventserver-core"):
        assert word in result.stdout


def test_another_choice_is_shown_wherever_it_was_made(run: Run, home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "default.toml").write_text('[plugins]\nchain = "evm9"\n')
    result = run("plugins", "--json", EVENTSERVER__PLUGINS__STORAGE="s9")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "plugins.storage = s9: selected, but not installed",
        "plugins.chain = evm9: selected, but not installed",
    ]
    selected = {p["role"] for p in json.loads(result.stdout) if p["selected"]}
    assert selected == {"auth", "ratelimit", "provisioning"}


def test_what_two_distributions_offer_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "rival-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[eventserver.chain]\nledger = nowhere\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    result = run("plugins")
    assert result.exit_code == 1
    assert result.stderr == "plugins.chain = ledger: selected, but offered 2 times\n"
    assert "rival" in result.stdout


def test_other_faults_do_not_hide_the_list(run: Run) -> None:
    result = run("plugins", EVENTSERVER__SERVER__PORT="x", EVENTSERVER__PLUGINS__TIME_LIMIT="x")
    assert result.exit_code == 0


def test_a_file_that_cannot_be_read_is_told_for_it_may_choose_otherwise(
    run: Run, home: Path
) -> None:
    (home / "config").mkdir()
    (home / "config" / "default.toml").write_text("[plugins\n")
    result = run("plugins")
    assert result.exit_code == 78
    assert "cannot be read" in result.stderr
