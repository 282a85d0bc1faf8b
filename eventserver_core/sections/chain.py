"""Which chain, and when something is anchored on it."""

from __future__ import annotations

from eventserver_core.settings import (
    COUNT,
    SECONDS,
    Section,
    option,
    parse_count,
    parse_optional_count,
    parse_seconds,
)


def _short(text: str) -> str:
    if not 1 <= len(text) <= 64:
        raise ValueError("not 1 to 64 characters")
    return text


class BlockchainSettings(Section, name="blockchain"):
    """Which chain, for backends that use one."""

    rpc_url: str = option(
        "",
        secret=True,
        environment_variable="BLOCKCHAIN_RPC_URL",
        doc="The node's JSON-RPC address; never shown, since hosted nodes have a key in it.",
    )
    network: str = option(
        "mainnet",
        parser=_short,
        expected="1 to 64 characters",
        doc="The network's name, as proofs show it.",
    )
    chain_id: int | None = option(
        "", parser=parse_optional_count, expected=COUNT, doc="The chain id the node must have."
    )
    gas_limit: int = option(
        "100000", parser=parse_count, expected=COUNT, doc="The most gas an anchor may use."
    )
    confirmation_blocks: int = option(
        "3", parser=parse_count, expected=COUNT, doc="How many blocks make an anchor confirmed."
    )
    account_key: str = option("", secret=True, doc="The account's private key in hex.")
    account_key_file: str = option("", doc="A file with the account's private key.")
    verify_time_limit: float = option(
        "3",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long a verification may ask the chain before it answers with what was recorded.",
    )
    contract: str = option(
        "", doc="The anchoring contract's address; empty sends a transaction to the account itself."
    )


class AnchoringSettings(Section, name="anchoring"):
    """When events are sealed into a batch, and how the worker goes about it."""

    batch_max_events: int = option(
        "1024", parser=parse_count, expected=COUNT, doc="So many events are sealed at once."
    )
    batch_max_age: float = option(
        "60",
        parser=parse_seconds,
        expected=SECONDS,
        doc="An event waits this long at most to be sealed.",
    )
    poll_interval: float = option(
        "1", parser=parse_seconds, expected=SECONDS, doc="How often the worker looks for work."
    )
    follow_interval: float = option(
        "15",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How often an anchor that is not final yet is looked at.",
    )
    lease_duration: float = option(
        "60",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long a silent worker keeps others out; twice plugins.time_limit at least.",
    )
    retry_max_delay: float = option(
        "300",
        parser=parse_seconds,
        expected=SECONDS,
        doc="The longest pause between two tries to anchor a batch.",
    )
