"""A chain in memory whose blocks are made, and unmade, by the test."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

from eventserver_core.backends.chain import AnchorReceipt, AnchorTransaction
from eventserver_core.domain.proof import Anchor
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.clock import ManualClock

FINAL_DEPTH = 3


class Crash(BaseException):
    """The process ends here."""


class ScriptedChain:
    """Takes transactions, and puts them in a block when told to.

    Attributes:
        down: whether it can't be reached.
        before: what to call at the start of a method, by the method's name.
        after: what to call at a method's end, when its work is done.
        given: the earlier transactions that each call of ``prepare`` was given.
        others: the other roots' transactions that each call was given.
        published: every transaction that was ever published, in order, repetitions too.
    """

    def __init__(self) -> None:
        self.down = False
        self.before: dict[str, Callable[[], object]] = {}
        self.after: dict[str, Callable[[], object]] = {}
        self.given: list[list[AnchorTransaction]] = []
        self.others: list[list[AnchorTransaction]] = []
        self.published: list[AnchorTransaction] = []
        self._waiting: list[AnchorTransaction] = []
        self._blocks: list[list[AnchorTransaction]] = []
        self._gone: list[AnchorTransaction] = []
        self._guard = threading.RLock()

    def prepare(
        self,
        root: bytes,
        earlier: Sequence[AnchorTransaction] = (),
        others: Sequence[AnchorTransaction] = (),
    ) -> AnchorTransaction:
        with self._guard:
            self._begin("prepare")
            self.given.append(list(earlier))
            self.others.append(list(others))
            alive = [one for one in earlier if one not in self._gone]
            if alive:
                transaction = alive[-1]
            else:
                payload = f"{len(self.given)}".encode()
                digest = hashlib.sha256(root + payload).hexdigest()
                transaction = AnchorTransaction(root, payload, "0x" + digest)
            self._end("prepare")
            return transaction

    def publish(self, transaction: AnchorTransaction) -> None:
        with self._guard:
            self._begin("publish")
            rivals = [
                other
                for other in (*self._waiting, *self._mined())
                if other.root == transaction.root and other != transaction
            ]
            assert not rivals, "a second transaction for a root whose first is not gone"
            self.published.append(transaction)
            if transaction not in self._waiting and transaction not in self._mined():
                self._waiting.append(transaction)
            self._end("publish")

    def find(
        self, transaction: AnchorTransaction, known: Anchor | None = None
    ) -> AnchorReceipt | None:
        with self._guard:
            self._begin("find")
            receipt = None
            for number, block in enumerate(self._blocks):
                if transaction in block:
                    confirmations = len(self._blocks) - number
                    final = confirmations >= FINAL_DEPTH
                    receipt = AnchorReceipt(_anchor(transaction, number), confirmations, final)
            self._end("find")
            return receipt

    def check(self) -> None:
        self._begin("check")

    def make_block(self, count: int = 1) -> None:
        """Put all that waits in a block, with empty ones after it."""
        with self._guard:
            self._blocks.append(self._waiting)
            self._waiting = []
            self._blocks += [[] for _ in range(count - 1)]

    def reorganise(self) -> None:
        """Take the blocks back; what was in them is gone for good."""
        with self._guard:
            self._gone += self._mined()
            self._blocks = []

    def _mined(self) -> list[AnchorTransaction]:
        return [transaction for block in self._blocks for transaction in block]

    def _begin(self, method: str) -> None:
        self.before.get(method, lambda: None)()
        if self.down:
            raise BackendUnavailableError("chain=scripted", "the node does not answer")

    def _end(self, method: str) -> None:
        self.after.get(method, lambda: None)()


def _anchor(transaction: AnchorTransaction, number: int) -> Anchor:
    assert transaction.transaction_hash is not None
    return Anchor(
        chain="evm",
        network="testnet",
        chain_id=5,
        contract=None,
        transaction_hash=transaction.transaction_hash,
        block_number=number,
        block_hash="0x" + hashlib.sha256(b"%d" % number).hexdigest(),
        block_time=ManualClock().now(),
    )


def crash() -> None:
    """End the process."""
    raise Crash
