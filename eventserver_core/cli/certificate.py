"""``eventserver certificate``"""

from __future__ import annotations

import json
import math
from datetime import timedelta
from pathlib import Path

import click

from eventserver_core.backends.auth import Role
from eventserver_core.cli.context import CommandContext, pass_command_context
from eventserver_core.cli.public_key import read_public_key
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.errors import AuthenticationError, PermissionDeniedError
from eventserver_core.services.audit import COMMAND_LINE
from eventserver_core.services.identity import require_issuer

_DEFAULT_HOURS = {Role.RELAY: 24 * 7, Role.ADMIN: 24 * 90}


@click.group("certificate")
def command() -> None:
    """Issue, revoke and read certificates."""


@command.command("issue")
@click.option(
    "--role",
    type=click.Choice([Role.RELAY.value, Role.ADMIN.value]),
    required=True,
    help="What the holder is; a device gets its certificate by a proof of work.",
)
@click.option("--subject", required=True, help="The holder's name, such as relay-1.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True, max=24 * 366 * 10),
    help="How long it holds.  [default: relay a week, admin 90 days]",
)
@click.option(
    "--public-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the holder's public key as a JWK, to bind to the certificate.",
)
@pass_command_context
def issue(
    context: CommandContext, role: str, subject: str, hours: float | None, public_key: Path | None
) -> None:
    """Print a certificate, and nothing else. Whoever has it is the holder: keep it secret."""
    if hours is not None and math.isnan(hours):
        raise click.BadParameter("nan is not a number of hours.", param_hint="'--hours'")
    key = read_public_key(public_key) if public_key else None
    services = context.services
    require_issuer(services.auth)
    lifetime = hours or _DEFAULT_HOURS[Role(role)]
    with services.network.audit.changing():
        issued = services.identities.issue(subject, Role(role), timedelta(hours=lifetime), key)
        services.network.audit.record(
            COMMAND_LINE,
            "certificate_issued",
            subject,
            role=role,
            certificateId=issued.credentials.certificate_id,
        )
    click.echo(issued.token)


@command.command("revoke")
@click.argument("jti")
@click.option("--reason", help="Kept with the revocation.")
@pass_command_context
def revoke(context: CommandContext, jti: str, reason: str | None) -> None:
    """Take the certificate with this id back, on every instance at once.

    A relay's TLS certificate, by its serial number, is put on the revocation list.
    """
    first = context.services.network.revocation.revoke(jti, COMMAND_LINE, reason)
    click.echo("revoked" if first else "it was revoked before")


@command.command("show")
@click.argument("token")
@pass_command_context
def show(context: CommandContext, token: str) -> None:
    """Say what a certificate says, and whether it holds. Exit status 1 where it doesn't."""
    try:
        found = context.services.identities.authenticate(token)
    except (AuthenticationError, PermissionDeniedError) as ex:
        click.echo(json.dumps({"valid": False, "code": ex.code, "detail": str(ex)}, indent=2))
        raise SystemExit(1) from ex
    answer = {
        "valid": True,
        "subject": found.subject,
        "role": found.role.value,
        "jti": found.certificate_id,
        "issuedAt": format_rfc3339(found.issued_at),
        "expiresAt": format_rfc3339(found.expires_at),
        "publicKey": found.public_key,
    }
    click.echo(json.dumps(answer, indent=2))
