"""``eventserver admin``"""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

import click

from eventserver_core.cli.context import CommandContext, pass_command_context, printable
from eventserver_core.cli.public_key import read_public_key
from eventserver_core.domain.assertion import ASSERTION_TYPE, AUDIENCE, AUTHORIZATION_TYPE
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.keys import public_jwk, thumbprint
from eventserver_core.errors import InvalidInputError

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_AUTHORIZATION_SECONDS = 3600
_ASSERTION_SECONDS = 300


@click.group("admin")
def command() -> None:
    """Let the first admin in, and look after the others."""


@command.command("keygen")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def keygen(path: Path) -> None:
    """Make a key pair: the private key into PATH (PEM), the public one into PATH.jwk.

    The private key stays with its owner; PATH.jwk is what others get. Nothing is overwritten.
    """
    jwk = _make_key(path)
    click.echo(f"private key:  {path}   (keep it, show it to nobody)")
    click.echo(f"public key:   {jwk}   (for admin bootstrap, or for the admin who lets you in)")


@command.command("bootstrap")
@click.option("--name", required=True, help="The admin's name, for people.")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The admin's public key as a JWK; `eventserver admin keygen` makes one.",
)
@click.option("--force", is_flag=True, help="Make one although there is an admin already.")
@click.option("--json", "as_json", is_flag=True, help="Print the admin's id, too, as JSON.")
@pass_command_context
def bootstrap(
    context: CommandContext, name: str, public_key: Path, force: bool, as_json: bool
) -> None:
    """Make the first admin and print its certificate; refuses when there is an admin.

    That it was done, forced or refused is written to the audit trail.
    """
    from eventserver_core.services.identity import require_issuer

    services = context.services
    require_issuer(services.auth)
    key = read_public_key(public_key)
    admin, issued = services.network.admins.bootstrap(name, key, force=force)
    if as_json:
        answer = {
            "adminId": admin.id,
            "certificate": issued.token,
            "certificateId": issued.credentials.certificate_id,
            "certificateExpiresAt": format_rfc3339(issued.credentials.expires_at),
        }
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"admin id: {admin.id}", err=True)
    click.echo(issued.token)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_command_context
def list_(context: CommandContext, as_json: bool) -> None:
    """List the admins, the withdrawn ones too."""
    admins = context.services.network.admins.all()
    if as_json:
        found: list[dict[str, Any]] = [
            {
                "adminId": admin.id,
                "name": admin.name,
                "state": admin.state,
                "thumbprint": admin.thumbprint,
                "authorizedBy": admin.authorized_by,
                "authorizedAt": format_rfc3339(admin.authorized_at),
            }
            for admin in admins
        ]
        click.echo(json.dumps(found, indent=2))
        return
    for admin in admins:
        click.echo(f"{admin.id}  {admin.state:<10} {printable(admin.name)}")


@command.command("withdraw")
@click.argument("admin_id")
@pass_command_context
def withdraw(context: CommandContext, admin_id: str) -> None:
    """End every certificate that an admin holds, for good."""
    from eventserver_core.services.audit import COMMAND_LINE

    context.services.network.admins.withdraw(admin_id, COMMAND_LINE)
    click.echo("withdrawn")


@command.command("authorize")
@click.option("--key", type=_FILE, required=True, help="Your private key, PEM.")
@click.option("--admin-id", required=True, help="Your admin id, as `admin list` tells it.")
@click.option("--name", required=True, help="The new admin's name.")
@click.option("--public-key", type=_FILE, required=True, help="The new admin's key, a JWK.")
def authorize(key: Path, admin_id: str, name: str, public_key: Path) -> None:
    """Print the body for POST /api/v1/admins, which lets another admin in.

    Nothing is asked of a server, and no settings are read: it runs wherever your key is.
    """
    jwk = public_jwk(read_public_key(public_key), signs=True)
    claims = {"iss": admin_id, "sub": thumbprint(jwk), "name": name}
    authorization = _sign(key, AUTHORIZATION_TYPE, claims, _AUTHORIZATION_SECONDS)
    click.echo(json.dumps({"name": name, "publicKey": jwk, "authorization": authorization}))


@command.command("assert")
@click.option("--key", type=_FILE, required=True, help="Your private key, PEM.")
@click.option("--admin-id", required=True, help="Your admin id.")
def assert_(key: Path, admin_id: str) -> None:
    """Print the body for POST /api/v1/admins/ADMIN_ID/certificate, good for one certificate.

    Nothing is asked of a server, and no settings are read: it runs wherever your key is.
    """
    claims = {"iss": admin_id, "sub": admin_id, "jti": secrets.token_hex(16)}
    click.echo(json.dumps({"assertion": _sign(key, ASSERTION_TYPE, claims, _ASSERTION_SECONDS)}))


def _sign(path: Path, type_: str, claims: dict[str, Any], seconds: int) -> str:
    from joserfc import jws
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey

    now = int(time.time())
    content = json.dumps({"aud": AUDIENCE, "iat": now, "exp": now + seconds, **claims})
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    try:
        key = ECKey.import_key(path.read_bytes())
        return jws.serialize_compact(
            {"alg": "ES256", "typ": type_}, content, key, registry=registry
        )
    except (OSError, JoseError, ValueError, TypeError) as ex:
        raise InvalidInputError(
            f"{path}: expected an EC P-256 private key in PEM, as admin keygen makes it"
        ) from ex


def _make_key(path: Path) -> Path:
    from joserfc.jwk import ECKey

    jwk_path = path.with_name(path.name + ".jwk")
    key = ECKey.generate_key("P-256")
    try:
        _write_new(path, key.as_pem(private=True), 0o600)
        public = json.dumps(key.as_dict(private=False), indent=2) + "\n"
        _write_new(jwk_path, public.encode(), 0o644)
    except FileExistsError as ex:
        raise InvalidInputError(f"{ex.filename} is there already, and stays as it is") from ex
    except OSError as ex:
        raise InvalidInputError(f"{ex.filename} cannot be written: {ex.strerror}") from ex
    return jwk_path


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
