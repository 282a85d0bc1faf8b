"""A server of the demo's own: a real process in a folder of its own, on the embedded defaults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from eventserver_core.demo.expectations import StepFailedError

_START_SECONDS = 60.0
_STOP_SECONDS = 45.0
_ABANDON_SECONDS = 5.0
_COMMAND_SECONDS = 60.0
_POLL_SECONDS = 0.05
_SHOWN_LOG_LINES = 5
_STARTED = ("server_started", "worker_started")

_FROM_OUTSIDE = {
    "DATABASE_URL",
    "JWT_SECRET",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "BLOCKCHAIN_RPC_URL",
}
"""Settings that have a name of their own; the others begin with ``EVENTSERVER``."""

SETTINGS = {
    "EVENTSERVER__SERVER__HOST": "127.0.0.1",
    "EVENTSERVER__SERVER__PORT": "0",
    "EVENTSERVER__SERVER__WORKERS": "2",
    "EVENTSERVER__ANCHORING__BATCH_MAX_AGE": "2",
    "EVENTSERVER__ANCHORING__POLL_INTERVAL": "0.25",
    "EVENTSERVER__LOGGING__FORMAT": "json",
    "EVENTSERVER__RELAYS__ALLOWED_NETWORKS": "127.0.0.0/8",
}
"""All that differs from the defaults: a free port, no minute's wait for a batch, and a relay on
this machine."""


class LocalServer:
    """An ``eventserver`` command as a child process; a context manager that ends it.

    Args:
        folder: where it runs and keeps its data; nothing of the caller's settings reaches it.
        settings: environment variables besides those of every demo.
        arguments: the command.
        name: what its log is called.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        arguments: Sequence[str] = ("serve", "--with-worker"),
        name: str = "server",
    ) -> None:
        self._folder = folder
        self._arguments = arguments
        self._name = name
        self.log_path = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._environ = {
            **{
                name: value
                for name, value in os.environ.items()
                if name not in _FROM_OUTSIDE and not name.startswith("EVENTSERVER")
            },
            **SETTINGS,
            **(settings or {}),
        }

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(_ABANDON_SECONDS)

    def start(self) -> str:
        """Start it and return its address once it listens; a worker has none.

        Raises:
            StepFailedError: it ended, or took too long.
        """
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                _program(*self._arguments),
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the demo, which then stops the server in order
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        expected = f"the {self._name} to be up within {_START_SECONDS:.0f} seconds"
        while time.monotonic() < deadline:
            ended = self._process.poll()
            if (address := self._address()) is not None:
                return address
            if ended is not None:
                raise StepFailedError(expected, f"it ended with status {ended}\n{self._log_end()}")
            time.sleep(_POLL_SECONDS)
        raise StepFailedError(expected, f"it did not\n{self._log_end()}")

    def stop(self) -> int | None:
        """Stop the server as an orchestrator would, and return its exit status."""
        self._end(_STOP_SECONDS)
        return self._process.returncode if self._process else None

    @property
    def pid(self) -> int:
        """The process's id, which is its group's too."""
        assert self._process is not None  # noqa: S101 - whoever asks has started it
        return self._process.pid

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an ``eventserver`` command under the server's settings, and return how it ended."""
        return subprocess.run(  # noqa: S603 - our own program
            _program(*arguments),
            cwd=self._folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )

    def _address(self) -> str | None:
        for line in self.log_path.read_text("utf-8", "replace").splitlines():
            with suppress(ValueError, TypeError):
                record = json.loads(line)
                if isinstance(record, dict) and record.get("event") in _STARTED:
                    return str(record.get("address", ""))
        return None

    def _log_end(self) -> str:
        lines = self.log_path.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-_SHOWN_LOG_LINES:])

    def _end(self, seconds: float) -> None:
        process = self._process
        if process is None:
            return
        try:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)
        finally:
            with suppress(ProcessLookupError):  # whatever outlived it, or itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "eventserver_core", *arguments]
