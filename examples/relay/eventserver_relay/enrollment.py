"""The enrolment document: what an admin gives a new relay."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path


class IdentityError(Exception):
    """The relay can't be who it should be; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Enrollment:
    """Where to enrol, as whom, and a token that works once."""

    server_url: str
    relay_id: str
    token: str = field(repr=False)
    root_certificate: str

    @property
    def token_digest_hex(self) -> str:
        """SHA-256 of the token: which one it was, and not what it was."""
        return hashlib.sha256(self.token.encode()).hexdigest()

    @classmethod
    def read(cls, path: Path) -> Enrollment:
        """Read the enrolment document.

        Raises:
            IdentityError: there is none, or something lacks.
        """
        try:
            found = json.loads(path.read_text("utf-8"))
            return cls(
                str(found["serverUrl"]),
                str(found["relayId"]),
                str(found["token"]),
                str(found.get("rootCertificate") or ""),
            )
        except OSError as ex:
            raise IdentityError(f"the enrolment document can't be read: {ex.strerror}") from ex
        except (ValueError, KeyError, TypeError, AttributeError) as ex:
            raise IdentityError(f"{path.name} is no enrolment document") from ex
