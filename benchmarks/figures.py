"""What comes out of a run: rounds as they were measured, and ratios with their noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SERVER, FLOOR = "server", "floor"


@dataclass(frozen=True, slots=True)
class Round:
    """One side's turn.

    Attributes:
        side: whose turn it was, such as ``server`` or ``floor``.
        count: how many events, or requests where nothing is sent in.
        seconds: how long it took.
        cpu_ms: milliseconds of CPU for each of these, by process.
        latencies_ms: how long each call took.
        more: whatever else was measured, by a name with its unit.
    """

    side: str
    count: int
    seconds: float
    cpu_ms: Mapping[str, float] = field(default_factory=dict)
    latencies_ms: Sequence[float] = ()
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """How many in a second."""
        return self.count / self.seconds

    @property
    def cpu_total_ms(self) -> float:
        """Milliseconds of CPU for each, of all processes together."""
        return sum(self.cpu_ms.values())

    def latency_ms(self, share: float) -> float:
        """Return the latency that this share of all calls stayed within."""
        return quantile(self.latencies_ms, share)


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should reach: at least, or at most, so much."""

    bound: float
    at_least: bool

    def reached(self, value: float) -> bool:
        """Tell whether a figure is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


def at_least(bound: float) -> Target:
    """Return the target of a figure that should be large."""
    return Target(bound, at_least=True)


def at_most(bound: float) -> Target:
    """Return the target of a figure that should be small."""
    return Target(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured against what.
        values: the figure of each pair of rounds.
        unit: what it counts; empty for a ratio.
        target: what it should reach, if anything was promised.
        sides: each side's own figure, for people, such as ``{"floor": "380 events/s"}``.
        by_cpu: the same ratios by CPU time, which a busy machine changes less.
    """

    what: str
    values: Sequence[float]
    unit: str = ""
    target: Target | None = None
    sides: Mapping[str, str] = field(default_factory=dict)
    by_cpu: Sequence[float] = ()

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the target was reached; None where there is none."""
        return None if self.target is None else self.target.reached(self.median)


def pairs(rounds: Sequence[Round], first: str, second: str) -> list[tuple[Round, Round]]:
    """Return the rounds of two sides that ran one after the other."""
    firsts = [found for found in rounds if found.side == first]
    seconds = [found for found in rounds if found.side == second]
    return list(zip(firsts, seconds, strict=True))


def rate_row(
    what: str,
    rounds: Sequence[Round],
    target: Target,
    *,
    unit: str,
    of: str = SERVER,
    against: str = FLOOR,
) -> Row:
    """Make the row of how many times as fast one side was as another.

    Args:
        what: what was measured against what.
        rounds: of both sides, in turn.
        target: what the ratio should reach.
        unit: what the rounds counted.
        of: the side above the line.
        against: the side below it.
    """
    paired = pairs(rounds, against, of)
    rates = {
        side: statistics.median(found.rate for found in rounds if found.side == side)
        for side in (against, of)
    }
    return Row(
        what,
        [mine.rate / other.rate for other, mine in paired],
        target=target,
        sides={side: f"{rate:,.0f} {unit}/s" for side, rate in rates.items()},
        by_cpu=[other.cpu_total_ms / mine.cpu_total_ms for other, mine in paired],
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all don't exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def median_cpu(rounds: Sequence[Round]) -> dict[str, dict[str, float]]:
    """Return each side's milliseconds of CPU by process, the median of its rounds."""
    found: dict[str, dict[str, float]] = {}
    for side in dict.fromkeys(a_round.side for a_round in rounds):
        own = [a_round.cpu_ms for a_round in rounds if a_round.side == side]
        names = dict.fromkeys(name for cpu in own for name in cpu)
        found[side] = {name: statistics.median(cpu.get(name, 0.0) for cpu in own) for name in names}
    return found
