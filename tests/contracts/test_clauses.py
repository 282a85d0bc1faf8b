"""Every sentence of a Protocol that says MUST is the docstring of a test in its suite."""

from __future__ import annotations

import inspect
import re

import pytest

from eventserver_core.plugins import ABILITIES, PROTOCOLS
from eventserver_core.testing.contracts.suites import SUITES, Suite, clauses_of

PROMISES = [(protocol, suite) for suite in SUITES for protocol in suite.protocols]
WITHOUT_A_SUITE = {"AnswersPromptly", "DependsOnService", "RetainsObjects", "UsesAccount"}
"""Abilities that promise nothing that a test could not only ask of a real service, or of time."""


def docstrings(kind: type) -> list[str]:
    """Return the docstrings of a class and its own methods, each on one line."""
    members = [kind, *(member for member in vars(kind).values() if inspect.isfunction(member))]
    return [" ".join((member.__doc__ or "").split()) for member in members]


def clauses(protocol: type) -> list[str]:
    """Return the sentences that say MUST."""
    found = [re.findall(r"[^.]*\bMUST\b[^.]*\.", text) for text in docstrings(protocol)]
    return [sentence.strip() for sentences in found for sentence in sentences]


@pytest.mark.parametrize(
    ("protocol", "suite"), PROMISES, ids=[protocol.__name__ for protocol, _ in PROMISES]
)
def test_every_clause_is_quoted_by_a_test(protocol: type, suite: Suite) -> None:
    quoted = " ".join(
        " ".join((member.__doc__ or "").split())
        for name, member in vars(suite.contract).items()
        if name.startswith("test_")
    )
    promised = clauses(protocol)
    assert promised
    assert [clause for clause in promised if clause not in quoted] == []


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.contract.__name__)
def test_every_test_of_a_suite_says_what_it_checks(suite: Suite) -> None:
    tests = [member for name, member in vars(suite.contract).items() if name.startswith("test_")]
    assert [test.__name__ for test in tests if not test.__doc__] == []


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.contract.__name__)
def test_every_test_of_a_suite_has_a_clause_for_the_report(suite: Suite) -> None:
    found = clauses_of(suite)
    assert list(found) == [name for name in vars(suite.contract) if name.startswith("test_")]
    assert all(clause.text for clause in found.values())
    # at least half quote the Protocol word for word, and are told with the method they are about
    known = [clause for clause in found.values() if "." in clause.source]
    assert len(known) >= len(found) / 2


def test_a_clause_is_told_by_the_method_that_promises_it() -> None:
    storage = next(suite for suite in SUITES if suite.role == "storage")
    found = {name: str(clause) for name, clause in clauses_of(storage).items()}
    assert found["test_a_put_is_durable_on_return"] == (
        "StorageBackend.put: A put MUST be durable on return."
    )
    assert found["test_an_upload_takes_little_memory"] == (
        "Upload.write: Take the next bytes; memory MUST stay flat however many come."
    )


def test_every_role_and_ability_has_a_suite() -> None:
    wanted = {*PROTOCOLS.values(), *(kind for kinds in ABILITIES.values() for kind in kinds)}
    missing = wanted - {protocol for protocol, _ in PROMISES}
    assert {protocol.__name__ for protocol in missing} == WITHOUT_A_SUITE
    assert not [promise for protocol in missing for promise in clauses(protocol)]
