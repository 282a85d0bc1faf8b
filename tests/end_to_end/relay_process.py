"""The example relay as a process, and a device that sends through it."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from tests.end_to_end.waiting import wait_until


class RelayProcess:
    """A relay; a context manager that ends it.

    Args:
        directory: where it keeps its key, its certificates and its log.
        address: where it listens, and where devices reach it.
    """

    def __init__(self, directory: Path, address: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.address = address
        self._log = directory / "relay.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._root = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self, enrollment: Mapping[str, Any] | None = None) -> None:
        """Start it, with what it enrols with where it hasn't yet."""
        arguments = ["--listen", self.address]  # what it is called, only the server knows
        if enrollment is not None:
            path = self._directory / "enrollment.json"
            path.write_text(json.dumps(dict(enrollment)))
            arguments += ["--enrollment", str(path)]
            self._root = enrollment["rootCertificate"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "eventserver_relay"),
                    *("--data-dir", str(self._directory / "data"), *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_up, f"the relay is up: {self.log()}")

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            assert self._process.wait(30) == 0

    def log(self) -> str:
        """Return what it said."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def send(self, signed_package: str) -> httpx.Response:
        """Send what a device signed, as the device does: over TLS that it trusts."""
        context = ssl.create_default_context(cadata=self._root)
        with httpx.Client(verify=context, timeout=30, trust_env=False) as http:
            return http.post(
                f"https://{self.address}/events", json={"jwtEventData": signed_package}
            )

    def certificate(self) -> bytes:
        """Return the TLS certificate that it shows, in DER."""
        host, _, port = self.address.rpartition(":")
        context = ssl.create_default_context(cadata=self._root)
        with (
            socket.create_connection((host, int(port)), 10) as connection,
            context.wrap_socket(connection, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        return shown

    def bearer(self) -> str:
        """Return the relay certificate that it has now, as whoever stole it would."""
        known = json.loads((self._directory / "data" / "identity.json").read_text("utf-8"))
        return str(known["certificate"])

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        started = self.log().count('"relay_started"')
        return started > 0 and _listens(self.address)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


def solved(device: Any, url: str) -> str:
    """Return a device's certificate, for a proof of work."""
    with httpx.Client(base_url=url, timeout=30) as http:
        challenge = http.post("/api/v1/pow/challenge").json()
        answer = http.post("/api/v1/pow/verify", json=device.solve(challenge))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])
