"""Answers that the script can't have given: Redis's word is not taken for everything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from eventserver_ratelimit_redis.counting import Counter
from eventserver_ratelimit_redis.trouble import NotCountedError

from eventserver_core.backends.ratelimit import Quota

QUOTA = Quota("default", 10, 60)
EPOCH = 1_700_000_000_000_000
HONEST = [1, 9, 0, 1000, EPOCH, 1, 0]


class Answers:
    """Stands where the connections are, and says what it is told to."""

    def __init__(self, answers: Iterator[Any]) -> None:
        self._answers = answers
        self.asked: list[tuple[Any, ...]] = []

    def ask(self, _deadline: float, *command: Any) -> Any:
        self.asked.append(command)
        return next(self._answers)


def count(answers: Answers) -> Any:
    return counter_of(answers).count(time.monotonic() + 1, QUOTA, "key", 1, 1)


def counter_of(answers: Answers) -> Counter:
    return Counter(answers)  # type: ignore[arg-type]


def test_an_honest_answer_is_taken() -> None:
    assert count(Answers(iter([HONEST]))).decision.remaining == 9


@pytest.mark.parametrize(
    "untrue",
    [
        [1, -5, 0, 1000, EPOCH, 1, 0],
        [1, 9, 0, 10**400, EPOCH, 1, 0],
        [1, 9, 0, 1000, EPOCH * 100, 1, 0],
        [1, 9, 0, 1000, EPOCH, 1],
        [b"1", 9, 0, 1000, EPOCH, 1, 0],
        7,
        None,
        b"OK",
    ],
    ids=str,
)
def test_any_other_is_no_answer(untrue: Any) -> None:
    with pytest.raises(NotCountedError):
        count(Answers(iter([untrue])))


def test_an_epoch_far_ahead_is_not_told_again() -> None:
    answers = Answers(iter([[1, 9, 0, 1000, EPOCH * 100, 1, 0], HONEST]))
    counter = counter_of(answers)
    with pytest.raises(NotCountedError):
        counter.count(time.monotonic() + 1, QUOTA, "key", 1, 1)
    counter.count(time.monotonic() + 1, QUOTA, "key", 1, 1)
    assert answers.asked[-1][-2:] == (0, 0)
