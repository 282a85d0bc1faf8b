"""Whether a hash is on the chain, and who says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from eventserver_core.db.batches import BatchRecord, BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRecord, EventRepository
from eventserver_core.db.leases import HeldLease
from eventserver_core.domain.proof import Verdict, check_proof, verdict
from eventserver_core.errors import BackendContractError, NotFoundError
from eventserver_core.services.anchoring import AnchorBatches
from eventserver_core.services.chain_answers import ChainAnswers
from eventserver_core.services.verification import Verifications
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import fill, new_event

from .conftest import LIMITS
from .scripted_chain import FINAL_DEPTH, ScriptedChain

HASH = new_event(0).digest_hex


@pytest.fixture
def start_anew(
    events: EventRepository, batches: BatchRepository, chain: ScriptedChain, clock: ManualClock
) -> Callable[[], Verifications]:
    """Return what a process has that remembers nothing."""
    answers = ChainAnswers(chain, batches, clock.now)
    return lambda: Verifications(events, batches, answers, clock.now)


@pytest.fixture
def verifications(start_anew: Callable[[], Verifications]) -> Verifications:
    return start_anew()


@pytest.fixture
def batch(anchoring: AnchorBatches, events: EventRepository, lease: HeldLease) -> BatchRecord:
    """A batch whose transaction was published."""
    fill(events, LIMITS.max_events)
    sealed = anchoring.seal_batch(lease)
    assert sealed is not None
    anchoring.anchor_batch(lease, sealed)
    return sealed


@pytest.fixture
def anchored(
    anchoring: AnchorBatches,
    lease: HeldLease,
    chain: ScriptedChain,
    clock: ManualClock,
    batch: BatchRecord,
) -> BatchRecord:
    """A batch that is in a block, and recorded so."""
    chain.make_block()
    clock.advance(60)
    anchoring.anchor_batch(lease, batch)
    return batch


def event(events: EventRepository) -> EventRecord:
    found = events.find(HASH)
    assert found is not None
    return found


class TestVerify:
    def test_a_hash_that_nobody_sent_is_unknown(
        self, verifications: Verifications, clock: ManualClock
    ) -> None:
        found = verifications.verify("0" * 64)
        assert (found.status, found.exists, found.asked_chain) == ("unknown", False, False)
        assert found.verified_at == clock.now()

    def test_an_event_that_waits_exists_on_no_chain(
        self, verifications: Verifications, events: EventRepository
    ) -> None:
        fill(events, 1)
        found = verifications.verify(HASH)
        assert (found.status, found.exists, found.root_hex) == ("stored", False, None)

    def test_a_batched_event_has_a_root_and_exists_on_no_chain(
        self, verifications: Verifications, batch: BatchRecord
    ) -> None:
        found = verifications.verify(HASH)
        assert (found.status, found.exists) == ("batched", False)
        assert found.root_hex == batch.root_hex

    def test_the_chain_is_asked_and_may_know_more_than_what_is_recorded(
        self,
        verifications: Verifications,
        chain: ScriptedChain,
        anchored: BatchRecord,
        clock: ManualClock,
    ) -> None:
        found = verifications.verify(HASH)
        assert (found.status, found.exists, found.asked_chain) == ("anchored", True, True)
        assert found.confirmations == 1
        chain.make_block(FINAL_DEPTH)
        assert verifications.verify(HASH) == found  # it was asked a moment ago
        clock.advance(5)
        later = verifications.verify(HASH)
        assert (later.status, later.confirmations) == ("confirmed", 1 + FINAL_DEPTH)
        assert later.anchor is not None
        assert later.anchor.transaction_hash == chain.published[0].transaction_hash

    def test_with_the_chain_down_it_says_what_is_recorded(
        self,
        verifications: Verifications,
        chain: ScriptedChain,
        anchored: BatchRecord,
        clock: ManualClock,
    ) -> None:
        before = verifications.verify(HASH)
        chain.make_block(FINAL_DEPTH)
        chain.down = True
        clock.advance(5)
        found = verifications.verify(HASH)
        assert not found.asked_chain
        assert found == replace(before, asked_chain=False, verified_at=clock.now())

    def test_an_anchor_that_the_chain_denies_does_not_exist(
        self,
        verifications: Verifications,
        events: EventRepository,
        chain: ScriptedChain,
        anchored: BatchRecord,
    ) -> None:
        chain.reorganise()
        found = verifications.verify(HASH)
        assert (found.exists, found.status, found.asked_chain) == (False, "batched", True)
        assert (found.anchor, found.confirmations) == (None, None)
        assert event(events).status == "anchored"  # to look is not to change

    def test_an_earlier_transaction_may_be_the_one_in_the_block(
        self,
        verifications: Verifications,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        anchored: BatchRecord,
        clock: ManualClock,
    ) -> None:
        rival = replace(chain.published[0], payload=b"outbid", transaction_hash="0x" + "0" * 64)
        batches.add_transaction(lease, anchored.id, rival, clock.now())
        assert verifications.verify(HASH).exists

    def test_a_batch_whose_transactions_are_not_kept_is_looked_up_by_its_root(
        self, database: Database, verifications: Verifications, anchored: BatchRecord
    ) -> None:
        with database.transaction() as peewee:
            peewee.execute_sql("DELETE FROM anchor_transactions")
        found = verifications.verify(HASH)
        assert (found.asked_chain, found.exists) == (True, False)


class TestProofs:
    def test_there_is_none_while_the_event_waits(
        self, verifications: Verifications, events: EventRepository, batch: BatchRecord
    ) -> None:
        assert verifications.proof(event(events)) is None
        pending = verifications.proof_or_pending(event(events))
        assert pending["status"] == "batched"
        assert verdict(check_proof(pending)) is Verdict.PENDING

    @pytest.mark.parametrize("number", range(LIMITS.max_events))
    def test_every_leaf_has_one_that_checks(
        self, verifications: Verifications, anchored: BatchRecord, number: int
    ) -> None:
        found = verifications.event(new_event(number).digest_hex)
        document = verifications.proof(found)
        assert document is not None
        assert document["hash"] == found.digest_hex
        assert document["merkle"]["leafIndex"] == number
        assert document["merkle"]["treeSize"] == LIMITS.max_events
        assert document["merkle"]["root"] == anchored.root_hex
        assert verdict(check_proof(document)) is Verdict.VALID
        assert verifications.proof_or_pending(found) == document

    def test_a_batch_of_an_earlier_release_has_the_same_ones(
        self,
        database: Database,
        start_anew: Callable[[], Verifications],
        events: EventRepository,
        anchored: BatchRecord,
    ) -> None:
        before = start_anew().proof(event(events))
        with database.transaction() as peewee:
            peewee.execute_sql("DELETE FROM merkle_tiles")
        with capture_logs() as lines:
            assert start_anew().proof(event(events)) == before
        assert lines == []

    @pytest.mark.parametrize("wrong", [b"x" * 320, b"x" * 31, b""])
    def test_tiles_that_were_altered_do_no_harm_and_are_told(
        self,
        database: Database,
        start_anew: Callable[[], Verifications],
        events: EventRepository,
        anchored: BatchRecord,
        wrong: bytes,
    ) -> None:
        before = start_anew().proof(event(events))
        with database.transaction() as peewee:
            peewee.execute_sql("UPDATE merkle_tiles SET digests = ?", (wrong,))
        with capture_logs() as lines:
            assert start_anew().proof(event(events)) == before
        assert [line["event"] for line in lines] == ["merkle_tiles_wrong"]

    def test_a_leaf_outside_its_batch_gives_none(
        self,
        database: Database,
        verifications: Verifications,
        events: EventRepository,
        anchored: BatchRecord,
    ) -> None:
        with database.transaction() as peewee:
            peewee.execute_sql("UPDATE events SET leaf_index = 99 WHERE leaf_index = 0")
        with pytest.raises(BackendContractError, match="lies outside its batch"):
            verifications.proof(event(events))

    def test_a_batch_that_lost_a_leaf_gives_the_others_theirs(
        self,
        database: Database,
        start_anew: Callable[[], Verifications],
        events: EventRepository,
        anchored: BatchRecord,
    ) -> None:
        before = start_anew().proof(event(events))
        with database.transaction() as peewee:
            peewee.execute_sql("DELETE FROM events WHERE leaf_index = 3")
        assert start_anew().proof(event(events)) == before
        with database.transaction() as peewee:
            peewee.execute_sql("DELETE FROM merkle_tiles")
        with pytest.raises(BackendContractError, match="does not have all its leaves"):
            start_anew().proof(event(events))

    def test_rows_that_were_altered_give_none(
        self,
        database: Database,
        verifications: Verifications,
        events: EventRepository,
        anchored: BatchRecord,
    ) -> None:
        with database.transaction() as peewee:
            peewee.execute_sql("UPDATE batches SET root_hex = ?", ("ab" * 32,))
        with pytest.raises(BackendContractError, match="does not lead from the hash to the root"):
            verifications.proof(event(events))

    def test_an_event_that_is_not_there_is_not_found(self, verifications: Verifications) -> None:
        for ask in (verifications.event, verifications.give_proof):
            with pytest.raises(NotFoundError):
                ask("0" * 64)


class TestWhatIsRemembered:
    @pytest.fixture
    def confirmed(
        self,
        anchoring: AnchorBatches,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        anchored: BatchRecord,
    ) -> BatchRecord:
        """A batch that is final, and recorded so."""
        chain.make_block(FINAL_DEPTH)
        clock.advance(60)
        anchoring.anchor_batch(lease, replace(anchored, state="anchored"))
        return anchored

    def test_the_database_is_not_asked_again_about_what_is_confirmed(
        self,
        database: Database,
        verifications: Verifications,
        confirmed: BatchRecord,
        clock: ManualClock,
    ) -> None:
        proof, found = verifications.give_proof(HASH), verifications.verify(HASH)
        assert (proof.pending, proof.final, found.final) == (False, True, True)
        with database.transaction() as peewee:
            for table in ("events", "batches", "merkle_tiles", "anchor_transactions"):
                peewee.execute_sql(f"DELETE FROM {table}")  # noqa: S608
        clock.advance(50)
        assert verifications.give_proof(HASH) == proof
        assert verifications.verify(HASH) == found
        # rows that people mended are seen in the end
        clock.advance(250)
        assert verifications.verify(HASH).status == "unknown"
        with pytest.raises(NotFoundError):
            verifications.give_proof(HASH)

    def test_what_is_not_final_is_looked_up_each_time(
        self,
        verifications: Verifications,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        anchored: BatchRecord,
        clock: ManualClock,
    ) -> None:
        before = verifications.give_proof(HASH)
        assert (before.pending, before.final) == (False, False)
        assert not verifications.verify(HASH).final
        batches.record_loss(lease, anchored.id, clock.now())
        assert verifications.give_proof(HASH).pending
        assert verifications.verify(HASH).status == "batched"

    def test_so_many_bytes_are_remembered(
        self,
        database: Database,
        events: EventRepository,
        batches: BatchRepository,
        chain: ScriptedChain,
        confirmed: BatchRecord,
        clock: ManualClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("eventserver_core.services.verification._REMEMBERED_BYTES", 6000)
        answers = ChainAnswers(chain, batches, clock.now)
        verifications = Verifications(events, batches, answers, clock.now)
        hashes = [new_event(number).digest_hex for number in range(LIMITS.max_events)]
        for digest_hex in hashes:
            assert verifications.give_proof(digest_hex).final
        with database.transaction() as peewee:
            peewee.execute_sql("DELETE FROM events")
        known = [verifications.verify(digest_hex).status for digest_hex in hashes]
        assert known == ["unknown"] * 8 + ["confirmed"] * 2
