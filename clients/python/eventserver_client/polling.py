"""Asks again until something has happened, or the time is up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay

_T = TypeVar("_T")
_INTERVAL = 1.0
_SHORTEST = 0.05


def poll(ask: Callable[[], tuple[_T | None, float | None]], timeout: float) -> _T | None:
    """Ask until there is an answer.

    Args:
        ask: returns the answer, and the seconds to wait where there is none.
        timeout: seconds, after which it is asked for the last time.

    Returns:
        None where there was none in time.
    """

    def wait(state: RetryCallState) -> float:
        _, asked = state.outcome.result() if state.outcome else (None, None)
        left = timeout - (state.seconds_since_start or 0.0)
        return max(min(_INTERVAL if asked is None else float(asked), left), _SHORTEST)

    retrying = Retrying(
        retry=retry_if_result(lambda found: found[0] is None),
        wait=wait,
        stop=stop_after_delay(timeout),
        retry_error_callback=lambda _state: (None, None),
    )
    return retrying(ask)[0]
