"""The directory that a server's processes count in."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_PROGRAM = """
import os, sys
from eventserver_core.serving.counting import VARIABLE, open_directory
open_directory()
assert not [name for name in sys.modules if name.startswith("prometheus_client")]
from eventserver_core.metrics.definitions import EVENTS
EVENTS.labels("stored", "").inc()
print(os.environ[VARIABLE], *sorted(os.listdir(os.environ[VARIABLE])))
"""


def _run(program: str = _PROGRAM, **variables: str) -> list[str]:
    environ = {name: v for name, v in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_it_is_chosen_before_anything_is_counted_and_removed_at_the_end() -> None:
    directory, *names = _run()
    assert not Path(directory).exists()
    assert [name for name in names if name.startswith("counter_")]


def test_a_directory_that_was_chosen_is_emptied_and_stays(tmp_path: Path) -> None:
    for name in ("counter_1.db", "gauge_liveall_1.db", "theirs.txt", "theirs.db"):
        (tmp_path / name).write_bytes(b"")
    directory, *names = _run(PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert directory == str(tmp_path)
    assert {"theirs.txt", "theirs.db"} <= set(names)
    assert "counter_1.db" not in names
    assert "gauge_liveall_1.db" not in names
    assert tmp_path.is_dir()


def test_where_memory_is_full_a_directory_on_disk_is_taken() -> None:
    full = "from eventserver_core.serving import counting\ncounting._ROOM = 1 << 62\n"
    directory, *_ = _run(full + _PROGRAM)
    assert Path(directory).parent == Path(tempfile.gettempdir())
    assert not Path(directory).exists()


def test_a_directory_that_cannot_be_had_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    program = (
        "from eventserver_core.serving.counting import open_directory\n"
        "from eventserver_core.errors import ConfigurationError\n"
        "try: open_directory()\n"
        "except ConfigurationError as ex: print(ex)"
    )
    said = _run(program, PROMETHEUS_MULTIPROC_DIR=str(in_the_way))
    assert "PROMETHEUS_MULTIPROC_DIR" in said[0]


def test_an_abandoned_directory_is_removed_by_the_next_and_one_in_use_is_not() -> None:
    abandon = _PROGRAM + "\nsys.stdout.flush(); os._exit(1 - 1)\n"
    abandoned, *_ = _run(abandon)
    nested = (
        "from eventserver_core.serving.counting import VARIABLE, open_directory\n"
        "import os, subprocess, sys\n"
        "open_directory()\n"
        "mine = os.environ.pop(VARIABLE)\n"
        "code = 'from eventserver_core.serving.counting import open_directory; open_directory()'\n"
        "subprocess.run([sys.executable, '-c', code], check=True)\n"
        "print(os.path.isdir(mine))"
    )
    assert _run(nested) == ["True"]
    assert not Path(abandoned).exists()


def test_what_ended_processes_counted_stays_in_one_file_for_each_kind() -> None:
    """Processes are replaced for as long as the server runs; memory for files is limited."""
    program = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from eventserver_core.serving.counting import VARIABLE, forget, open_directory\n"
        "open_directory()\n"
        "child = 'from eventserver_core.serving import counting; counting.reserve_or_warn();'"
        " 'from eventserver_core.metrics.definitions import EVENTS;'"
        ' \'EVENTS.labels("stored", "").inc(2)\'\n'
        "def names(): return {p.name for p in Path(os.environ[VARIABLE]).glob('*.db')}\n"
        "for number in range(5):\n"
        "    process = subprocess.Popen([sys.executable, '-c', child])\n"
        "    assert process.wait() == 0\n"
        "    assert any(name.endswith(f'_{process.pid}.db') for name in names())\n"
        "    forget(process.pid)\n"
        "    forget(process.pid)\n"
        "    assert not any(name.endswith(f'_{process.pid}.db') for name in names())\n"
        "from eventserver_core.metrics.scrape import Scrape\n"
        "lines = Scrape().text().decode().splitlines()\n"
        "print(*[line.rpartition(' ')[2] for line in lines if line.startswith("
        "'eventserver_events_total{') and 'stored' in line])"
    )
    assert _run(program) == ["10.0"]
