"""Every sentence of a Protocol that says MUST is the docstring of a test in its suite."""

from __future__ import annotations

import inspect
import re

import pytest

from eventserver_core.backends import auth, chain, provisioning, ratelimit, storage
from eventserver_core.testing.contracts.auth import AuthContract, IssuesCertificatesContract
from eventserver_core.testing.contracts.auth_devices import (
    ChallengesDevicesContract,
    ChecksSignedPackagesContract,
)
from eventserver_core.testing.contracts.chain import ChainContract
from eventserver_core.testing.contracts.provisioning import (
    ProvisioningContract,
    SweepsMachinesContract,
)
from eventserver_core.testing.contracts.ratelimit import RateLimiterContract
from eventserver_core.testing.contracts.storage import StorageContract

SUITES = {
    auth.AuthBackend: AuthContract,
    auth.IssuesCertificates: IssuesCertificatesContract,
    auth.ChallengesDevices: ChallengesDevicesContract,
    auth.ChecksSignedPackages: ChecksSignedPackagesContract,
    chain.ChainBackend: ChainContract,
    provisioning.ProvisioningBackend: ProvisioningContract,
    provisioning.SweepsMachines: SweepsMachinesContract,
    ratelimit.RateLimiter: RateLimiterContract,
    storage.StorageBackend: StorageContract,
    storage.Upload: StorageContract,
}


def docstrings(kind: type) -> list[str]:
    """Return the docstrings of a class and its own methods, each on one line."""
    members = [kind, *(member for member in vars(kind).values() if inspect.isfunction(member))]
    return [" ".join((member.__doc__ or "").split()) for member in members]


def clauses(protocol: type) -> list[str]:
    """Return the sentences that say MUST."""
    found = [re.findall(r"[^.]*\bMUST\b[^.]*\.", text) for text in docstrings(protocol)]
    return [sentence.strip() for sentences in found for sentence in sentences]


@pytest.mark.parametrize("protocol", SUITES, ids=lambda protocol: protocol.__name__)
def test_every_clause_is_quoted_by_a_test(protocol: type) -> None:
    suite = SUITES[protocol]
    quoted = " ".join(
        " ".join((member.__doc__ or "").split())
        for name, member in vars(suite).items()
        if name.startswith("test_")
    )
    promised = clauses(protocol)
    assert promised
    assert [clause for clause in promised if clause not in quoted] == []


@pytest.mark.parametrize("suite", dict.fromkeys(SUITES.values()), ids=lambda suite: suite.__name__)
def test_every_test_of_a_suite_says_what_it_checks(suite: type) -> None:
    tests = [member for name, member in vars(suite).items() if name.startswith("test_")]
    assert [test.__name__ for test in tests if not test.__doc__] == []
