"""Each contract suite fails for a backend that breaks a promise, and for nothing else.

The suites in ``broken/`` are run as a plugin's author would run them, by pytest, in processes of
their own; what failed there is compared with what each class says that it breaks.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import pytest

BROKEN = Path(__file__).parent / "broken"
ROLES = sorted(path.stem for path in BROKEN.glob("[a-z]*.py") if path.stem != "conftest")


@dataclass
class Outcome:
    """What came of one class: the tests that failed, and those that passed."""

    failed: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Outcome]]:
    """Run everything in ``broken/`` and return what came of it, by role and class."""
    results = tmp_path_factory.mktemp("results")
    runs = {role: start(role, results) for role in ROLES}
    for role, run in runs.items():
        output, _ = run.communicate(timeout=300)
        assert run.returncode == pytest.ExitCode.TESTS_FAILED, f"{role}: {output}"
    return {role: read(results / f"{role}.xml") for role in ROLES}


def start(role: str, results: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-r", "N"]
    command += ["-p", "no:cacheprovider", f"--basetemp={results / role}"]
    command += [f"--junitxml={results / role}.xml", str(BROKEN / f"{role}.py")]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=BROKEN.parents[2],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )


def read(report: Path) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = defaultdict(Outcome)
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest just wrote it
        assert case.find("error") is None, f"{case.attrib} could not be run"
        assert case.find("skipped") is None, f"{case.attrib} was skipped"
        outcome = outcomes[case.attrib["classname"].rpartition(".")[2]]
        names = outcome.passed if case.find("failure") is None else outcome.failed
        names.add(case.attrib["name"])
    return outcomes


@pytest.mark.parametrize("role", ROLES)
def test_a_suite_fails_where_a_promise_is_broken_and_nowhere_else(
    role: str, outcomes: dict[str, dict[str, Outcome]]
) -> None:
    module = importlib.import_module(f"tests.contracts.broken.{role}")
    suites = {name: value for name, value in vars(module).items() if name.startswith("Test")}
    assert outcomes[role].keys() == suites.keys()
    found = {name: sorted(outcome.failed) for name, outcome in outcomes[role].items()}
    assert found == {name: sorted(suite.catches) for name, suite in suites.items()}


@pytest.mark.parametrize("role", ROLES)
def test_every_test_of_a_suite_fails_for_some_broken_backend(
    role: str, outcomes: dict[str, dict[str, Outcome]]
) -> None:
    ran = {name for outcome in outcomes[role].values() for name in outcome.passed | outcome.failed}
    failed = {name for outcome in outcomes[role].values() for name in outcome.failed}
    assert ran
    assert failed == ran
