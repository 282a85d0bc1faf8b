"""A real server as a child process: on a port of its own, killed and started again at will."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

START_SECONDS = 60.0

_POLL_SECONDS = 0.05
_SHOWN_LINES = 20
_PORTS = range(10_000, 32_000)
"""Below the ports that systems give to outgoing connections, so that its own stays free."""


class PartError(Exception):
    """A real server is not installed, or doesn't start; the message says what to do."""


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    for _ in range(100):
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise PartError("no free port was found on 127.0.0.1")


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections at a port of the loopback."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Part(ABC):
    """One server, a context manager. What it keeps outlives its process.

    Args:
        directory: where it keeps everything; made if it isn't there.

    Attributes:
        port: where it listens on 127.0.0.1, the same after each start.
        log_path: what it wrote, of all its lives.
    """

    name: str
    stop_signal = signal.SIGTERM
    stop_seconds = 30.0

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.log_path = directory / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Tell whether it does its work now."""

    def environ(self) -> Mapping[str, str]:
        """Return what its environment has besides this process's own."""
        return {}

    def user(self) -> str | None:
        """Return who runs it; None is whoever runs this process."""
        return None

    def start(self) -> None:
        """Start it, and return once it does its work.

        Raises:
            PartError: it isn't installed, ended, or took too long.
        """
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it without waiting for it."""
        if self.is_running():
            raise PartError(f"{self.name} is running already")
        try:
            with self.log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    self.command(),
                    cwd=self.directory,
                    env=os.environ | self.environ(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    user=self.user(),
                    # whoever is told to stop by the terminal stops it in order
                    start_new_session=True,
                )
        except OSError as ex:
            raise PartError(f"{self.name} cannot be started: {ex}") from ex

    def wait_until_ready(self) -> None:
        """Return once it does its work; see ``start``."""
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                self.kill()
                lines = self.log_path.read_text("utf-8", "replace").splitlines()
                shown = "\n".join(lines[-_SHOWN_LINES:])
                raise PartError(f"{self.name} did not start:\n{shown}")
            time.sleep(_POLL_SECONDS)

    def is_running(self) -> bool:
        """Tell whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop it as its operator would, and make sure that it is gone soon."""
        if self._process is not None and self.is_running():
            self._process.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self.stop_seconds)
        self.kill()

    def kill(self) -> None:
        """Kill it and all that it started with SIGKILL, at once."""
        if self._process is None:
            return
        # stopped, it starts nothing that would outlive it and keep the next one from its memory
        self._process.send_signal(signal.SIGSTOP)
        killed = self.processes()
        self._signal_all(signal.SIGKILL)
        self._process.wait(START_SECONDS)
        psutil.wait_procs(killed, START_SECONDS)

    def restart(self, *, kill: bool = False) -> None:
        """Stop or kill it, and return once it does its work again."""
        if kill:
            self.kill()
        else:
            self.stop()
        self.start()

    def pause(self) -> None:
        """Make it hang: its port stays open, and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        self._signal_all(signal.SIGCONT)

    def processes(self) -> list[psutil.Process]:
        """Return its process and all that it started; some make groups of their own for those."""
        if self._process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def _signal_all(self, number: int) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
