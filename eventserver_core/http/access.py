"""Who may call what: each resource lists its methods, and what is not listed is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import falcon

from eventserver_core.backends.auth import Credentials, Role

if TYPE_CHECKING:
    from eventserver_core.http.openapi.operation import Operation


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a method, and how often.

    Attributes:
        roles: whose certificates are let through; none means that anyone is.
        route_class: which limit calls count against: the caller's, or its address's where
            anyone may call; None means that they aren't limited.
        anyone: whether the roles only say who gets more than everybody does.
        counts_lines: whether a call counts as many as its body has lines, which the resource tells
            by ``charge``.
    """

    roles: frozenset[Role] = field(default_factory=frozenset)
    route_class: str | None = None
    anyone: bool = False
    counts_lines: bool = False


ANYONE = Access()
PUBLIC = Access(route_class="public")
CHALLENGED = Access(route_class="challenges")
SENDERS = Access(frozenset({Role.RELAY, Role.DEVICE}), "events")
BATCH_SENDERS = Access(frozenset({Role.RELAY}), "events", counts_lines=True)
HOLDERS = Access(frozenset(Role), "reads")
ADMINS = Access(frozenset({Role.ADMIN}), "admin")
MAYBE_ADMINS = Access(frozenset({Role.ADMIN}), "public", anyone=True)
RELAYS_AND_ADMINS = Access(frozenset({Role.RELAY, Role.ADMIN}), "admin")
ENROLLING = Access(route_class="challenges")
"""What is sent shows who sent it, so guesses are counted by address."""


class Resource:
    """What every resource has.

    Attributes:
        access: who may call each method.
        describes: what each method takes and answers, for the API's description.
    """

    access: Mapping[str, Access]
    describes: Mapping[str, Operation]

    def __init_subclass__(cls) -> None:
        # HEAD is GET without the body (RFC 9110, section 9.3.2), which Falcon leaves out
        if get := getattr(cls, "on_get", None):
            cls.on_head = get  # type: ignore[attr-defined]

    @classmethod
    def access_of(cls, method: str) -> Access | None:
        """Return who may call a method; None is nobody."""
        return cls.access.get("GET" if method == "HEAD" else method)


def caller(req: falcon.Request) -> Credentials:
    """Return who is calling a route that needs a certificate."""
    credentials = req.context.credentials
    assert isinstance(credentials, Credentials)  # noqa: S101 - Authenticate put it there
    return credentials


def charge(req: falcon.Request, calls: int) -> None:
    """Count a request whose access ``counts_lines``, once it is known how many.

    Raises:
        RateLimitedError: the caller has not so many left.
    """
    count = req.context.charge
    # it refers to the request, which would stay with all that was sent until garbage is looked for
    del req.context.charge
    count(calls)


def optional_caller(req: falcon.Request) -> Credentials | None:
    """Return who is calling a route that answers anyone, if that is one of those who get more."""
    credentials = getattr(req.context, "credentials", None)
    access: Access = req.context.access
    return credentials if credentials and credentials.role in access.roles else None
