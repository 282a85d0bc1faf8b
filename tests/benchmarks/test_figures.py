"""What the benchmarks make of what they measured."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.figures import FLOOR, SERVER, Round, at_least, at_most, quantile, rate_row
from benchmarks.report import Finished, show, spread, write_json, write_markdown
from benchmarks.scenarios import Outcome, Scenario, scenarios

ROUNDS = [
    Round(FLOOR, 400, 1.0, {"floor": 1.0, "store": 1.0}),
    Round(SERVER, 800, 1.0, {"server": 0.5, "store": 0.5}),
    Round(FLOOR, 100, 1.0, {"floor": 2.0, "store": 2.0}),  # the machine slows down
    Round(SERVER, 300, 1.0, {"server": 1.0, "store": 1.0}),
    Round(FLOOR, 200, 1.0, {"floor": 1.0, "store": 3.0}),
    Round(SERVER, 200, 1.0, {"server": 1.0, "store": 1.0}),
]


def test_each_round_is_compared_with_the_one_before_it() -> None:
    row = rate_row("events", ROUNDS, at_least(2), unit="events")
    assert row.values == [2, 3, 1]
    assert row.by_cpu == [2, 2, 2]
    assert row.median == 2
    assert row.sides == {"floor": "200 events/s", "server": "300 events/s"}


def test_a_side_that_missed_its_turn_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        rate_row("events", ROUNDS[:-1], at_least(2), unit="events")


def test_a_percentile_is_a_latency_that_was_measured() -> None:
    latencies = [float(number) for number in range(100, 0, -1)]
    assert quantile(latencies, 0.5) == 50
    assert quantile(latencies, 0.99) == 99
    assert quantile(latencies, 1) == 100
    assert quantile([7.0], 0.01) == 7


@pytest.mark.parametrize(
    ("target", "value", "reached"),
    [
        (at_least(2), 2.0, True),
        (at_least(2), 1.99, False),
        (at_most(1.5), 1.5, True),
        (at_most(1.5), 1.51, False),
    ],
)
def test_a_target_is_reached_up_to_its_bound(target, value, reached) -> None:
    assert target.reached(value) is reached


def test_the_noise_is_told_with_the_median() -> None:
    assert spread([0.8, 1.234, 0.7], "ms") == "0.8 ms (0.7 to 1.23)"
    assert spread([12345.6], "ms") == "12,346 ms"


def test_what_was_missed_and_what_failed_stand_in_the_table_and_in_the_json(
    tmp_path: Path,
) -> None:
    missed = rate_row("too slow", ROUNDS, at_least(4), unit="events")
    scenario = Scenario("one", "One thing.", lambda stage: Outcome([], []))
    finished = [
        Finished(scenario, Outcome([missed], ROUNDS), None, 1.0),
        Finished(scenario, None, "LoadError: 503", 1.0),
    ]
    console = Console(file=io.StringIO(), width=200)
    show(console, finished)
    assert isinstance(console.file, io.StringIO)
    write_markdown(tmp_path / "results.md", finished)
    for shown in (console.file.getvalue(), (tmp_path / "results.md").read_text()):
        assert "NO" in shown
        assert "failed: LoadError: 503" in shown
    write_json(tmp_path / "new" / "results.json", {"quick": True}, finished)
    one, two = json.loads((tmp_path / "new" / "results.json").read_text())["scenarios"]
    assert one["rows"][0]["reached"] is False
    assert one["cpuMilliseconds"]["server"] == {"server": 1.0, "store": 1.0}
    assert len(one["rounds"]) == len(ROUNDS)
    assert two["error"] == "LoadError: 503"


def test_every_scenario_says_what_it_measures() -> None:
    found = scenarios()
    assert len({scenario.name for scenario in found}) == len(found) > 5
    assert all(scenario.summary.endswith(".") for scenario in found)
