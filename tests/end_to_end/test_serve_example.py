"""``examples/serve.py``: every line that it prints works when it is pasted into a shell."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.waiting import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "serve.py"
SECONDS = 90

# for machines that have no curl: the options that the printed lines use, and no others
OUR_CURL = """\
import argparse, sys
from pathlib import Path
import httpx

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("-i", action="store_true")
parser.add_argument("-f", action="store_true")
parser.add_argument("-w")
parser.add_argument("-o")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("-F", action="append", default=[])
given = parser.parse_args()
parts = []
for field in given.F:
    name, _, rest = field.partition("=@")
    path, _, kind = rest.partition(";type=")
    parts.append((name, (Path(path).name, Path(path).read_bytes(), kind)))
headers = dict(line.split(": ", 1) for line in given.H)
method = "POST" if parts else "GET"
answer = httpx.request(method, given.url, headers=headers, files=parts or None, trust_env=False)
if given.f and answer.is_error:
    sys.exit(22)
if given.o:
    Path(given.o).write_bytes(answer.content)
else:
    head = f"HTTP/1.1 {answer.status_code}\\n\\n" if given.i else ""
    print(head + answer.text, end=(given.w or "").replace("\\\\n", "\\n"))
"""


class Serving:
    """The script, running."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self.process = process
        self.directory = directory
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def guide(self) -> str:
        return "".join(self.lines)

    @property
    def commands(self) -> list[str]:
        """Return what is meant to be pasted: the indented lines, joined where they go on."""
        joined = self.guide.replace("\\\n", "")
        return re.findall(r"^  (\S.*)$", joined, re.M)

    @property
    def address(self) -> tuple[str, int]:
        match = re.search(r"listens at http://([\d.]+):(\d+);", self.guide)
        assert match, self.guide
        return match.group(1), int(match.group(2))

    def paste(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a line as a person would in a new shell, after the line that goes to the files."""
        path = os.environ["PATH"]
        if shutil.which("curl") is None:
            tools = self.directory.parent / "tools"
            tools.mkdir(exist_ok=True)
            (tools / "curl.py").write_text(OUR_CURL)
            run = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {tools / "curl.py"} "$@"\n'
            (tools / "curl").write_text(run)
            (tools / "curl").chmod(0o755)
            path = f"{tools}{os.pathsep}{path}"
        return subprocess.run(
            ["sh", "-c", f"{self.commands[0]}\n{command}"],
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)


def environment(**settings: str) -> dict[str, str]:
    named = {f"EVENTSERVER__{name.upper()}": value for name, value in settings.items()}
    return dict(os.environ) | {"EVENTSERVER__SERVER__PORT": "0"} | named


@contextmanager
def serving(directory: Path, **settings: str) -> Iterator[Serving]:
    with (
        (directory.parent / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            cwd=directory,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.wait, SECONDS)
        stack.callback(process.terminate)
        script = Serving(process, directory)
        wait_until(
            lambda: " verify " in script.guide or process.poll() is not None,
            "the guide is printed",
            SECONDS,
        )
        assert process.poll() is None, (directory.parent / "log").read_text()
        yield script


def run_to_its_end(directory: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT)],
        cwd=directory,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder whose name has to be quoted."""
    path = tmp_path / "a user's folder"
    path.mkdir()
    return path


@pytest.mark.slow
def test_every_printed_line_works(directory: Path) -> None:
    with serving(directory, anchoring__batch_max_age="1") as script:
        _, send, verify, prove, download, check = script.commands
        first, again = script.paste(send), script.paste(send)
        assert re.match(r"HTTP/1.1 201", first.stdout), first
        assert re.match(r"HTTP/1.1 200", again.stdout), again
        receipt = json.loads(first.stdout.splitlines()[-1])
        assert json.loads(again.stdout.splitlines()[-1]) == receipt

        def proof() -> subprocess.CompletedProcess[str] | None:
            done = script.paste(prove)
            return done if done.stdout.startswith("HTTP/1.1 200") else None

        proved = wait_until(proof, "the proof is there")
        assert proved is not None
        assert json.loads(proved.stdout.splitlines()[-1])["hash"] == receipt["hash"]
        verification = json.loads(script.paste(verify).stdout)
        assert (verification["hash"], verification["exists"]) == (receipt["hash"], True)

        assert script.paste(download).returncode == 0
        checked = script.paste(check)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert "verdict: valid" in checked.stdout


@pytest.mark.slow
def test_settings_from_files_are_followed_and_names_with_spaces_quoted(directory: Path) -> None:
    (directory / "config").mkdir()
    (directory / "config" / "default.toml").write_text(
        "[server]\nhost = '0.0.0.0'\ndata_dir = 'my data'\n[logging]\nlevel = 'error'\n"
    )
    with serving(directory) as script:
        assert script.address[0] == "127.0.0.1"
        assert "wait up to\n60 seconds" in script.guide
        done = script.paste(script.commands[1])
        assert re.match(r"HTTP/1.1 201", done.stdout), done
    kept = directory / "my data" / "example" / "relay.jwt"
    assert kept.read_text().strip() in script.guide
    assert kept.stat().st_mode & 0o777 == 0o600
    assert not (directory / "data").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_stops_the_server_too(directory: Path, number: signal.Signals) -> None:
    with serving(directory) as script:
        script.process.send_signal(number)
        assert script.process.wait(SECONDS) == 0
        with socket.socket() as probe:
            assert probe.connect_ex(script.address) != 0


def test_a_port_that_is_taken_is_told_with_the_setting_to_change(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_to_its_end(directory, server__port=str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Cannot listen on 127.0.0.1, port {port}: Address already in use." in done.stderr
    assert "server.port" in done.stderr
    assert "EVENTSERVER__SERVER__PORT=3001 make serve" in done.stderr
    assert not (directory / "data" / "example").exists()


def test_settings_at_fault_are_told_before_anything_starts(directory: Path) -> None:
    done = run_to_its_end(directory, server__prt="3001")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.count("there is no setting server.prt; did you mean port?") == 1
    assert not (directory / "data" / "example").exists()
