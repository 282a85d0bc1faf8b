"""A plugin of pytest: says which clauses of the contracts were kept, broken or left out.

It is loaded wherever ``eventserver-core[testing]`` is installed, and does nothing in a run that
collects no subclass of a suite in ``eventserver_core.testing.contracts``. Where one is, a section
at the end of the run has a line for each clause (beyond a few suites only for those that weren't
kept, unless pytest is given ``-v``), and ``--eventserver-report=FILE`` writes the same as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from eventserver_core.testing.contracts.suites import Suite

FORMAT = 1
"""The version of the JSON; it grows when a reader of the older one would go wrong."""

_OPTION = "eventserver_report"
_MARK = "eventserver_clause"
_FEW_SUITES = 5
_COLORS = {"passed": "green", "failed": "red", "left out": "yellow"}
_WORST_LAST = ("passed", "left out", "failed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.getgroup("eventserver", "contracts of EventServer's plugins").addoption(
        "--eventserver-report",
        metavar="FILE",
        dest=_OPTION,
        help="write which clauses of the contracts passed, failed or were left out, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect what the tests say, in the process that prints."""
    if hasattr(config, "workerinput"):
        return
    path = config.getoption(_OPTION)
    if path is not None:
        try:
            Path(path).open("a").close()
        except OSError as ex:
            raise pytest.UsageError(f"--eventserver-report: {ex}") from ex
    config.pluginmanager.register(_Account(path), "eventserver-account")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Watch the tests, in the process that runs them, if any belongs to a suite."""
    if "eventserver_core.testing.contracts" not in sys.modules:
        return
    watch = _Watch()
    if any(watch.marks(item) is not None for item in session.items):
        session.config.pluginmanager.register(watch, "eventserver-watch")


class _Watch:
    """Marks the reports of contract tests with the clause that each is about."""

    def marks(self, item: pytest.Item) -> dict[str, Any] | None:
        """Return what is known of a test of a suite, or None where it is of none."""
        from eventserver_core.testing.contracts.suites import suite_of

        kind, name = getattr(item, "cls", None), getattr(item, "originalname", None)
        if not isinstance(kind, type) or not isinstance(name, str):
            return None
        suite = suite_of(kind, name) if name.startswith("test_") else None
        if suite is None:
            return None
        own = vars(suite.contract)
        return {
            "class": item.nodeid.rpartition("::")[0],
            "suite": suite.contract.__name__,
            "test": name,
            "replaced": [
                test
                for test, function in own.items()
                if test.startswith("test_") and getattr(kind, test, None) is not function
            ],
        }

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Mark a report; the clause goes with what is printed of a failure, too."""
        from eventserver_core.testing.contracts.suites import clauses_of, suite_named

        report = yield
        if (mark := self.marks(item)) is not None:
            suite = suite_named(mark["suite"])
            if report.failed:
                clause = clauses_of(suite)[mark["test"]]
                report.sections.append(("the clause that is broken", str(clause)))
            setattr(report, _MARK, mark | _backend_of(item, suite.role))
        return report


def _backend_of(item: pytest.Item, role: str) -> dict[str, Any]:
    """Return the class of a test's backend, and which abilities it has."""
    from eventserver_core.plugins import ABILITIES

    backend = getattr(item, "funcargs", {}).get("backend")
    if backend is None:
        return {}
    had = {ability.__name__: isinstance(backend, ability) for ability in ABILITIES[role]}
    return {"backend": type(backend).__name__, "abilities": had}


@dataclass
class _Outcome:
    """What came of a clause, over all of a test's parameters."""

    outcome: str = "passed"
    reason: str | None = None
    seconds: float = 0.0

    def add(self, outcome: str, reason: str | None) -> None:
        """Take one more result; the worst one counts."""
        if _WORST_LAST.index(outcome) > _WORST_LAST.index(self.outcome):
            self.outcome, self.reason = outcome, reason


@dataclass
class _Run:
    """What came of a suite in one class."""

    mark: dict[str, Any]
    suite: Suite
    outcomes: dict[str, _Outcome] = field(default_factory=dict)
    backend: str | None = None
    abilities: dict[str, bool] = field(default_factory=dict)

    def of(self, test: str) -> _Outcome:
        """Return what came of a test, which may not have been run."""
        if test in self.mark["replaced"]:
            return _Outcome("left out", "replaced by the subclass")
        missing = _Outcome("left out", "not run: not selected, or the run was stopped before")
        return self.outcomes.get(test, missing)

    def described(self) -> dict[str, Any]:
        """Return it as it stands in the report."""
        from eventserver_core.testing.contracts.suites import clauses_of

        clauses = [
            {
                "test": test,
                "source": clause.source,
                "clause": clause.text,
                "outcome": self.of(test).outcome.replace(" ", "_"),
                "reason": self.of(test).reason,
                "seconds": round(self.of(test).seconds, 3),
            }
            for test, clause in clauses_of(self.suite).items()
        ]
        return {
            "class": self.mark["class"],
            "suite": self.mark["suite"],
            "role": self.suite.role,
            "protocols": [protocol.__name__ for protocol in self.suite.protocols],
            "backend": self.backend,
            **_counts(clauses),
            "clauses": clauses,
        }


class _Account:
    """Collects the marked reports, from this process or from those of pytest-xdist."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._runs: dict[tuple[str, str], _Run] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a report in, if it was marked."""
        mark = getattr(report, _MARK, None)
        if mark is None:
            return
        from eventserver_core.testing.contracts.suites import suite_named

        key = (mark["class"], mark["suite"])
        run = self._runs.setdefault(key, _Run(mark, suite_named(mark["suite"])))
        run.backend = mark.get("backend", run.backend)
        run.abilities.update(mark.get("abilities", {}))
        outcome = run.outcomes.setdefault(mark["test"], _Outcome())
        outcome.seconds += report.duration
        if report.failed:
            outcome.add("failed", _first_line(report))
        elif report.skipped:
            outcome.add("left out", _why_skipped(report))

    def pytest_sessionfinish(self) -> None:
        """Write the report, if one is wanted."""
        if self._path is not None:
            text = json.dumps(self.described(), indent=2)
            Path(self._path).write_text(text + "\n", encoding="utf-8")

    def described(self) -> dict[str, Any]:
        """Return everything as it stands in the report."""
        from eventserver_core.hookspecs import INTERFACE

        suites = [run.described() for run in self._runs.values()]
        return {
            "format": FORMAT,
            "core": {"version": version("eventserver-core"), "interface": INTERFACE},
            **_counts([clause for suite in suites for clause in suite["clauses"]]),
            "suites": suites,
            "abilities": list(self._abilities()),
        }

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print what came of each clause."""
        if not self._runs:
            if self._path is not None:
                terminalreporter.write_line(f"{self._path}: no contract suite ran", yellow=True)
            return
        terminalreporter.section("contracts of EventServer")
        few = len(self._runs) <= _FEW_SUITES and terminalreporter.verbosity >= 0
        everything = few or terminalreporter.verbosity > 0
        for run in self._runs.values():
            self._print(terminalreporter, run.described(), everything=everything)
        for ability in self._abilities():
            if not ability["tested"]:
                line = f"{ability['backend']}: {ability['ability']} left out: {ability['reason']}"
                terminalreporter.write_line(line, yellow=ability["had"])
        if not everything:
            terminalreporter.write_line("(with -v the clauses that passed are listed, too)")

    @staticmethod
    def _print(terminal: Any, run: dict[str, Any], *, everything: bool) -> None:
        counts = f"{run['passed']} passed, {run['failed']} failed, {run['left_out']} left out"
        terminal.write_line(f"{run['class']} ({run['suite']}): {counts}", bold=True)
        for clause in run["clauses"]:
            outcome = clause["outcome"].replace("_", " ")
            if outcome == "passed" and not everything:
                continue
            terminal.write(f"  {outcome:<9}", **{_COLORS[outcome]: True})
            terminal.write_line(f" {clause['source']}: {clause['clause']} [{clause['test']}]")
            if clause["reason"]:
                terminal.write_line(f"{'':12}{clause['reason']}")

    def _abilities(self) -> Iterator[dict[str, Any]]:
        """Tell of each backend's abilities which it has and which were tested."""
        from eventserver_core.testing.contracts.suites import SUITES

        suites = {suite.protocols[0].__name__: suite.contract.__name__ for suite in SUITES}
        tested = {(run.backend, run.mark["suite"]) for run in self._runs.values()}
        known = {
            (run.backend, run.suite.role, ability): had
            for run in self._runs.values()
            for ability, had in run.abilities.items()
        }
        for (backend, role, ability), had in known.items():
            suite = suites.get(ability)
            ran = (backend, suite) in tested
            if ran:
                reason = None
            elif not had:
                reason = "it doesn't have this ability"
            elif suite is None:
                reason = "it has this ability, for which there is no suite"
            else:
                reason = f"it has this ability, but no subclass of {suite} ran"
            yield {
                "backend": backend,
                "role": role,
                "ability": ability,
                "had": had,
                "suite": suite,
                "tested": ran,
                "reason": reason,
            }


def _counts(clauses: list[dict[str, Any]]) -> dict[str, int]:
    found = [clause["outcome"] for clause in clauses]
    return {name: found.count(name) for name in ("passed", "failed", "left_out")}


def _first_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return text.strip().partition("\n")[0]


def _why_skipped(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"expected to fail: {report.wasxfail}".removesuffix(": ")
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].replace("Skipped: ", "skipped: ", 1)
    return "skipped"
