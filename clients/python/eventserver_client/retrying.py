"""When a call is tried again: on 503, 408 and 504, on lost connections, and after a 429."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from eventserver_client.errors import AnswerLostError, RateLimitedError, UnavailableError

_T = TypeVar("_T")
_DIGITS = 9
"""Of seconds in a ``Retry-After``; more is longer than anybody waits."""
_FOREVER = 10.0**_DIGITS


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patiently a call is tried.

    Attributes:
        deadline: seconds from the first try on, after which no other one begins and any that
            is under way ends; large content that is sent or fetched fast enough may go on.
        first_wait: seconds of the first backoff at most; each next one may be twice as long.
        longest_wait: seconds of any backoff at most. What the server asks for counts besides.
        most_tries: how often it is tried at most.
    """

    deadline: float = 90.0
    first_wait: float = 0.5
    longest_wait: float = 20.0
    most_tries: int = 10

    def run(self, attempt: Callable[[], _T]) -> _T:
        """Return what the first try that succeeds returns.

        Raises:
            EventServerError: the last try's, or the first that isn't worth another.
        """
        retrying = Retrying(
            retry=retry_if_exception(_is_passing),
            # with all of its range as jitter: callers that failed together come back apart
            wait=_Wait(self.first_wait, self.longest_wait),
            stop=stop_before_delay(self.deadline) | stop_after_attempt(self.most_tries),
            reraise=True,
        )
        return retrying(attempt)


class _Wait:
    """A backoff, or what the server asked for and a little more."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._backoff = wait_random_exponential(multiplier=first, max=longest)

    def __call__(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None)
        if asked is None:
            return self._backoff(state)
        return float(asked) + random.uniform(0, self._first)  # noqa: S311 - no secret


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, AnswerLostError):
        return False
    return isinstance(error, UnavailableError | RateLimitedError)


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` (RFC 9110, section 10.2.3) asks for.

    Returns:
        None where there is none, or nothing that makes sense.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _DIGITS else _FOREVER
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
