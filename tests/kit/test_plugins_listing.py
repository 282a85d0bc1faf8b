"""``eventserver plugins --json`` tells the abilities of what is selected, and of nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BROKEN = "raise SystemError('nobody can import this')"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with an installed plugin that can't be imported."""
    info = tmp_path / "site" / "broken-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[eventserver.chain]\nbroken = broken_module\n")
    (tmp_path / "site" / "broken_module.py").write_text(BROKEN)
    return tmp_path / "site"


def listing(site: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventserver_core", "plugins", "--json"],
        cwd=site,
        env=os.environ | {"PYTHONPATH": str(site)} | environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


def by_role(done: subprocess.CompletedProcess[str], *, selected: bool) -> dict[str, Any]:
    found = json.loads(done.stdout)
    keys = {"role", "name", "distribution", "version", "selected", "abilities"}
    assert all(plugin.keys() == keys for plugin in found)
    return {
        f"{plugin['role']}={plugin['name']}": plugin["abilities"]
        for plugin in found
        if plugin["selected"] == selected
    }


def test_abilities_are_those_of_the_selected_backends(site: Path) -> None:
    done = listing(site)
    assert (done.returncode, done.stderr) == (0, "")
    assert by_role(done, selected=True) == {
        "auth=cert": [
            "IssuesCertificates",
            "ChallengesDevices",
            "ChecksSignedPackages",
            "AnswersPromptly",
        ],
        "ratelimit=memory": [],
        "storage=filesystem": [],
        "chain=ledger": [],
        "provisioning=static": ["SweepsMachines"],
    }
    others = by_role(done, selected=False)
    assert others.keys() >= {"chain=broken", "storage=s3", "chain=evm"}
    assert set(others.values()) == {None}


def test_listing_makes_nothing(site: Path) -> None:
    before = set(site.rglob("*"))
    listing(site, PYTHONDONTWRITEBYTECODE="1")
    assert set(site.rglob("*")) == before


def test_what_is_selected_and_cannot_be_imported_is_told(site: Path) -> None:
    done = listing(site, EVENTSERVER__PLUGINS__CHAIN="broken")
    assert done.returncode == 1
    assert done.stderr == (
        "plugins.chain = broken: cannot be imported: SystemError('nobody can import this')\n"
    )
    assert by_role(done, selected=True)["chain=broken"] is None
