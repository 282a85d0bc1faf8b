"""``eventserver chain``"""

from __future__ import annotations

import json
from dataclasses import asdict
from decimal import Decimal

import click

from eventserver_core.backends.chain import AccountStatus, UsesAccount
from eventserver_core.cli.context import CommandContext, pass_command_context
from eventserver_core.errors import ConfigurationError

_WEI_IN_ETHER = 10**18
_STATUS_SECONDS = 30.0
_DEPLOY_SECONDS = 120.0
"""Some chains make a block every twelve seconds, and not every one takes a transaction."""


@click.group("chain")
def command() -> None:
    """Look after the account that anchors, on chains that have one."""


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; amounts are in wei.")
@pass_command_context
def status(context: CommandContext, as_json: bool) -> None:
    """Say what the account has, how many anchors that pays for, and how the chain is."""
    found = _backend(context).account_status()
    if as_json:
        click.echo(json.dumps(asdict(found) | {"anchors": found.anchors}, indent=2))
        return
    for name, value in _lines(found):
        click.echo(f"{name + ':':<22}{value}")


@command.command("deploy")
@click.option("--yes", is_flag=True, help="Don't ask whether to go ahead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_command_context
def deploy(context: CommandContext, yes: bool, as_json: bool) -> None:
    """Put the anchoring contract on the chain; the account pays for it, once.

    The contract keeps nothing and belongs to nobody; any number of servers may use the same one.
    Stop the workers that use the account first, or they may have to send a transaction again.
    """
    backend = _backend(context)
    if not yes:
        found = backend.account_status()
        balance = _ether(found.balance)
        click.confirm(
            f"Deploy from {found.account} ({balance}) on chain {found.chain_id}?",
            abort=True,
            err=True,
        )
    deployed = _backend(context, _DEPLOY_SECONDS).deploy_contract()
    if as_json:
        click.echo(json.dumps(asdict(deployed), indent=2))
        return
    click.echo(f"contract:             {deployed.address}")
    click.echo(f"transaction:          {deployed.transaction_hash}")
    click.echo(f"block:                {deployed.block_number}")
    click.echo(f"gas used:             {deployed.gas_used}")
    click.echo(f'To use it, set blockchain.contract = "{deployed.address}"', err=True)


def _backend(context: CommandContext, seconds: float = _STATUS_SECONDS) -> UsesAccount:
    from eventserver_core.wiring import Services

    services = Services(context.configuration)
    chain = services.chain_within(seconds)
    if not isinstance(chain, UsesAccount):
        name = services.plugins.chosen["chain"]
        raise ConfigurationError(f"plugins.chain = {name}: this chain has no account to look after")
    return chain


def _lines(found: AccountStatus) -> list[tuple[str, str]]:
    lag = "-" if found.finalized is None else f"{found.head - found.finalized} blocks behind"
    anchors = "-" if found.anchors is None else f"{found.anchors}"
    return [
        ("network", found.network),
        ("chain id", str(found.chain_id)),
        ("head", str(found.head)),
        ("finalized", "-" if found.finalized is None else f"{found.finalized} ({lag})"),
        ("account", found.account or "- (no key is set)"),
        ("balance", _ether(found.balance)),
        ("an anchor costs up to", _ether(found.anchor_cost)),
        ("pays for anchors", anchors),
        ("contract", found.contract or "- (the data of a transaction to itself)"),
    ]


def _ether(wei: int | None) -> str:
    if wei is None:
        return "-"
    return f"{(Decimal(wei) / _WEI_IN_ETHER).normalize():f} ether"
