"""Where a relay is in its life, and where it can go from there."""

from __future__ import annotations

from enum import StrEnum


class RelayState(StrEnum):
    """A relay's state; the same words in code, database, API and docs.

    ::

        (registered) → pending ─approve→ active ⇄ suspended
        (launched)   → provisioning ────→ active
                            └─→ failed            from anywhere → decommissioned
    """

    PENDING = "pending"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    FAILED = "failed"
    DECOMMISSIONED = "decommissioned"


ENDED = frozenset({RelayState.FAILED, RelayState.DECOMMISSIONED})
"""States that nothing comes back from; whatever machine there was is ended."""

STANDING = frozenset(RelayState) - ENDED
"""States in which a relay's address is nobody else's."""

MAY_BECOME: dict[RelayState, frozenset[RelayState]] = {
    RelayState.ACTIVE: frozenset({RelayState.PENDING, RelayState.SUSPENDED}),
    RelayState.SUSPENDED: frozenset({RelayState.ACTIVE}),
}
"""What an admin can make of a relay, and out of which states."""

MAY_ENROLL = frozenset({RelayState.PROVISIONING, RelayState.ACTIVE})
"""States in which a relay gets certificates."""
