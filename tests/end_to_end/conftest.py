"""Real processes over one directory, and certificates that they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from eventserver_core.backends.auth import IssuedCertificate, Role
from eventserver_core.testing.server import EventServerProcess
from eventserver_core.wiring import Services, load_configuration, prepare_schema


class Start(Protocol):
    """Starts ``eventserver`` with these arguments, and stops it in the end.

    Settings are keywords, such as ``server__workers=1``.
    """

    def __call__(
        self, *arguments: str, ready: str = "server_started", **settings: object
    ) -> EventServerProcess: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start processes that share the test's directory."""
    with ExitStack() as running:

        def run(
            *arguments: str, ready: str = "server_started", **settings: object
        ) -> EventServerProcess:
            process = EventServerProcess(
                list(arguments), tmp_path, variables(settings), ready_event=ready
            )
            return running.enter_context(process)

        yield run


def variables(settings: dict[str, object]) -> dict[str, str]:
    """Return settings as environment variables."""
    return {f"EVENTSERVER__{name.upper()}": str(value) for name, value in settings.items()}


@pytest.fixture
def issue(tmp_path: Path) -> Iterator[Callable[[Role, str], IssuedCertificate]]:
    """Issue certificates as the command line does, in the data directory of the test."""
    environ = {"EVENTSERVER__SERVER__DATA_DIR": str(tmp_path / "data")}
    services = Services(load_configuration(tmp_path, environ))
    prepare_schema(services.database)

    def make(role: Role, subject: str) -> IssuedCertificate:
        return services.identities.issue(subject, role, timedelta(hours=1))

    yield make
    services.database.close()


@pytest.fixture
def relay(issue: Callable[[Role, str], IssuedCertificate]) -> dict[str, str]:
    """The header of a relay's certificate."""
    return {"Authorization": f"Bearer {issue(Role.RELAY, 'relay-1').token}"}


@pytest.fixture
def admin(issue: Callable[[Role, str], IssuedCertificate]) -> dict[str, str]:
    """The header of an admin's certificate."""
    return {"Authorization": f"Bearer {issue(Role.ADMIN, 'admin-1').token}"}
