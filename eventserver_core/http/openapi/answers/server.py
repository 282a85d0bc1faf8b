"""What the server says of itself, and of who calls."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from eventserver_core.domain.package import Moment
from eventserver_core.http.openapi.answers import Count


class Backlog(TypedDict):
    """What is in no block yet."""

    backlog: Count
    oldestAgeSeconds: float | None
    failing: bool


class Health(TypedDict):
    """How well the server is, and which of what it depends on answers."""

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: Moment
    services: dict[str, bool]
    version: str
    anchoring: NotRequired[Backlog]


class Readiness(TypedDict):
    """Whether to send requests here."""

    status: Literal["healthy", "degraded", "unhealthy", "draining"]
    timestamp: Moment
    services: dict[str, bool]
    version: str
    anchoring: NotRequired[Backlog]


class Liveness(TypedDict):
    """This process answers."""

    status: Literal["alive"]


class Challenge(TypedDict):
    """A proof of work to be done: the digest must begin with so many zero hex digits."""

    challenge_id: str
    challenge_data: str
    difficulty: Count
    expires_at: Moment


class DeviceCertificate(TypedDict):
    """A device's certificate."""

    token: str


class KeySet(TypedDict):
    """The keys that certificates can be checked with (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]
