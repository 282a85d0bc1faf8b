"""The built-in backends keep the contracts of their roles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eventserver_core.builtin.chain_ledger import FileLedger
from eventserver_core.builtin.provisioning_static import StaticProvisioning
from eventserver_core.builtin.ratelimit_memory import MemoryRateLimiter
from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.testing.clock import Clock
from eventserver_core.testing.contracts.chain import ChainContract, ChainFactory
from eventserver_core.testing.contracts.provisioning import (
    ProvisioningContract,
    ProvisioningFactory,
    SweepsMachinesContract,
)
from eventserver_core.testing.contracts.ratelimit import RateLimiterContract, RateLimiterFactory
from eventserver_core.testing.contracts.storage import StorageContract, StorageFactory


class TestFilesystemStorage(StorageContract):
    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> StorageFactory:
        def make(*, down: bool = False) -> FilesystemStorage:
            storage = FilesystemStorage(tmp_path / "data" / "objects")
            if down:
                (tmp_path / "data").rename(tmp_path / "unmounted")
            return storage

        return make


class TestFileLedger(ChainContract):
    patience = 0.0

    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> ChainFactory:
        def make(*, down: bool = False) -> FileLedger:
            ledger = FileLedger(tmp_path / "data" / "ledger.ndjson")
            if down:
                (tmp_path / "data").rename(tmp_path / "unmounted")
            return ledger

        return make


class TestMemoryRateLimiter(RateLimiterContract):
    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> RateLimiterFactory:
        def make(clock: Clock, *, down: bool = False) -> MemoryRateLimiter:
            path = tmp_path / "ratelimit.bin"
            limiter = MemoryRateLimiter(path, clock=clock)
            if down:
                os.truncate(path, 0)
            return limiter

        return make


class WithStaticProvisioning:
    """Brings the fixtures that the suites of this role ask for."""

    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> ProvisioningFactory:
        addresses = [f"relay-{number}.example:8443" for number in range(4)]

        def make(*, down: bool = False) -> StaticProvisioning:
            provisioning = StaticProvisioning(tmp_path / "data" / "machines.json", addresses)
            if down:
                (tmp_path / "data").rename(tmp_path / "unmounted")
            return provisioning

        return make

    @pytest.fixture
    def another_deployment(self, tmp_path: Path) -> StaticProvisioning:
        return StaticProvisioning(tmp_path / "other" / "machines.json", ["relay-9.example:8443"])


class TestStaticProvisioning(WithStaticProvisioning, ProvisioningContract): ...


class TestStaticProvisioningSweepsMachines(WithStaticProvisioning, SweepsMachinesContract): ...
