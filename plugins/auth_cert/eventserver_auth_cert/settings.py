"""The section ``auth``."""

from __future__ import annotations

from eventserver_core.settings import LIST, Section, option, parse_list


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("empty, or not printable")
    return text


class AuthSettings(Section, name="auth"):
    """What certificates are signed and checked with."""

    jwt_secret: str = option(
        "",
        secret=True,
        environment_variable="JWT_SECRET",
        doc="The secret that certificates are signed with (HS256): at least 32 random bytes.",
    )
    signing_key_file: str = option(
        "",
        doc="An Ed25519 private key in PEM; where it is set, it signs and jwt_secret only checks.",
    )
    verification_key_files: list[str] = option(
        "",
        parser=parse_list,
        expected=LIST,
        doc="Further Ed25519 keys in PEM, public or private, whose certificates are accepted.",
    )
    previous_jwt_secrets: list[str] = option(
        "",
        parser=parse_list,
        expected=LIST,
        secret=True,
        doc="Further secrets whose certificates are accepted; a secret here has no comma.",
    )
    issuer: str = option(
        "eventserver", parser=_name, expected="a name", doc="The claim iss of certificates."
    )
    audience: str = option(
        "eventserver", parser=_name, expected="a name", doc="The claim aud of certificates."
    )
