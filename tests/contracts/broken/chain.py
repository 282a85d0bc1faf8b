"""Chain backends that each break a promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import pytest

from eventserver_core.backends.chain import AnchorReceipt, AnchorTransaction
from eventserver_core.domain.proof import Anchor, ledger_block_hash
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.contracts.chain import ChainContract

PARENT = "0x" + "0" * 64


class PlainChain:
    """A chain in memory, with one transaction a block; it works, so that one thing can be broken.

    A transaction's payload is its nonce: of those that have the same, the first one counts.
    """

    chains: ClassVar[dict[Path, list[AnchorTransaction]]] = {}

    def __init__(self, path: Path, *, down: bool) -> None:
        self.blocks = self.chains.setdefault(path, [])
        self.down = down

    def prepare(
        self,
        root: bytes,
        earlier: Sequence[AnchorTransaction] = (),
        others: Sequence[AnchorTransaction] = (),
    ) -> AnchorTransaction:
        nonce = earlier[0].payload if earlier else uuid4().bytes
        return AnchorTransaction(root, nonce, None)

    def publish(self, transaction: AnchorTransaction) -> None:
        self.require()
        if transaction.payload not in [block.payload for block in self.blocks]:
            self.blocks.append(transaction)

    def find(
        self, transaction: AnchorTransaction, known: Anchor | None = None
    ) -> AnchorReceipt | None:
        self.require()
        numbers = [n for n, block in enumerate(self.blocks, 1) if self.same(block, transaction)]
        return self.receipt(transaction, numbers[-1]) if numbers else None

    def same(self, block: AnchorTransaction, transaction: AnchorTransaction) -> bool:
        return block == transaction

    def receipt(self, transaction: AnchorTransaction, number: int) -> AnchorReceipt:
        stamp = "2024-01-01T00:00:00.000Z"
        block_hash = ledger_block_hash(number, PARENT, transaction.root.hex(), stamp)
        anchor = Anchor(
            "ledger",
            "memory",
            None,
            None,
            block_hash,
            number,
            block_hash,
            datetime(2024, 1, 1, tzinfo=UTC),
            PARENT,
        )
        return AnchorReceipt(anchor, len(self.blocks) - number + 1, final=True)

    def check(self) -> None:
        self.require()

    def require(self) -> None:
        if self.down:
            raise BackendUnavailableError("chain=memory", "down")


def suite(kind: Callable[..., object], *catches: str) -> type:
    class Suite(ChainContract):
        patience = 0.0

        @pytest.fixture
        def backend_factory(self, tmp_path: Path) -> Callable[..., object]:
            def make(*, down: bool = False) -> object:
                return kind(tmp_path, down=down)

            return make

    Suite.catches = frozenset(catches)  # type: ignore[attr-defined]
    return Suite


TestPlainChain = suite(PlainChain)


class NoCheck:
    def __init__(self, path: Path, *, down: bool) -> None:
        good = PlainChain(path, down=down)
        self.prepare, self.publish, self.find = good.prepare, good.publish, good.find


TestNoCheck = suite(
    NoCheck,
    "test_it_is_a_chain_backend",
    "test_a_chain_that_works_passes_its_check",
    "test_a_chain_that_is_down_is_reported",
)


class PublishesAtOnce(PlainChain):
    def prepare(
        self,
        root: bytes,
        earlier: Sequence[AnchorTransaction] = (),
        others: Sequence[AnchorTransaction] = (),
    ) -> AnchorTransaction:
        transaction = super().prepare(root, earlier)
        self.publish(transaction)
        return transaction


TestPublishesAtOnce = suite(
    PublishesAtOnce,
    "test_a_prepared_transaction_is_not_visible",
    "test_a_transaction_that_was_never_published_is_not_found",
    "test_what_was_found_is_found_again_where_it_was",
)


class FindsWhatIsPending(PlainChain):
    def find(
        self, transaction: AnchorTransaction, known: Anchor | None = None
    ) -> AnchorReceipt | None:
        return super().find(transaction) or self.receipt(transaction, len(self.blocks) + 1)


TestFindsWhatIsPending = suite(
    FindsWhatIsPending,
    "test_a_prepared_transaction_is_not_visible",
    "test_a_receipt_is_of_a_transaction_with_this_root",
    "test_a_transaction_that_was_never_published_is_not_found",
    "test_what_was_found_is_found_again_where_it_was",
)


class RemembersWhatItPrepared(PlainChain):
    """Publishes only what the same instance prepared."""

    def __init__(self, path: Path, *, down: bool) -> None:
        super().__init__(path, down=down)
        self.prepared: list[AnchorTransaction] = []

    def prepare(
        self,
        root: bytes,
        earlier: Sequence[AnchorTransaction] = (),
        others: Sequence[AnchorTransaction] = (),
    ) -> AnchorTransaction:
        self.prepared.append(super().prepare(root, earlier))
        return self.prepared[-1]

    def publish(self, transaction: AnchorTransaction) -> None:
        self.require()
        if transaction in self.prepared:
            super().publish(transaction)


TestRemembersWhatItPrepared = suite(
    RemembersWhatItPrepared,
    "test_a_prepared_transaction_is_not_visible",
    "test_a_published_transaction_is_found",
    "test_a_receipt_is_of_a_transaction_with_this_root",
    "test_a_root_that_is_prepared_again_is_anchored_once",
    "test_publishing_again_does_not_anchor_again",
    "test_roots_that_are_prepared_together_are_all_anchored",
    "test_what_was_found_is_found_again_where_it_was",
)


class AnchorsAgain(PlainChain):
    def publish(self, transaction: AnchorTransaction) -> None:
        self.require()
        self.blocks.append(transaction)


TestAnchorsAgain = suite(AnchorsAgain, "test_publishing_again_does_not_anchor_again")


class IgnoresWhatWentBefore(PlainChain):
    def prepare(
        self,
        root: bytes,
        earlier: Sequence[AnchorTransaction] = (),
        others: Sequence[AnchorTransaction] = (),
    ) -> AnchorTransaction:
        return super().prepare(root)


TestIgnoresWhatWentBefore = suite(
    IgnoresWhatWentBefore, "test_a_root_that_is_prepared_again_is_anchored_once"
)


class BelievesTheTransaction(PlainChain):
    def same(self, block: AnchorTransaction, transaction: AnchorTransaction) -> bool:
        return block.payload == transaction.payload


TestBelievesTheTransaction = suite(
    BelievesTheTransaction, "test_a_receipt_is_of_a_transaction_with_this_root"
)


class AnotherHash(PlainChain):
    def receipt(self, transaction: AnchorTransaction, number: int) -> AnchorReceipt:
        receipt = super().receipt(transaction, number)
        return replace(receipt, anchor=replace(receipt.anchor, block_hash=PARENT))


TestAnotherHash = suite(AnotherHash, "test_a_receipt_can_be_put_in_a_proof")


class CountsOnlyWhatFollows(PlainChain):
    def receipt(self, transaction: AnchorTransaction, number: int) -> AnchorReceipt:
        receipt = super().receipt(transaction, number)
        return replace(receipt, confirmations=receipt.confirmations - 1)


TestCountsOnlyWhatFollows = suite(CountsOnlyWhatFollows, "test_confirmations_only_grow")


class AlwaysComplains(PlainChain):
    def check(self) -> None:
        raise BackendUnavailableError("chain=memory", "never well")


TestAlwaysComplains = suite(AlwaysComplains, "test_a_chain_that_works_passes_its_check")


class LetsErrorsThrough(PlainChain):
    def require(self) -> None:
        if self.down:
            raise ConnectionRefusedError


TestLetsErrorsThrough = suite(LetsErrorsThrough, "test_a_chain_that_is_down_is_reported")
