"""The tables for people, and the JSON for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Round, Row, median_cpu
from benchmarks.scenarios import Outcome, Scenario

FORMAT = "eventserver-bench/1"

_PROCESSES = ("server", "floor", "load", "store", "database", "valkey")
_MISSED = "NO"
_SHARES = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Finished:
    """A scenario that has run.

    Attributes:
        scenario: which.
        outcome: what it found; None where it failed.
        error: why it failed.
        seconds: how long it took.
    """

    scenario: Scenario
    outcome: Outcome | None
    error: str | None
    seconds: float


def show(console: Console, finished: Sequence[Finished]) -> None:
    """Print the table of figures and that of CPU time."""
    for title, columns, lines in _tables(finished):
        table = Table(title=title)
        for column in columns:
            table.add_column(column, overflow="fold")
        for line in lines:
            table.add_row(*line, style="bold red" if _MISSED in line else "")
        console.print(table)


def write_markdown(path: Path, finished: Sequence[Finished]) -> None:
    """Write the same tables as they stand in the docs."""
    pages = []
    for title, columns, lines in _tables(finished):
        rows = [columns, ["---"] * len(columns), *lines]
        cells = (" | ".join(row).replace("\n", "<br>") for row in rows)
        pages.append(f"{title}:\n\n" + "".join(f"| {line} |\n" for line in cells))
    path.write_text("\n".join(pages), "utf-8")


def write_json(path: Path, facts: Mapping[str, Any], finished: Sequence[Finished]) -> None:
    """Write all that was found, and where."""
    document = {"format": FORMAT, **facts, "scenarios": [_document(done) for done in finished]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def spread(values: Sequence[float], unit: str = "") -> str:
    """Return values as their median and how far they go, to three digits."""
    median = f"{_short(statistics.median(values))}{f' {unit}' if unit else ''}"
    if len(values) == 1:
        return median
    return f"{median} ({_short(min(values))} to {_short(max(values))})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _tables(finished: Sequence[Finished]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    columns = ["what", "each side", "figure", "by CPU", "target", "reached"]
    yield (
        "Figures, the median of all pairs (the smallest to the largest)",
        columns,
        [line for done in finished for line in _figures(done)],
    )
    columns = ["CPU ms", *_PROCESSES, "all"]
    yield (
        "CPU in milliseconds for each event (reads: request, media: megabyte)",
        columns,
        [line for done in finished for line in _cpu(done)],
    )


def _figures(done: Finished) -> list[list[str]]:
    if done.outcome is None:
        return [[done.scenario.name, "", f"failed: {done.error}", "", "", _MISSED]]
    return [
        [
            row.what,
            "\n".join(f"{side}: {figure}" for side, figure in row.sides.items()),
            spread(row.values, row.unit),
            spread(row.by_cpu) if row.by_cpu else "",
            f"{row.target} {row.unit}".rstrip() if row.target else "",
            {True: "yes", False: _MISSED, None: ""}[row.reached],
        ]
        for row in done.outcome.rows
    ]


def _cpu(done: Finished) -> list[list[str]]:
    lines = []
    for side, spent in median_cpu(done.outcome.rounds if done.outcome else []).items():
        cells = [f"{spent[name]:.3f}" if name in spent else "" for name in _PROCESSES]
        lines.append([f"{done.scenario.name}, {side}", *cells, f"{sum(spent.values()):.3f}"])
    return lines


def _document(done: Finished) -> dict[str, Any]:
    outcome = done.outcome
    return {
        "name": done.scenario.name,
        "summary": done.scenario.summary,
        "seconds": round(done.seconds, 1),
        "error": done.error,
        "rows": [_row(row) for row in outcome.rows] if outcome else [],
        "cpuMilliseconds": median_cpu(outcome.rounds) if outcome else {},
        "rounds": [_round(found) for found in outcome.rounds] if outcome else [],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "what": row.what,
        "unit": row.unit or "ratio",
        "median": row.median,
        "smallest": min(row.values),
        "largest": max(row.values),
        "values": list(row.values),
        "byCpu": list(row.by_cpu),
        "target": str(row.target) if row.target else None,
        "reached": row.reached,
        "sides": dict(row.sides),
    }


def _round(found: Round) -> dict[str, Any]:
    latencies = {
        f"p{share * 100:g}": round(found.latency_ms(share), 3)
        for share in _SHARES
        if found.latencies_ms
    }
    return {
        "side": found.side,
        "count": found.count,
        "seconds": round(found.seconds, 3),
        "cpuMilliseconds": dict(found.cpu_ms),
        "latencyMilliseconds": latencies,
        "more": dict(found.more),
    }
