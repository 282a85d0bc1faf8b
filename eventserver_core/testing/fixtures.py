"""Fixtures with real servers, one of each for a whole run of pytest.

Load them with ``pytest_plugins = ["eventserver_core.testing.fixtures"]``. A part that isn't
installed fails the tests that want it. Whoever stops, pauses or reconfigures one starts another
one of its own, by the classes in ``eventserver_core.testing.parts``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventserver_core.testing.parts import Anvil, Moto, PostgreSQL, SeaweedFS, Valkey

_PARTS = frozenset({"postgresql", "valkey", "seaweedfs", "anvil", "moto"})


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker that these fixtures give."""
    config.addinivalue_line("markers", "real: needs a real server, which the test starts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses one of these fixtures."""
    for item in items:
        if _PARTS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """Return a PostgreSQL; make a database of your own in it."""
    with PostgreSQL(tmp_path_factory.mktemp("postgresql")) as part:
        yield part


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Return a Valkey; use keys of your own in it."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as part:
        yield part


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """Return a SeaweedFS; make a bucket of your own in it."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as part:
        yield part


@pytest.fixture(scope="session")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    """Return an Anvil that makes a block a second; use an account of your own on it."""
    with Anvil(tmp_path_factory.mktemp("anvil")) as part:
        yield part


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """Return a Moto; use a deployment of your own on it."""
    with Moto(tmp_path_factory.mktemp("moto")) as part:
        yield part
