"""When Redis is asked again."""

from __future__ import annotations

import pytest
from eventserver_ratelimit_redis.circuit import PAUSE, Circuit, Outage


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(clock)


def test_while_all_is_well_everybody_asks(circuit: Circuit, clock: Clock) -> None:
    assert all(circuit.admits() for _ in range(5))
    assert circuit.succeed(clock.now) is None


def test_after_a_failure_one_call_in_each_pause_tries_again(circuit: Circuit, clock: Clock) -> None:
    assert circuit.fail()
    assert not circuit.admits()
    for _ in range(3):
        clock.now += PAUSE
        assert [circuit.admits() for _ in range(5)] == [True, False, False, False, False]


def test_a_failed_try_is_no_new_outage_and_begins_a_new_pause(
    circuit: Circuit, clock: Clock
) -> None:
    assert circuit.fail()
    clock.now += PAUSE
    assert circuit.admits()
    clock.now += PAUSE / 2
    assert not circuit.fail()
    clock.now += PAUSE / 2
    assert not circuit.admits()
    clock.now += PAUSE / 2
    assert circuit.admits()


def test_a_success_ends_the_outage_and_says_what_it_was(circuit: Circuit, clock: Clock) -> None:
    circuit.fail()
    for _ in range(3):
        circuit.count_bypass()
    clock.now += 2.5
    assert circuit.succeed(clock.now) == Outage(calls=3, seconds=2.5)
    assert circuit.succeed(clock.now) is None
    assert all(circuit.admits() for _ in range(5))


def test_each_outage_has_its_own_account(circuit: Circuit, clock: Clock) -> None:
    for _ in range(2):
        assert circuit.fail()
        circuit.count_bypass()
        clock.now += 1
        assert circuit.succeed(clock.now) == Outage(calls=1, seconds=1.0)


def test_an_answer_to_an_older_question_ends_nothing(circuit: Circuit, clock: Clock) -> None:
    asked_at = clock.now
    clock.now += 0.01
    circuit.fail()
    assert circuit.succeed(asked_at) is None
    assert not circuit.admits()
