"""The keys that this server's own tokens are signed and checked with."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt import get_algorithm_by_name
from jwt.exceptions import InvalidKeyError

from eventserver_auth_cert.claims import require_object
from eventserver_auth_cert.development_secret import kept_secret
from eventserver_auth_cert.jwk import ed25519_jwk, thumbprint
from eventserver_auth_cert.key_files import load_private_key, load_public_key
from eventserver_auth_cert.settings import AuthSettings
from eventserver_auth_cert.tokens import (
    EDDSA,
    HS256,
    TokenError,
    sign,
    unverified_header,
    verified_content,
)
from eventserver_core.domain.canonical import parse_ijson
from eventserver_core.errors import ConfigurationError, InvalidPackageError
from eventserver_core.sections import ServerSettings
from eventserver_core.settings import DEVELOPMENT, Settings
from eventserver_core.settings.strength import weakness

_log = logging.getLogger(__name__)

CERTIFICATE_TYP: Final = "JWT"
MAX_TOKEN: Final = 8192
"""Characters; a certificate has to fit in a line of an HTTP header."""

_MAKE: Final = "the output of: openssl rand -hex 32"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One key and what it is good for.

    Attributes:
        algorithm: the only one that it is used with.
        material: as PyJWT's algorithm takes it.
        public_jwk: of an Ed25519 key; None for a secret.
    """

    algorithm: str
    material: Any = field(repr=False)
    public_jwk: dict[str, str] | None = None

    @property
    def kid(self) -> str | None:
        """The thumbprint of the public key; a secret has no name."""
        return thumbprint(self.public_jwk) if self.public_jwk else None


def secret_key(secret: str) -> TokenKey:
    """Make a key of a secret.

    Raises:
        InvalidKeyError: it is the text of a public or private key, which is no secret.
    """
    content = secret.encode("utf-8", "surrogatepass")
    return TokenKey(HS256, get_algorithm_by_name(HS256).prepare_key(content))


def ed25519_key(key: Ed25519PrivateKey | Ed25519PublicKey) -> TokenKey:
    """Make a key of an Ed25519 pair, or of its public half."""
    return TokenKey(EDDSA, key, ed25519_jwk(key))


class KeyRing:
    """Signs tokens with one key, and opens those that this or another key signed.

    Args:
        signing: the key to sign with.
        accepted: the keys to check with, which should be ``signing`` and older ones.
    """

    def __init__(self, signing: TokenKey, accepted: Sequence[TokenKey]) -> None:
        self._signing = signing
        self._header = {"kid": signing.kid} if signing.kid else {}
        self._secrets = [key for key in accepted if key.kid is None]
        self._named = {key.kid: key for key in accepted if key.kid is not None}

    def sign(self, claims: dict[str, Any], typ: str = CERTIFICATE_TYP) -> str:
        """Return a token with these claims."""
        key = self._signing
        return sign(claims, key.material, key.algorithm, self._header | {"typ": typ})

    def open(self, token: str, typ: str = CERTIFICATE_TYP) -> dict[str, Any]:
        """Return a token's claims once its signature holds; what they say is not checked.

        Of the token's header only ``kid`` chooses anything, and only among the keys in memory;
        the key then says which algorithm it must be.

        Raises:
            TokenError: no key of ours signed this, or it is for something else.
        """
        if len(token) > MAX_TOKEN:
            raise TokenError(f"longer than {MAX_TOKEN} characters")
        header = unverified_header(token)
        if str(header.get("typ", CERTIFICATE_TYP)).upper() != typ.upper():
            raise TokenError("a token for something else, by its typ")
        content = self._verified(token, header)
        try:
            claims = parse_ijson(content)
        except InvalidPackageError as ex:
            raise TokenError("the claims are not I-JSON") from ex
        return require_object("the claims", claims)

    def public_keys(self) -> dict[str, Any]:
        """Return the JWK set of the keys that are not secrets."""
        return {
            "keys": [
                dict(key.public_jwk or {}) | {"kid": kid, "alg": EDDSA, "use": "sig"}
                for kid, key in self._named.items()
            ]
        }

    def _verified(self, token: str, header: Mapping[str, Any]) -> bytes:
        for key in self._choose(header):
            with contextlib.suppress(TokenError):
                return verified_content(token, key.material, key.algorithm)
        raise TokenError("altered, or not signed by a key that is accepted here")

    def _choose(self, header: Mapping[str, Any]) -> Sequence[TokenKey]:
        if "kid" not in header:
            return self._secrets
        kid = header["kid"]
        return [self._named[kid]] if isinstance(kid, str) and kid in self._named else []


def load_keys(settings: Settings) -> KeyRing:
    """Read every key that the settings name.

    Raises:
        ConfigurationError: with every fault; it never holds a key or a secret.
    """
    auth = settings[AuthSettings]
    faults: list[str] = []
    secrets = list(_secrets(settings, faults))
    pairs: list[TokenKey] = []
    try:
        if auth.signing_key_file:
            key = load_private_key("auth.signing_key_file", Path(auth.signing_key_file))
            pairs.append(ed25519_key(key))
    except ConfigurationError as ex:
        faults += ex.faults
    for path in auth.verification_key_files:
        try:
            pairs.append(ed25519_key(load_public_key("auth.verification_key_files", Path(path))))
        except ConfigurationError as ex:
            faults += ex.faults
    if not auth.jwt_secret and not auth.signing_key_file:
        if settings.environment != DEVELOPMENT:
            faults.append(
                f"auth.jwt_secret: missing, and it is made in {DEVELOPMENT} only; set JWT_SECRET "
                f"to {_MAKE}, or set auth.signing_key_file"
            )
        elif not faults:
            secrets.insert(0, secret_key(kept_secret(settings[ServerSettings].data_dir)))
    if faults:
        raise ConfigurationError(faults)
    accepted = [*pairs, *secrets]
    return KeyRing(pairs[0] if auth.signing_key_file else secrets[0], accepted)


def _secrets(settings: Settings, faults: list[str]) -> Iterator[TokenKey]:
    auth = settings[AuthSettings]
    given = [("auth.jwt_secret", auth.jwt_secret)] if auth.jwt_secret else []
    given += [
        (f"auth.previous_jwt_secrets (number {number})", secret)
        for number, secret in enumerate(auth.previous_jwt_secrets, 1)
    ]
    for name, secret in given:
        if fault := weakness(secret):
            if settings.is_production:
                faults.append(f"{name}: it is {fault}; replace it by {_MAKE}")
            else:
                _log.warning("weak_secret_accepted", extra={"setting": name, "weakness": fault})
        try:
            yield secret_key(secret)
        except InvalidKeyError:
            faults.append(
                f"{name}: it is the text of a key, which is no secret; replace it by {_MAKE}"
            )
