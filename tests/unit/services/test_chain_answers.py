"""How often the chain is asked by those who verify."""

from __future__ import annotations

import threading

import pytest

from eventserver_core.db.batches import BatchRecord, BatchRepository
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease
from eventserver_core.services.anchoring import AnchorBatches
from eventserver_core.services.chain_answers import ChainAnswers
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import fill

from .conftest import LIMITS
from .scripted_chain import ScriptedChain

AT_ONCE = 4


class Asked:
    """Counts the questions, and can make them wait."""

    def __init__(self, chain: ScriptedChain) -> None:
        self.count = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.waiting = threading.Semaphore(0)
        chain.before["find"] = self

    def __call__(self) -> None:
        self.count += 1
        self.waiting.release()
        assert self.go_on.wait(30)


@pytest.fixture
def asked(chain: ScriptedChain) -> Asked:
    return Asked(chain)


@pytest.fixture
def answers(chain: ScriptedChain, batches: BatchRepository, clock: ManualClock) -> ChainAnswers:
    return ChainAnswers(chain, batches, clock.now)


@pytest.fixture
def sealed(
    anchoring: AnchorBatches, events: EventRepository, lease: HeldLease, chain: ScriptedChain
) -> list[BatchRecord]:
    """Batches that are in a block."""
    found = []
    fill(events, LIMITS.max_events * (AT_ONCE + 2))
    for _ in range(AT_ONCE + 2):
        batch = anchoring.seal_batch(lease)
        assert batch is not None
        anchoring.anchor_batch(lease, batch)
        found.append(batch)
    chain.make_block()
    return found


def test_an_answer_is_remembered_for_five_seconds(
    sealed: list[BatchRecord], answers: ChainAnswers, asked: Asked, clock: ManualClock
) -> None:
    first = answers.get(sealed[0])
    assert first is not None
    assert first.receipt is not None
    clock.advance(4.9)
    assert answers.get(sealed[0]) is first
    assert asked.count == 1
    clock.advance(0.2)
    again = answers.get(sealed[0])
    assert again is not None
    assert again.asked_at > first.asked_at
    assert asked.count == 2


def test_that_there_is_no_anchor_is_remembered_too(
    sealed: list[BatchRecord], chain: ScriptedChain, answers: ChainAnswers, asked: Asked
) -> None:
    chain.reorganise()
    first = answers.get(sealed[0])
    assert first is not None
    assert first.receipt is None
    assert answers.get(sealed[0]) is first
    assert asked.count == 1


def test_a_chain_that_does_not_answer_is_left_alone_for_a_while(
    sealed: list[BatchRecord],
    chain: ScriptedChain,
    answers: ChainAnswers,
    asked: Asked,
    clock: ManualClock,
) -> None:
    chain.down = True
    assert [answers.get(batch) for batch in sealed] == [None] * len(sealed)
    assert asked.count == 1
    chain.down = False
    clock.advance(5)
    assert all(answers.get(batch) is not None for batch in sealed)


def test_only_so_many_questions_are_asked_at_once(
    sealed: list[BatchRecord], answers: ChainAnswers, asked: Asked
) -> None:
    asked.go_on.clear()
    threads = [threading.Thread(target=answers.get, args=(batch,)) for batch in sealed[:AT_ONCE]]
    for thread in threads:
        thread.start()
    try:
        # the scripted chain answers one at a time: one is in there, the others wait for it
        assert asked.waiting.acquire(timeout=30)
        while answers._turns.acquire(blocking=False):
            answers._turns.release()
        assert answers.get(sealed[-1]) is None
    finally:
        asked.go_on.set()
        for thread in threads:
            thread.join()
    assert answers.get(sealed[-1]) is not None


def test_what_is_remembered_does_not_grow_for_ever(
    sealed: list[BatchRecord],
    chain: ScriptedChain,
    batches: BatchRepository,
    clock: ManualClock,
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eventserver_core.services.chain_answers._REMEMBERED_BATCHES", 2)
    answers = ChainAnswers(chain, batches, clock.now)
    for batch in sealed[:3]:
        answers.get(batch)
    answers.get(sealed[2])
    assert asked.count == 3
    answers.get(sealed[0])
    assert asked.count == 4
