"""The section ``ratelimit``."""

from __future__ import annotations

from collections.abc import Callable

from eventserver_core.settings import Section, one_of, option

LOCAL = "local"
OPEN = "open"
CLOSED = "closed"

MAX_TIMEOUT = 0.05


def _number_up_to(high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = float(text)
        if not 0 < number <= high:
            raise ValueError(f"not over 0 and up to {high:g}")
        return number

    return parse


class RateLimitSettings(Section, name="ratelimit"):
    """What happens while calls can't be counted in Redis."""

    on_failure: str = option(
        LOCAL,
        parser=one_of(LOCAL, OPEN, CLOSED),
        expected="local, open or closed",
        doc="What happens while Redis is away: each process lets a share of the limits through, "
        "or everything is let through, or nothing.",
    )
    local_share: float = option(
        "0.1",
        parser=_number_up_to(1),
        expected="a number over 0 and up to 1",
        doc="The share of each limit that one process lets through while Redis is away, at least "
        "one unit.",
    )
    timeout: float = option(
        "0.05",
        parser=_number_up_to(MAX_TIMEOUT),
        expected="a number of seconds over 0 and up to 0.05",
        doc="How much of a request's time counting may take in all, in seconds.",
    )
