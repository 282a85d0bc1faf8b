"""The demo's admin and its relay: a process of its own that enrols and forwards."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from eventserver_core.demo.client import ApiClient, Receipt
from eventserver_core.demo.expectations import StepFailedError, expect
from eventserver_core.demo.narration import Narrator
from eventserver_core.demo.sent import short
from eventserver_core.demo.server import LocalServer

PACKAGE = "eventserver_relay"
_HOST = "127.0.0.1"
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05
_SEND_SECONDS = 30.0


def is_installed() -> bool:
    """Tell whether the relay can be run."""
    return importlib.util.find_spec(PACKAGE) is not None


class Relay:
    """A relay process; a context manager that ends it.

    Args:
        say: tells what happens.
        folder: where it keeps everything.
    """

    def __init__(self, say: Narrator, folder: Path) -> None:
        self._say = say
        self._folder = folder
        self._data = folder / "relay"
        self._log = folder / "relay.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._root = ""
        self.address = f"{_HOST}:{_free_port()}"

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def let_in(self, client: ApiClient, admin: str) -> None:
        """Register the relay, approve it, and start it with its one-time token."""
        self._say.step(
            "Let a relay in, as the admin",
            "A real one, in a process of its own. Its private key never leaves it; it trades a "
            "token that lives minutes for its certificates, once.",
        )
        shown = self._run("--show-key")
        expect(shown.returncode == 0, "the relay's public key", shown.stderr.strip())
        relay = client.register_relay(self.address, json.loads(shown.stdout), admin)
        self._say.held(f"registered at {self.address}: {relay['state']}")
        relay = client.approve_relay(relay["relayId"], admin)
        self._say.held(f"approved: {relay['state']}")
        invitation = client.invite_relay(relay["relayId"], admin)
        self._root = invitation["rootCertificate"]
        document = self._folder / "enrollment.json"
        document.write_text(json.dumps(invitation), "utf-8")
        document.chmod(0o600)
        self._start(document)
        self._say.held("it enrolled by its token, and serves HTTPS with its own certificate")
        health = client.relay_health(relay["relayId"], admin)
        expect(health["healthy"], "a healthy relay", json.dumps(health))
        self._say.held(f"the server asked it over HTTPS: healthy, in {health['latencyMs']} ms")

    def send(self, signed_package: str) -> Receipt:
        """Send what a device signed to the relay, as the device does."""
        context = ssl.create_default_context(cadata=self._root)
        with httpx.Client(verify=context, timeout=_SEND_SECONDS, trust_env=False) as http:
            response = http.post(
                f"https://{self.address}/events", json={"jwtEventData": signed_package}
            )
        answer: Any = None
        with suppress(ValueError):
            answer = response.json()
        if response.status_code != 201 or not isinstance(answer, Mapping):
            raise StepFailedError("201 with the server's receipt", response.text[:500])
        return Receipt(response.status_code, answer["eventId"], answer["hash"], answer)

    def stop(self) -> int | None:
        """Stop it as an orchestrator would, and return its exit status."""
        process = self._process
        if process is None:
            return None
        try:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return process.returncode

    def _start(self, document: Path) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [
                    *self._command(),
                    *("--enrollment", str(document), "--address", self.address),
                    *("--listen", self.address),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            ended = self._process.poll()
            said = self._log.read_text("utf-8", "replace")
            if '"relay_started"' in said:
                return
            if ended is not None:
                break
            time.sleep(_POLL_SECONDS)
        raise StepFailedError("the relay to start", "\n".join(said.splitlines()[-5:]))

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own program
            [*self._command(), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
            check=False,
        )

    def _command(self) -> list[str]:
        return [sys.executable, "-m", PACKAGE, "--data-dir", str(self._data)]


def make_admin(say: Narrator, commands: LocalServer) -> tuple[str, str]:
    """Make the first admin, and return its certificate and one for a relay of the operator's."""
    say.step(
        "Make the first admin, on the command line",
        "The key pair is the admin's own. Beside it comes the authority that relays' TLS "
        "certificates are from.",
    )
    _command(say, commands, "admin", "keygen", "alice.pem")
    arguments = ["admin", "bootstrap", "--name", "alice", "--public-key", "alice.pem.jwk"]
    admin = _command(say, commands, *arguments)
    say.held("alice has a certificate for her key, and may run the network")
    _command(say, commands, "ca", "init")
    say.held("the authority has a root and an issuing certificate, its keys encrypted")
    arguments = ["certificate", "issue", "--role", "relay", "--subject", "demo-relay"]
    relay = _command(say, commands, *arguments)
    say.held("demo-relay may hand in what others recorded")
    return admin, relay


def check_audit(say: Narrator, commands: LocalServer) -> None:
    """Check the trail of what the admin did."""
    say.step(
        "Check the audit trail",
        "Each entry has the digest of the one before it, and its head is anchored as an event.",
    )
    told = json.loads(_command(say, commands, "audit", "check", "--json"))
    expect(told["valid"] and told["anchoredUpTo"] > 0, "a trail that holds", json.dumps(told))
    say.held(f"{told['entries']} entries, one after the other, none changed")
    anchored, event = told["anchoredUpTo"], short(told["anchoredEvent"])
    say.held(f"anchored up to entry {anchored}, as event {event}")


def _command(say: Narrator, commands: LocalServer, *arguments: str) -> str:
    say.command(f"eventserver {' '.join(arguments)}")
    done = commands.run_command(*arguments)
    expect(done.returncode == 0, "exit status 0", done.stderr.strip())
    return done.stdout.strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
