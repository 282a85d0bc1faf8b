"""``eventserver ca``"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from eventserver_core.cli.context import CommandContext, pass_command_context

if TYPE_CHECKING:
    from eventserver_core.pki.authority import CertificateAuthority


@click.group("ca")
def command() -> None:
    """Make and look at the authority that relays' TLS certificates come from."""


@command.command("init")
@click.option("--name", default="EventServer", help="What the certificates call the authority.")
@pass_command_context
def init(context: CommandContext, name: str) -> None:
    """Make a root and an issuing certificate, with keys that are encrypted by ca.passphrase.

    Done once: what is there is never overwritten. Every instance needs issuing.key, issuing.crt
    and root.crt; root.key is needed by none and belongs offline.
    """
    from eventserver_core.services.audit import COMMAND_LINE
    from eventserver_core.wiring.authority import (
        authority_directory,
        load_authority,
        make_authority,
    )

    settings = context.configuration.settings
    make_authority(settings, name)
    authority = load_authority(settings)
    context.services.network.audit.record(
        COMMAND_LINE, "authority_made", authority.fingerprint, name=name
    )
    directory = authority_directory(settings)
    click.echo(f"made:         {directory}")
    click.echo(f"root SHA-256: {authority.fingerprint}")
    click.echo(
        f"Move {directory / 'root.key'} to a place that is offline, and keep a copy of "
        "ca.passphrase with it.",
        err=True,
    )


@command.command("renew")
@pass_command_context
def renew(context: CommandContext) -> None:
    """Make another issuing certificate, by root.key, which has to be brought back for this.

    Before the present one ends, or when its key may be known to others. The root stays, so that
    nobody who trusts it has to do anything. Give the new issuing.key and issuing.crt to every
    instance and restart it; relays get certificates of it when they renew theirs. The revocation
    list is of the new one from then on.
    """
    from eventserver_core.services.audit import COMMAND_LINE
    from eventserver_core.wiring.authority import (
        authority_directory,
        load_authority,
        renew_authority,
    )

    settings = context.configuration.settings
    renew_authority(settings)
    told = describe(load_authority(settings))
    context.services.network.audit.record(
        COMMAND_LINE, "authority_renewed", told["rootSha256"], expiresAt=told["issuingExpiresAt"]
    )
    click.echo(f"issuing certificate until: {told['issuingExpiresAt']}")
    click.echo(
        f"Take {authority_directory(settings) / 'root.key'} away again.",
        err=True,
    )


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--pem", is_flag=True, help="Print the root's certificate and nothing else.")
@pass_command_context
def show(context: CommandContext, as_json: bool, pem: bool) -> None:
    """Say what the authority is; exit status 78 where there is none, or it can't be used."""
    from eventserver_core.wiring.authority import authority_directory, load_authority

    settings = context.configuration.settings
    authority = load_authority(settings)
    if pem:
        click.echo(authority.root_pem, nl=False)
        return
    told = {"directory": str(authority_directory(settings)), **describe(authority)}
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    for name, value in told.items():
        click.echo(f"{name + ':':<20}{value}")


def describe(authority: CertificateAuthority) -> dict[str, Any]:
    """Return what an authority is, and when its certificates end."""
    from cryptography import x509

    from eventserver_core.domain.instant import format_rfc3339

    root = x509.load_der_x509_certificate(authority.root_der)
    issuing = x509.load_der_x509_certificate(authority.issuing_der)
    return {
        "root": root.subject.rfc4514_string(),
        "rootSha256": authority.fingerprint,
        "rootExpiresAt": format_rfc3339(root.not_valid_after_utc),
        "issuing": issuing.subject.rfc4514_string(),
        "issuingExpiresAt": format_rfc3339(issuing.not_valid_after_utc),
    }
