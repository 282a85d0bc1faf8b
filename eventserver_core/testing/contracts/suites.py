"""Which suite checks which Protocol, and which of its sentences each test is about."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from eventserver_core.backends.auth import (
    AuthBackend,
    ChallengesDevices,
    ChecksSignedPackages,
    IssuesCertificates,
)
from eventserver_core.backends.chain import ChainBackend
from eventserver_core.backends.provisioning import ProvisioningBackend, SweepsMachines
from eventserver_core.backends.ratelimit import RateLimiter
from eventserver_core.backends.storage import StorageBackend, Upload
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


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite, and what it checks.

    Attributes:
        role: the role that it belongs to.
        contract: the class that a plugin's test is a subclass of.
        protocols: the Protocols whose sentences it checks, the backend's own first.
    """

    role: str
    contract: type
    protocols: tuple[type, ...]


SUITES = (
    Suite("auth", AuthContract, (AuthBackend,)),
    Suite("auth", IssuesCertificatesContract, (IssuesCertificates,)),
    Suite("auth", ChallengesDevicesContract, (ChallengesDevices,)),
    Suite("auth", ChecksSignedPackagesContract, (ChecksSignedPackages,)),
    Suite("ratelimit", RateLimiterContract, (RateLimiter,)),
    Suite("storage", StorageContract, (StorageBackend, Upload)),
    Suite("chain", ChainContract, (ChainBackend,)),
    Suite("provisioning", ProvisioningContract, (ProvisioningBackend,)),
    Suite("provisioning", SweepsMachinesContract, (SweepsMachines,)),
)


@dataclass(frozen=True, slots=True)
class Clause:
    """A sentence of a Protocol.

    Attributes:
        source: where it stands, such as ``StorageBackend.put``; the Protocol's name where the
            test says it in words of its own.
        text: the sentence.
    """

    source: str
    text: str

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"


def suite_of(kind: type, test: str) -> Suite | None:
    """Return the suite that a test of a class of tests comes from; None for one of its own."""
    for suite in SUITES:
        if issubclass(kind, suite.contract) and test in vars(suite.contract):
            return suite
    return None


def suite_named(name: str) -> Suite:
    """Return the suite whose class has this name."""
    return next(suite for suite in SUITES if suite.contract.__name__ == name)


def clauses_of(suite: Suite) -> dict[str, Clause]:
    """Return what each test of a suite checks, by the test's name.

    A test's docstring quotes the sentence; what else stands there, in paragraphs of their own,
    says how it is checked.
    """
    sources = list(_sources(suite))
    return {
        name: _clause(member, sources, suite)
        for name, member in vars(suite.contract).items()
        if name.startswith("test_") and inspect.isfunction(member)
    }


def _clause(test: Callable[..., Any], sources: list[tuple[str, str]], suite: Suite) -> Clause:
    paragraphs = [one_line(part) for part in (test.__doc__ or "").split("\n\n")]
    for paragraph in paragraphs:
        for source, text in sources:
            if paragraph and paragraph.removesuffix(".") in text:
                return Clause(source, paragraph)
    return Clause(suite.protocols[0].__name__, paragraphs[0])


def _sources(suite: Suite) -> Iterator[tuple[str, str]]:
    """Return what the suite's Protocols promise, and then what the role's values are."""
    module = sys.modules[suite.protocols[0].__module__]
    others = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and kind.__module__ == module.__name__
        and not getattr(kind, "_is_protocol", False)
    ]
    for kind in dict.fromkeys([*suite.protocols, *others]):
        for name, member in vars(kind).items():
            if inspect.isfunction(member) and member.__doc__:
                yield f"{kind.__name__}.{name}", one_line(member.__doc__)
        yield kind.__name__, one_line(kind.__doc__ or "")


def one_line(text: str) -> str:
    """Return text without its line breaks."""
    return " ".join(text.split())
