"""How well a relay is, as it says itself when it is asked."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from eventserver_core.domain.canonical import parse_ijson
from eventserver_core.domain.instant import now
from eventserver_core.domain.network_address import IPNetwork, NetworkAddress
from eventserver_core.errors import InvalidPackageError
from eventserver_core.services.safe_calls import (
    Answer,
    CallFailedError,
    Deadline,
    get,
    safe_addresses,
)

_PATH = "/health"
_MEMBERS = (
    "status",
    "relayId",
    "queued",
    "oldestQueuedSeconds",
    "certificateExpiresAt",
    "version",
    "timestamp",
)
_MAX_MEMBER_LENGTH = 100


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What was found.

    Attributes:
        healthy: whether the relay answered, over TLS that holds, that it is.
        checked_at: when it was asked.
        latency_ms: from connecting to the answer's end; None where there was none.
        address_called: the IP address and port; None where nothing was connected to.
        detail: a sentence for an admin.
        answer: those of a relay's own words that are known, short and of a simple type; None
            where it didn't answer with a JSON object.
    """

    healthy: bool
    checked_at: datetime
    latency_ms: int | None
    address_called: str | None
    detail: str
    answer: Mapping[str, str | int | float | bool | None] | None


class CheckRelayHealth:
    """Asks relays, at addresses that may be called and nowhere else.

    Args:
        allowed_networks: may be called though they are not public.
        root_pem: returns the one root that relays' TLS certificates must lead to, as PEM text;
            None while there is none.
        time_limit: seconds that one check may take, everything in it.
        clock: tells the time.
    """

    def __init__(
        self,
        allowed_networks: Sequence[IPNetwork],
        root_pem: Callable[[], str | None],
        time_limit: float,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._allowed_networks = tuple(allowed_networks)
        self._root_pem = root_pem
        self._time_limit = time_limit
        self._clock = clock

    def check(self, address: NetworkAddress) -> HealthReport:
        """Ask a relay; that it doesn't answer, or wrongly, is an answer too.

        Raises:
            AddressNotAllowedError: the address, or one that it resolves to, must not be called.
        """
        checked_at = self._clock()
        try:
            answer = self._ask(address)
        except CallFailedError as ex:
            called = str(ex.called) if ex.called else None
            return HealthReport(False, checked_at, None, called, _sentence(str(ex)), None)
        told, detail = _read(answer)
        return HealthReport(
            told is not None and told.get("status") == "healthy",
            checked_at,
            round(answer.seconds * 1000),
            str(answer.called),
            _sentence(detail),
            told,
        )

    def _ask(self, address: NetworkAddress) -> Answer:
        deadline = Deadline(self._time_limit)
        ips = safe_addresses(address, self._allowed_networks, deadline)
        root_pem = self._root_pem()
        if root_pem is None:
            raise CallFailedError("there is no root yet that its certificate could lead to")
        return get(address, _PATH, ips, _context(root_pem), deadline)


def _context(root_pem: str) -> ssl.SSLContext:
    # not create_default_context: with it SSLKEYLOGFILE is obeyed
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # a relay's common name is its id, which is no host (RFC 9525)
    context.hostname_checks_common_name = False
    context.load_verify_locations(cadata=root_pem)
    return context


def _read(answer: Answer) -> tuple[dict[str, str | int | float | bool | None] | None, str]:
    """Return what a relay says, as far as it is known, and a word on it."""
    if answer.status != 200:
        return None, f"it answered with status {answer.status}"
    try:
        members = parse_ijson(answer.body)
    except InvalidPackageError:
        return None, "its answer is not JSON"
    if not isinstance(members, dict):
        return None, "its answer is not a JSON object"
    told = {name: members[name] for name in _MEMBERS if _is_plain(members.get(name, ()))}
    if told.get("status") == "healthy":
        return told, "it says that it is healthy"
    return told, "it doesn't say that it is healthy"


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_MEMBER_LENGTH and value.isprintable()
    return value is None or isinstance(value, bool | int | float)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
