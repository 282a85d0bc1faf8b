"""Proofs of work, without a memory: the challenge itself says what was asked, and is signed."""

from __future__ import annotations

import base64
import secrets
import uuid
from datetime import datetime, timedelta
from typing import Final

from eventserver_auth_cert.claims import moment, require, text
from eventserver_auth_cert.keys import KeyRing
from eventserver_auth_cert.tokens import TokenError
from eventserver_core.backends.auth import Challenge, Solution, SolvedChallenge
from eventserver_core.domain.digest import sha256
from eventserver_core.domain.instant import from_milliseconds
from eventserver_core.errors import InvalidSolutionError

LIFETIME: Final = timedelta(minutes=10)
TYP: Final = "pow+jwt"

_MAX_DIFFICULTY: Final = 64
_NONCES: Final = 2**64


class Challenges:
    """Makes challenges, and checks what was found.

    Args:
        keys: what they are signed with.
        issuer: the claim ``iss``.
        audience: of certificates; a challenge's own is another, so that neither passes as the
            other.
        difficulty: how many zero hex digits are asked for.
    """

    def __init__(self, keys: KeyRing, issuer: str, audience: str, difficulty: int) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = f"{audience}/pow"
        self._difficulty = difficulty

    def make(self, now: datetime) -> Challenge:
        """Make a challenge."""
        challenge_data = base64.b64encode(secrets.token_bytes(32)).decode()
        issued = int(now.timestamp())
        expires = issued + int(LIFETIME.total_seconds())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "jti": uuid.uuid4().hex,
            "chd": challenge_data,
            "dif": self._difficulty,
            "iat": issued,
            "exp": expires,
        }
        return Challenge(
            challenge_id=self._keys.sign(claims, TYP),
            challenge_data=challenge_data,
            difficulty=self._difficulty,
            expires_at=from_milliseconds(expires * 1000),
        )

    def check(self, solution: Solution, now: datetime) -> SolvedChallenge:
        """Check a solution.

        The difficulty that counts is the one that was signed: where the setting was raised a
        moment ago, what was asked before is still good for the ten minutes that it lives, and
        nobody but this server can have asked for less.

        Raises:
            InvalidSolutionError: it doesn't hold; the message says why.
        """
        try:
            claims = self._keys.open(solution.challenge_id, TYP)
            require(claims, iss=self._issuer, aud=self._audience)
            key, challenge_data = text(claims, "jti"), text(claims, "chd")
            expires_at = moment(claims, "exp")
        except TokenError as ex:
            raise InvalidSolutionError(f"the challenge is not one of this server's: {ex}") from ex
        difficulty = claims.get("dif")
        if type(difficulty) is not int or not 0 < difficulty <= _MAX_DIFFICULTY:
            raise InvalidSolutionError("the challenge is not one of this server's: no difficulty")
        if now >= expires_at:
            raise InvalidSolutionError("the challenge is out of date; ask for another")
        if type(solution.nonce) is not int or not 0 <= solution.nonce < _NONCES:
            raise InvalidSolutionError("the nonce is not an unsigned 64-bit number")
        digest = sha256(challenge_data.encode() + solution.nonce.to_bytes(8, "little"))
        if digest != solution.digest:
            raise InvalidSolutionError("the hash is not the one of this challenge and this nonce")
        if not digest.hex().startswith("0" * difficulty):
            raise InvalidSolutionError(f"the hash does not begin with {difficulty} zero hex digits")
        return SolvedChallenge(key, expires_at)
