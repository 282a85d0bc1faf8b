"""From settings to the backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import structlog
from eth_account.signers.local import LocalAccount
from eth_utils.address import is_checksum_formatted_address, is_hex_address, to_checksum_address

from eventserver_chain_evm.account import load_account
from eventserver_chain_evm.backend import EvmChain
from eventserver_chain_evm.fees import FeePolicy
from eventserver_chain_evm.finality import Finality
from eventserver_chain_evm.node import Connection, is_http_address
from eventserver_chain_evm.settings import EvmSettings
from eventserver_chain_evm.terms import Terms
from eventserver_core.domain.instant import now
from eventserver_core.errors import ConfigurationError
from eventserver_core.sections import BlockchainSettings, PluginSettings
from eventserver_core.settings import Settings

_log = structlog.get_logger(__name__)

_SHARE = 0.8
"""So much of a call's time limit is used, so that a slow node is reported by its own error."""


def chain_from_settings(settings: Settings, clock: Callable[[], datetime] = now) -> EvmChain:
    """Make the backend.

    Raises:
        ConfigurationError: something can't be used; with every fault.
    """
    chain, options = settings[BlockchainSettings], settings[EvmSettings]
    faults = list(_faults(chain))
    key: LocalAccount | None = None
    try:
        key = load_account(settings)
    except ConfigurationError as ex:
        faults += ex.faults
    if faults:
        raise ConfigurationError(faults)
    if key is not None and options.daily_budget is None:
        _log.warning("daily_budget_not_set", account=str(key.address), setting="evm.daily_budget")
    terms = Terms(
        contract=to_checksum_address(chain.contract) if chain.contract else None,
        gas_limit=chain.gas_limit,
        replace_after_blocks=options.replace_after_blocks,
        daily_budget=options.daily_budget_wei,
        fees=FeePolicy(options.max_fee, options.max_priority_fee),
        finality=Finality(options.finality, chain.confirmation_blocks),
    )
    connection = Connection(chain.rpc_url, options.request_timeout)
    seconds = settings[PluginSettings].time_limit_of("chain") * _SHARE
    return EvmChain(connection, chain.network, chain.chain_id, terms, key, seconds, clock)


def _faults(chain: BlockchainSettings) -> Iterator[str]:
    if not is_http_address(chain.rpc_url):
        yield (
            "blockchain.rpc_url: expected the http:// or https:// address of an Ethereum node; "
            "BLOCKCHAIN_RPC_URL in the environment works too"
        )
    if chain.contract and not _is_address(chain.contract):
        yield "blockchain.contract: expected an address, 0x and 40 hex digits in right checksum"


def _is_address(text: str) -> bool:
    if not text.startswith("0x") or not is_hex_address(text):
        return False
    # a single case has no checksum; a mixed one must have the right one (EIP-55)
    return not is_checksum_formatted_address(text) or text == to_checksum_address(text)
