# pragma version 0.4.3
# pragma evm-version london
"""
@title EventServer's anchoring contract
@license MIT
@notice Says that a Merkle root was there when a block was made.
@dev It keeps nothing, owns nothing and lets everybody call it. A log alone costs about half of what
     a stored word does, and nobody can spoil a root by anchoring it first. London is the oldest
     target of this compiler; the code uses nothing that Berlin and chains like it don't have.
"""

event Anchored:
    root: indexed(bytes32)


@external
def anchor(root: bytes32):
    """
    @notice Put a root in the log of the block that holds this transaction.
    @param root The root of a batch's Merkle tree.
    """
    log Anchored(root=root)
