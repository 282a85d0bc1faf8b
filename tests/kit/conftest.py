"""What tests of the kit share: runs of pytest as a plugin's author starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Ran:
    """A run of pytest that ended."""

    status: int
    output: str
    report: dict[str, Any] | None

    @property
    def outcomes(self) -> dict[str, str]:
        """What came of each clause of the only suite that ran."""
        assert self.report is not None, self.output
        (suite,) = self.report["suites"]
        return {clause["test"]: clause["outcome"] for clause in suite["clauses"]}

    def clause(self, test: str) -> dict[str, Any]:
        """Return what is told of one clause of the only suite that ran."""
        assert self.report is not None, self.output
        (suite,) = self.report["suites"]
        (found,) = [clause for clause in suite["clauses"] if clause["test"] == test]
        return dict(found)


RunPytest = Callable[..., Ran]


@pytest.fixture
def run_pytest(tmp_path: Path) -> RunPytest:
    """Run pytest over a file's text, in a folder that knows nothing of this project."""

    def run(source: str, *options: str, plugin: bool = True, report: bool = True) -> Ran:
        folder = tmp_path / "plugin"
        folder.mkdir(exist_ok=True)
        (folder / "test_it.py").write_text(textwrap.dedent(source))
        (folder / "pytest.ini").write_text("[pytest]\n")
        written = tmp_path / "report.json"
        written.unlink(missing_ok=True)
        # named by hand, so that it is the same whether or not the entry point is installed
        named = ["-p", "eventserver_core.testing.contract_report"] if plugin else []
        named += [f"--eventserver-report={written}"] if report and plugin else []
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *named, *options],
            cwd=folder,
            env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "300"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        found = json.loads(written.read_text("utf-8")) if written.exists() else None
        return Ran(done.returncode, done.stdout + done.stderr, found)

    return run
