"""``eventserver demo`` as a person runs it: what it says, what it leaves, how it fails."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import socket
import subprocess
import sys
import termios
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from eventserver_core.demo.checking import Checking
from eventserver_core.demo.client import ApiClient
from eventserver_core.demo.expectations import StepFailedError
from eventserver_core.demo.narration import Narrator
from eventserver_core.demo.server import LocalServer

DEMO = [sys.executable, "-m", "eventserver_core", "demo"]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECONDS = 180
APPEARANCE = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "PYTHONIOENCODING", "TTY_COMPATIBLE")


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    directory: Path
    temporary: Path
    status: int
    output: str
    problems: str

    @property
    def evidence(self) -> Path:
        (path,) = self.directory.glob("demo-output/*.zip")
        return path


def environment(temporary: Path, **variables: str) -> dict[str, str]:
    """Return this process's environment, but for what changes how output looks."""
    temporary.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in APPEARANCE}
    return kept | {"TMPDIR": str(temporary)} | variables


def run_demo(folder: Path, *arguments: str, **variables: str) -> Run:
    directory, temporary = folder / "here", folder / "tmp"
    directory.mkdir(exist_ok=True)
    done = subprocess.run(
        [*DEMO, *arguments],
        cwd=directory,
        env=environment(temporary, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Run(directory, temporary, done.returncode, done.stdout, done.stderr)


def server_is_gone(output: str) -> bool:
    """Tell whether nothing listens any more where the demo's server did."""
    match = re.search(r"listens at http://127\.0\.0\.1:(\d+)", output)
    assert match, output
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(match.group(1)))) != 0


def break_installation(folder: Path) -> dict[str, str]:
    """Return variables under which the server cannot be imported, though the demo can."""
    broken = folder / "broken" / "gunicorn" / "__init__.py"
    broken.parent.mkdir(parents=True)
    broken.write_text("raise ImportError('half of this installation is missing')\n")
    return {"PYTHONPATH": str(folder / "broken")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in a place where every setting of the caller's would break a server."""
    folder = tmp_path_factory.mktemp("demo")
    config = folder / "here" / "config"
    config.mkdir(parents=True)
    (config / "default.toml").write_text("[server]\nport = 'not a port'\n")
    return run_demo(
        folder,
        EVENTSERVER_ENVIRONMENT="production",
        EVENTSERVER__PLUGINS__STORAGE="nowhere",
        EVENTSERVER__SERVER__PORT="99999",
        DATABASE_URL="postgresql://nowhere.invalid/none",
        JWT_SECRET="changeme",
        BLOCKCHAIN_RPC_URL="http://nowhere.invalid",
        HTTP_PROXY="http://127.0.0.1:9",
        http_proxy="http://127.0.0.1:9",
        ALL_PROXY="http://127.0.0.1:9",
    )


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
class TestARunThatHolds:
    def test_it_ends_with_status_0_and_no_complaint(self, run: Run) -> None:
        assert (run.status, run.problems) == (0, ""), run.output

    def test_the_steps_are_numbered_and_all_there(self, run: Run) -> None:
        numbers = [int(n) for n in re.findall(r"^ ?(\d+)  \w", run.output, re.M)]
        assert numbers == list(range(1, 15))
        assert "Every step held" in run.output

    def test_the_table_tells_what_became_of_each_event(self, run: Run) -> None:
        rows = [
            [cell.strip() for cell in line.strip("│").split("│")]
            for line in run.output.splitlines()
            if line.startswith("│")
        ]
        head, *events = rows
        assert head == ["event", "sent as", "hash", "status", "block", "verdict"]
        assert [row[0] for row in events] == ["photo", "signed photo", "video"]
        for row in events:
            assert row[3] == "confirmed"
            assert int(row[4]) >= 1
            assert row[5] == "valid"

    def test_the_evidence_is_left_and_named(self, run: Run) -> None:
        assert str(run.evidence.relative_to(run.directory)) in run.output.split("What next:")[1]
        with zipfile.ZipFile(run.evidence) as archive:
            assert archive.testzip() is None
            assert {"event.json", "media.jpg", "proof.json", "signed-package.jws"} <= set(
                archive.namelist()
            )

    def test_the_evidence_holds_for_a_checker_that_knows_nothing_of_the_core(
        self, run: Run, tmp_path: Path
    ) -> None:
        with zipfile.ZipFile(run.evidence) as archive:
            archive.extractall(tmp_path)
        checker = [sys.executable, "-I", str(EXAMPLES / "check_proof.py")]
        done = subprocess.run(
            [*checker, "event.json", "proof.json", "media.jpg"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout[:5]) == (0, "valid")

    def test_forged_evidence_is_caught_where_it_was_forged(self, run: Run) -> None:
        assert "one bit of the photo changed: verdict invalid, failed: media\n" in run.output
        changed = "120 visitors made 1,200: verdict invalid, failed: statement, signature\n"
        assert changed in run.output

    def test_nothing_else_is_left(self, run: Run) -> None:
        assert {path.name for path in run.directory.iterdir()} == {"config", "demo-output"}
        assert list(run.temporary.iterdir()) == []
        assert server_is_gone(run.output)

    def test_it_is_plain_text_of_80_columns_without_a_terminal(self, run: Run) -> None:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", run.output)
        told = run.output.split("What next:")[0]
        assert max(len(line) for line in told.splitlines()) <= 80
        assert not re.search(r"[ \t]+$", told, re.M)


@pytest.mark.slow
@pytest.mark.parametrize("plain", [False, True], ids=["coloured", "NO_COLOR"])
def test_ctrl_c_in_a_terminal_stops_the_server_too(tmp_path: Path, plain: bool) -> None:
    variables = {"NO_COLOR": "1"} if plain else {}
    environ = environment(tmp_path / "tmp", TERM="xterm-256color", **variables)
    with in_terminal(tmp_path, environ) as terminal:
        terminal.read_until("\x1b[?25l")  # the bar hides the cursor while it moves
        terminal.type("\x03")
        status = terminal.read_to_end()
    assert status == 128 + 2
    assert "Broken off in step 8" in terminal.output
    assert "\x1b[?25h" in terminal.output
    assert bool(re.search(r"\x1b\[[\d;]*3\dm", terminal.output)) is not plain
    assert server_is_gone(terminal.output)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_a_reader_that_leaves_ends_it_in_order(tmp_path: Path) -> None:
    with subprocess.Popen(
        DEMO,
        cwd=tmp_path,
        env=environment(tmp_path / "tmp", PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        read = ""
        while "listens at" not in read:
            line = process.stdout.readline()
            assert line, read
            read += line
        process.stdout.close()
        assert process.wait(SECONDS) == 1
    assert server_is_gone(read)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_server_that_cannot_start_is_told_with_its_log(tmp_path: Path) -> None:
    run = run_demo(tmp_path, **break_installation(tmp_path))
    assert run.status == 1
    assert "Step 1 failed: Start a server\n" in run.problems
    assert "expected  the server to be up within 60 seconds\n" in run.problems
    assert "came      it ended with status 1\n" in run.problems
    assert "half of this installation is missing" in run.problems
    match = re.search(r"log +(/.*/server\.log) \(the folder is kept\)\n", run.problems)
    assert match, run.problems
    assert "half of this installation is missing" in Path(match.group(1)).read_text()


def test_a_failure_is_plain_where_only_ascii_can_be_written(tmp_path: Path) -> None:
    run = run_demo(tmp_path, PYTHONIOENCODING="ascii", **break_installation(tmp_path))
    assert run.status == 1
    assert "Step 1 failed" in run.problems
    assert run.problems.isascii()
    assert "\x1b" not in run.output + run.problems


@pytest.mark.slow
def test_evidence_that_cannot_be_left_fails_its_step_and_stops_the_server(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = run_demo(tmp_path, "--output", str(tmp_path / "file" / "below"))
    assert run.status == 1
    assert "Step 10 failed: Download the evidence" in run.problems
    assert "came      NotADirectoryError: " in run.problems
    (kept,) = run.temporary.iterdir()
    assert (kept / "server.log").stat().st_size > 0
    assert server_is_gone(run.output)


@pytest.mark.slow
def test_what_the_server_kept_is_there_on_demand(tmp_path: Path) -> None:
    run = run_demo(tmp_path, "--keep", "--output", str(tmp_path / "elsewhere"))
    assert run.status == 0, run.problems
    assert len(list((tmp_path / "elsewhere").glob("event-*.zip"))) == 1
    (kept,) = run.temporary.iterdir()
    assert f"ls {kept}\n" in run.output
    names = {path.name for path in kept.iterdir()}
    assert names == {
        "alice.pem",
        "alice.pem.jwk",
        "data",
        "enrollment.json",
        "forged-event.zip",
        "forged-media.zip",
        "relay",
        "relay.log",
        "server.log",
    }


def test_an_answer_that_is_not_the_wanted_one_fails_with_what_it_said() -> None:
    body = b'{"code": "invalid_certificate", "detail": "it ended"}'
    with answering(401, body) as url, ApiClient(url) as client:
        with pytest.raises(StepFailedError) as caught:
            client.send_json({}, "none")
        assert caught.value.expected == "201 or 200 with a JSON object for POST /api/v1/events"
        assert caught.value.found == "401 (invalid_certificate): it ended"


def test_an_answer_that_is_no_json_fails() -> None:
    with (
        answering(200, b"<html>") as url,
        ApiClient(url) as client,
        pytest.raises(StepFailedError, match="200 with a JSON object for GET /health"),
    ):
        client.health()


def test_evidence_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    with answering(403, b'{"code": "permission_denied"}') as url, ApiClient(url) as client:
        with pytest.raises(StepFailedError, match="permission_denied"):
            client.download_evidence("0" * 64, "none", tmp_path / "evidence.zip")
        assert list(tmp_path.iterdir()) == []


def test_a_forgery_that_nobody_noticed_fails_the_demo(tmp_path: Path) -> None:
    valid = tmp_path / "evidence.zip"
    with zipfile.ZipFile(valid, "w") as archive:
        archive.writestr("event.json", "{}")  # incomplete, whatever is done to a photo
    output = io.StringIO()
    say = Narrator(Console(file=output), Console(file=output))
    with pytest.raises(StepFailedError) as caught:
        Checking(say, LocalServer(tmp_path)).forge(valid, tmp_path)
    assert caught.value.expected == "the verdict invalid, failed: media"
    assert caught.value.found == "incomplete, failed: nothing"


def test_its_help_says_where_the_evidence_goes() -> None:
    done = subprocess.run([*DEMO, "--help"], capture_output=True, text=True, check=True)
    assert "[default: demo-output]" in done.stdout


class _OneAnswer(BaseHTTPRequestHandler):
    """Says the same to everybody."""

    status: int
    body: bytes

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Run a server that says one thing only, and yield its address."""
    handler = type("Handler", (_OneAnswer,), {"status": status, "body": body})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Terminal:
    """A program in a terminal of its own.

    Args:
        process: the program.
        descriptor: the end of the terminal at which a person sits.
    """

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self._process = process
        self._descriptor = descriptor
        self.output = ""

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._descriptor, keys.encode())

    def read_until(self, text: str) -> None:
        """Read until this was shown."""
        deadline = time.monotonic() + SECONDS
        while text not in self.output:
            assert self._read(deadline), self.output

    def read_to_end(self) -> int:
        """Read until the program has ended, and return its exit status."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline):
            pass
        return self._process.wait(SECONDS)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], deadline - time.monotonic())
        assert ready, "nothing more came:\n" + self.output
        try:
            shown = os.read(self._descriptor, 65536)
        except OSError:  # Linux's way to say that nobody is left at the other end
            shown = b""
        self.output += shown.decode()
        return bool(shown)


@contextmanager
def in_terminal(directory: Path, environ: Mapping[str, str]) -> Iterator[Terminal]:
    """Run the demo in a terminal, whose Ctrl-C it gets as a signal."""
    person, program = pty.openpty()
    process = subprocess.Popen(
        DEMO,
        cwd=directory,
        env=environ,
        stdin=program,
        stdout=program,
        stderr=program,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(program)
    try:
        yield Terminal(process, person)
    finally:
        process.terminate()
        process.wait(SECONDS)
        os.close(person)
