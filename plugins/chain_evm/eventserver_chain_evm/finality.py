"""When a block, and whatever is in it, can be relied on."""

from __future__ import annotations

from dataclasses import dataclass

from eventserver_chain_evm.node import Node
from eventserver_chain_evm.settings import FINALIZED


@dataclass(frozen=True, slots=True)
class Finality:
    """The rule that the settings choose.

    Attributes:
        rule: ``depth`` or ``finalized``.
        blocks: how many blocks are deep enough, the first one included.
    """

    rule: str
    blocks: int

    def is_final(self, node: Node, number: int, head: int) -> bool:
        """Tell whether a block of the chain is final."""
        if self.rule == FINALIZED:
            newest = node.finalized()
            return newest is not None and number <= newest
        return head - number + 1 >= self.blocks

    def settled_block(self, node: Node, head: int) -> int | None:
        """Return the newest block by which a nonce is used up for good; None where there is none.

        By depth it looks one block further down than an anchor needs: what is decided by this is
        whether a root may be signed under another nonce, which no reorganisation may undo.
        """
        if self.rule == FINALIZED:
            return node.finalized()
        return head - self.blocks if head >= self.blocks else None
