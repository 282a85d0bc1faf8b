"""The contract of the ``chain`` role; see ``eventserver_core.backends.chain``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC
from typing import Protocol
from uuid import uuid4

import pytest

from eventserver_core.backends.chain import AnchorReceipt, AnchorTransaction, ChainBackend
from eventserver_core.domain.merkle import leaf_digest
from eventserver_core.domain.proof import Outcome, check_proof, make_proof
from eventserver_core.errors import BackendUnavailableError


class ChainFactory(Protocol):
    """What the fixture ``backend_factory`` returns."""

    def __call__(self, *, down: bool = False) -> ChainBackend:
        """Return a new instance on the same chain, with the same account.

        Args:
            down: make one whose chain can't be reached; nothing else is asked of a chain in the
                test that does this.
        """


class ChainContract:
    """What every chain backend must do.

    The fixture ``backend_factory`` gives a :class:`ChainFactory`. The chain must make blocks by
    itself, at least one every few seconds.

    Attributes:
        patience: how long to wait for a transaction to be in a block, in seconds.
    """

    patience = 30.0

    @pytest.fixture
    def backend(self, backend_factory: ChainFactory) -> ChainBackend:
        """Return an instance for tests that need only one."""
        return backend_factory()

    def test_it_is_a_chain_backend(self, backend: ChainBackend) -> None:
        """It has every method of the Protocol."""
        assert isinstance(backend, ChainBackend)

    def test_a_prepared_transaction_is_not_visible(self, backend_factory: ChainFactory) -> None:
        """Make a transaction that anchors ``root``; it MUST NOT be visible to anybody yet."""
        transaction = backend_factory().prepare(os.urandom(32))
        assert backend_factory().find(transaction) is None
        other = backend_factory().prepare(os.urandom(32))
        anchor(backend_factory(), other, self.patience)
        assert backend_factory().find(transaction) is None

    def test_a_published_transaction_is_found(self, backend_factory: ChainFactory) -> None:
        """Send the transaction, and return its receipt once it is in a block.

        The instance that prepared it may be gone by then: the core keeps the transaction in its
        database between the first step and the second.
        """
        root = os.urandom(32)
        prepared = backend_factory().prepare(root)
        assert prepared.root == root
        kept = AnchorTransaction(prepared.root, prepared.payload, prepared.transaction_hash)
        receipt = anchor(backend_factory(), kept, self.patience)
        assert backend_factory().find(kept) is not None
        if prepared.transaction_hash is not None:
            assert receipt.anchor.transaction_hash == prepared.transaction_hash

    def test_publishing_again_does_not_anchor_again(self, backend_factory: ChainFactory) -> None:
        """Publishing the same one again MUST NOT anchor the root twice."""
        transaction = backend_factory().prepare(os.urandom(32))
        first = anchor(backend_factory(), transaction, self.patience)
        for _ in range(3):
            backend_factory().publish(transaction)
        anchor(backend_factory(), backend_factory().prepare(os.urandom(32)), self.patience)
        again = found(backend_factory(), transaction, self.patience)
        assert again.anchor == first.anchor

    def test_a_root_that_is_prepared_again_is_anchored_once(
        self, backend_factory: ChainFactory
    ) -> None:
        """A root MUST NOT be anchored twice, whichever of its transactions are published: where
        one of ``earlier`` may still get into a block, a backend returns that one again, or one
        that can only take its place.
        """
        root = os.urandom(32)
        first = backend_factory().prepare(root)
        second = backend_factory().prepare(root, earlier=[first])
        backend_factory().publish(first)
        with suppress(BackendUnavailableError):  # it can be known already that it comes too late
            backend_factory().publish(second)
        anchor(backend_factory(), backend_factory().prepare(os.urandom(32)), self.patience)
        receipts = [backend_factory().find(first), backend_factory().find(second)]
        assert len({receipt.anchor for receipt in receipts if receipt is not None}) == 1

    def test_roots_that_are_prepared_together_are_all_anchored(
        self, backend_factory: ChainFactory
    ) -> None:
        """others: those made for other roots, oldest first: all that are not final.

        Whatever of theirs was published by then.
        """
        waiting: list[AnchorTransaction] = []
        for number in range(4):
            transaction = backend_factory().prepare(os.urandom(32), others=list(waiting))
            waiting.append(transaction)
            if number % 2:
                backend_factory().publish(transaction)
        blocks = [anchor(backend_factory(), one, self.patience) for one in waiting]
        assert len({receipt.anchor.transaction_hash for receipt in blocks}) == len(waiting)

    def test_a_receipt_is_of_a_transaction_with_this_root(
        self, backend_factory: ChainFactory
    ) -> None:
        """A receipt MUST be of a transaction that holds this very root."""
        transaction = backend_factory().prepare(os.urandom(32))
        anchor(backend_factory(), transaction, self.patience)
        assert backend_factory().find(replace(transaction, root=os.urandom(32))) is None

    def test_what_was_found_is_found_again_where_it_was(
        self, backend_factory: ChainFactory
    ) -> None:
        """Where it was found before, None means that the chain took that block back: a backend
        whose node is behind, or has forgotten, MUST NOT answer so.
        """
        transaction = backend_factory().prepare(os.urandom(32))
        known = anchor(backend_factory(), transaction, self.patience).anchor
        again = backend_factory().find(transaction, known)
        assert again is not None
        assert again.anchor == known
        never = backend_factory().prepare(os.urandom(32))
        elsewhere = replace(known, transaction_hash="0x" + "12" * 32, block_hash="0x" + "34" * 32)
        assert backend_factory().find(never, elsewhere) is None

    def test_a_transaction_that_was_never_published_is_not_found(
        self, backend: ChainBackend
    ) -> None:
        """Return the receipt, or None where the transaction is in no block (yet)."""
        assert backend.find(backend.prepare(os.urandom(32))) is None

    def test_a_receipt_can_be_put_in_a_proof(self, backend: ChainBackend) -> None:
        """anchor: where it is; a proof with it passes the check that anybody can make offline."""
        digest = os.urandom(32)
        root = leaf_digest(digest)
        receipt = anchor(backend, backend.prepare(root), self.patience)
        assert receipt.anchor.block_time.tzinfo is UTC
        proof = make_proof(
            event_id=str(uuid4()),
            digest_hex=digest.hex(),
            leaf_index=0,
            tree_size=1,
            path=[],
            root=root,
            anchor=receipt.anchor,
        )
        assert [step.outcome for step in check_proof(proof)] == [Outcome.PASSED] * 2

    def test_confirmations_only_grow(self, backend: ChainBackend) -> None:
        """confirmations: how many blocks stand on it, itself included."""
        transaction = backend.prepare(os.urandom(32))
        first = anchor(backend, transaction, self.patience)
        assert first.confirmations >= 1
        later = anchor(backend, backend.prepare(os.urandom(32)), self.patience)
        again = found(backend, transaction, self.patience)
        between = later.anchor.block_number - first.anchor.block_number
        assert between >= 0
        assert again.confirmations >= between + 1
        assert again.final or not first.final

    def test_a_chain_that_works_passes_its_check(self, backend: ChainBackend) -> None:
        """Find out whether roots can be anchored now."""
        backend.check()

    def test_a_chain_that_is_down_is_reported(self, backend_factory: ChainFactory) -> None:
        """BackendUnavailableError: the chain can't be asked now."""
        transaction = backend_factory().prepare(os.urandom(32))
        down = backend_factory(down=True)
        calls: list[Callable[[], object]] = [
            lambda: down.publish(transaction),
            lambda: down.find(transaction),
            down.check,
        ]
        for call in calls:
            with pytest.raises(BackendUnavailableError):
                call()


def anchor(backend: ChainBackend, transaction: AnchorTransaction, patience: float) -> AnchorReceipt:
    """Publish a transaction and wait for its receipt."""
    backend.publish(transaction)
    return found(backend, transaction, patience)


def found(backend: ChainBackend, transaction: AnchorTransaction, patience: float) -> AnchorReceipt:
    """Wait until a transaction is in a block."""
    deadline = time.monotonic() + patience
    while (receipt := backend.find(transaction)) is None:
        if time.monotonic() > deadline:
            pytest.fail(f"the transaction was in no block after {patience:g} seconds")
        time.sleep(0.05)
    return receipt
