"""``/metrics`` of a worker that runs by itself: a small server on a port of its own."""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from eventserver_core.errors import ConfigurationError
from eventserver_core.log import get_logger
from eventserver_core.metrics.processes import announce
from eventserver_core.metrics.scrape import CONTENT_TYPE, Scrape
from eventserver_core.sections import MetricsSettings
from eventserver_core.serving import counting
from eventserver_core.wiring import Services

_SECONDS = 10.0
_MAX_CALLERS = 8
_log = get_logger()


def begin_counting(services: Services, *, beside: bool) -> None:
    """Count this worker's process, and answer who scrapes it where a port was set.

    Args:
        services: the worker's.
        beside: whether a server runs beside it, which then answers for it.

    Raises:
        ConfigurationError: the port can't be listened on.
    """
    counting.reserve_or_warn()
    announce("worker")
    section = services.settings[MetricsSettings]
    if section.worker_port and not beside:
        serve_metrics(section.worker_host, section.worker_port, services.worker_scrape())


def serve_metrics(host: str, port: int, scrape: Scrape) -> ThreadingHTTPServer:
    """Answer ``GET /metrics`` from now on, for as long as the process runs.

    Args:
        host: the address to listen on.
        port: the port.
        scrape: makes the answers.

    Raises:
        ConfigurationError: the address can't be listened on.
    """
    handler = type("ScrapeHandler", (_ScrapeHandler,), {"scrape": scrape})
    try:
        server = _Server((host, port), handler)
    except OSError as ex:
        raise ConfigurationError(
            f"metrics.worker_host, metrics.worker_port: {host} port {port} cannot be listened on: "
            f"{ex.strerror}"
        ) from ex
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    _log.info("metrics_served", address=f"http://{host}:{server.server_port}/metrics")
    return server


class _Server(ThreadingHTTPServer):
    """Serves a few callers at once, and lets no more of them in."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._places = threading.BoundedSemaphore(_MAX_CALLERS)
        super().__init__(address, handler)

    def process_request(self, request: object, client_address: object) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._places.release()

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Say nothing: a caller that hung up is no news."""


class _ScrapeHandler(BaseHTTPRequestHandler):
    """One caller; it may take ten seconds for each thing it says."""

    scrape: Scrape
    timeout = _SECONDS
    server_version = "EventServer"
    sys_version = ""

    def do_GET(self) -> None:
        if urlsplit(self.path).path != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content = self.scrape.text()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: http.server would write lines of its own form."""
