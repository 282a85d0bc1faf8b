"""The API under gunicorn, and the anchoring worker beside it where that is asked for."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from eventserver_core import log
from eventserver_core.errors import ConfigurationError
from eventserver_core.log import get_logger
from eventserver_core.metrics.log_events import count_log_events
from eventserver_core.metrics.processes import announce
from eventserver_core.sections import LoggingSettings, ServerSettings
from eventserver_core.serving import counting
from eventserver_core.serving.draining import Draining
from eventserver_core.serving.worker import STOP_SIGNALS, DeadlineThreadWorker
from eventserver_core.settings import Settings
from eventserver_core.wiring import Configuration, Services

_MAX_HEADER_SIZE = 16 * 1024
_MAX_REQUEST_LINE = 4094
_MAX_HEADERS = 64
_KEEP_ALIVE_SECONDS = 30
_RESTART_PAUSE = 1.0
_PORT_PATIENCE = 5.0
_PORT_PAUSE = 0.1
_log = get_logger()


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, set up by the settings; nothing of it is read from elsewhere.

    Args:
        configuration: the settings and plugins.
        worker_command: what runs the anchoring worker, if it is to run beside the API.
    """

    def __init__(
        self, configuration: Configuration, worker_command: list[str] | None = None
    ) -> None:
        self._configuration = configuration
        self._worker_command = worker_command
        self._draining = Draining()
        super().__init__()

    def load_config(self) -> None:
        server = self._configuration.settings[ServerSettings]
        worker_class = type(
            "ConfiguredWorker",
            (DeadlineThreadWorker,),
            {"read_timeout": server.read_timeout, "request_timeout": server.request_timeout},
        )
        for name, value in {
            "bind": f"{_bracketed(server.host)}:{server.port}",
            "workers": server.workers,
            "threads": server.threads,
            "worker_class": worker_class,
            "graceful_timeout": int(server.graceful_timeout),
            "keepalive": _KEEP_ALIVE_SECONDS,
            "limit_request_line": _MAX_REQUEST_LINE,
            "limit_request_fields": _MAX_HEADERS,
            "limit_request_field_size": _MAX_HEADER_SIZE,
            "logger_class": _RootLogger,
            "proc_name": "eventserver",
            "control_socket_disable": True,
            "when_ready": _announce,
            "post_fork": _begin_counting,
            "child_exit": _end_counting,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return Services(self._configuration).application(self._draining.has_begun)

    def run(self) -> None:
        delay = self._configuration.settings[ServerSettings].drain_delay
        _Arbiter(self, self._worker_command, self._draining, delay).run()


class _Arbiter(Arbiter):  # type: ignore[misc]
    """gunicorn's master process, which also keeps the anchoring worker running.

    Args:
        app: what is served.
        worker_command: what runs the anchoring worker.
        draining: is raised when the server is told to stop.
        drain_delay: seconds from then until it stops taking requests.
    """

    def __init__(
        self,
        app: Server,
        worker_command: list[str] | None,
        draining: Draining,
        drain_delay: float,
    ) -> None:
        self._worker_command = worker_command
        self._draining = draining
        self._drain_delay = drain_delay
        self._stop_at = float("inf")
        self._anchoring: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        super().__init__(app)

    def spawn_worker(self) -> Any:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def handle_term(self) -> None:
        if self._drain_delay == 0 or self._draining.has_begun():
            self._draining.begin()
            super().handle_term()  # at once, too, where it is told a second time
        _log.info("server_draining", seconds=self._drain_delay)
        self._draining.begin()
        self._stop_at = time.monotonic() + self._drain_delay

    def manage_workers(self) -> None:
        if time.monotonic() >= self._stop_at:
            super().handle_term()
        super().manage_workers()
        if self._worker_command is None:
            return
        # gunicorn reaps every child; poll() then takes the process for ended, which is right
        ended = self._anchoring is None or self._anchoring.poll() is not None
        if ended and time.monotonic() - self._started_at >= _RESTART_PAUSE:
            if self._anchoring is not None:
                counting.forget(self._anchoring.pid)
                _log.error("anchoring_worker_ended", next_step="it is started again")
            self._started_at = time.monotonic()
            self._anchoring = subprocess.Popen(self._worker_command)  # noqa: S603 - our own

    def stop(self, graceful: bool = True) -> None:
        worker, self._worker_command = self._anchoring, None
        if worker is not None:
            worker.terminate()
        super().stop(graceful)
        if worker is not None:
            try:
                worker.wait(timeout=self.cfg.graceful_timeout)
            except subprocess.TimeoutExpired:
                worker.kill()


class _RootLogger(Logger):  # type: ignore[misc]
    """Leaves gunicorn's lines to the root logger, so that they look like all others."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self.error_log.propagate = True  # what comes before this call has switched it off
        self._access_log_enabled = False
        self.loglevel = self.error_log.getEffectiveLevel()


def worker_command(arguments: list[str]) -> list[str]:
    """Return the command that runs the anchoring worker, ending when this process does."""
    beside = ["--beside", str(os.getpid())]
    return [sys.executable, "-m", "eventserver_core", *arguments, "worker", *beside]


def require_free_port(settings: Settings) -> None:
    """Make sure that the address can be listened on: gunicorn would give up without naming it.

    Processes of a master that was killed take a moment to let go of it; that is waited for.

    Raises:
        ConfigurationError: it can't; the message names the setting to change.
    """
    server = settings[ServerSettings]
    try:
        found = socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        deadline = time.monotonic() + _PORT_PATIENCE
        while not _binds(socket.socket(family, kind, protocol), address, deadline):
            time.sleep(_PORT_PAUSE)
    except OSError as ex:
        raise ConfigurationError(
            f"server.host, server.port: {server.host} port {server.port} cannot be listened on: "
            f"{ex.strerror}"
        ) from ex


def _binds(probe: socket.socket, address: Any, deadline: float) -> bool:
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as ex:
            if ex.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            return False
        return True


def configure_logging(configuration: Configuration) -> None:
    """Set logging up as the settings have it."""
    section = configuration.settings[LoggingSettings]
    log.configure(section.level, section.format_in(configuration.settings))
    count_log_events()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _begin_counting(_arbiter: Any, _worker: Any) -> None:
    counting.reserve_or_warn()
    announce("api")


def _end_counting(_arbiter: Any, worker: Any) -> None:
    counting.forget(worker.pid)


def _announce(arbiter: Any) -> None:
    announce("master")
    for listener in arbiter.LISTENERS:
        host, port = listener.getsockname()[:2]
        _log.info("server_started", address=f"http://{_bracketed(host)}:{port}")
