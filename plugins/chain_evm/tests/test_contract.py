"""The backend keeps the contract of its role, with the anchoring contract and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eventserver_chain_evm import EvmChain, eventserver_chain_backend

from eventserver_core.backends.chain import ChainBackend, UsesAccount
from eventserver_core.settings import Settings
from eventserver_core.testing.contracts.chain import ChainContract
from eventserver_core.testing.parts import Anvil, free_port


class TestEvmChain(ChainContract):
    @pytest.fixture(params=["contract", "no contract"])
    def backend_factory(
        self,
        anvil: Anvil,
        make_owner: Callable[..., Any],
        make_settings: Callable[..., Settings],
        request: pytest.FixtureRequest,
    ) -> Callable[..., EvmChain]:
        keys = {
            "blockchain__rpc_url": anvil.url,
            "blockchain__account_key": make_owner(anvil).key,
        }
        if request.param == "contract":
            first = eventserver_chain_backend(make_settings(**keys))
            keys["blockchain__contract"] = first.deploy_contract().address

        def make(*, down: bool = False) -> EvmChain:
            url = f"http://127.0.0.1:{free_port()}" if down else anvil.url
            return eventserver_chain_backend(make_settings(**keys | {"blockchain__rpc_url": url}))

        return make

    def test_it_uses_an_account(self, backend: ChainBackend) -> None:
        assert isinstance(backend, UsesAccount)
