"""Starts real server and worker processes for tests, on free ports, and stops them."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

START_SECONDS = 60.0
STOP_SECONDS = 60.0

_OTHER_NAMES = frozenset({"DATABASE_URL", "JWT_SECRET", "BLOCKCHAIN_RPC_URL"})


def clean_environ() -> dict[str, str]:
    """Return this process's environment without the settings in it."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("EVENTSERVER") and name not in _OTHER_NAMES
    }


class EventServerProcess:
    """One ``eventserver`` process, a context manager; its log lines are read as they come.

    It may be killed and started again, as often as a test likes.

    Args:
        arguments: the command, such as ``["serve", "--with-worker"]``.
        directory: where it runs; its data directory is ``data`` in there unless set otherwise.
        settings: environment variables on top of this process's own.
        ready_event: the log event that says that it is up.
        python: the interpreter, of another environment than this one's, say.

    Attributes:
        lines: what it wrote to its standard error, of all its lives.
        url: where it listens, once it is up.
    """

    def __init__(
        self,
        arguments: list[str],
        directory: Path,
        settings: Mapping[str, str] | None = None,
        ready_event: str = "server_started",
        python: str | Path = sys.executable,
    ) -> None:
        self._arguments = arguments
        self._directory = directory
        self._ready_event = ready_event
        self._python = str(python)
        self._environ = clean_environ() | {
            "EVENTSERVER__SERVER__HOST": "127.0.0.1",
            "EVENTSERVER__SERVER__PORT": "0",
            "EVENTSERVER__LOGGING__FORMAT": "json",
            **(settings or {}),
        }
        self.lines: list[str] = []
        self._arrived: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> EventServerProcess:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process, and return once it is up."""
        self.launch()
        try:
            self.wait_until_up()
        except BaseException:
            self.kill_all()
            raise

    def launch(self) -> None:
        """Start the process without waiting for it."""
        self._arrived = queue.SimpleQueue()  # the old one may still get an earlier life's end
        self.process = subprocess.Popen(
            [self._python, "-m", "eventserver_core", *self._arguments],
            cwd=self._directory,
            env=self._environ,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            # a group of its own, so that kill_all() reaches its workers too
            start_new_session=True,
        )
        threading.Thread(
            target=self._read, args=(self.process, self._arrived, self.lines), daemon=True
        ).start()

    def wait_until_up(self) -> None:
        """Return once the launched process says that it is up.

        Raises:
            AssertionError: it didn't in time, or it ended.
        """
        self.url = self.wait_for_event(self._ready_event).get("address", "")

    @property
    def pid(self) -> int:
        """The master process's id, which is its group's too."""
        assert self.process is not None
        return self.process.pid

    def wait_for_event(self, name: str, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Return the first new log record of an event; see ``wait_for_log``."""
        return self.wait_for_log(lambda record: record.get("event") == name, seconds)

    def wait_for_log(
        self, wanted: Callable[[dict[str, Any]], bool], seconds: float = START_SECONDS
    ) -> dict[str, Any]:
        """Return the first new log record that is wanted.

        Raises:
            AssertionError: none came in time, or the process ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError("no such log line:\n" + "".join(self.lines[-50:])) from None
            if line is None:
                raise AssertionError("the process ended:\n" + "".join(self.lines[-50:]))
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and wanted(record):
                return record

    def skip_log(self) -> None:
        """Forget the log lines that have come so far: what is waited for next is new."""
        with suppress(queue.Empty):
            while (line := self._arrived.get_nowait()) is not None:
                pass
            self._arrived.put(line)  # the end stays the end

    def signal(self, number: int) -> None:
        """Send the master process a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill_all(self) -> None:
        """Kill the process and all that it started with SIGKILL, at once."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Return the master process's exit status, once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self) -> int:
        """Stop the process as an orchestrator would, and return its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            self.kill_all()  # whatever outlived its master

    @staticmethod
    def _read(
        process: subprocess.Popen[str], arrived: queue.SimpleQueue[str | None], lines: list[str]
    ) -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            for line in stream:
                lines.append(line)
                arrived.put(line)
        arrived.put(None)
