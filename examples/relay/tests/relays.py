"""A small authority, as the server has one, and real relay processes."""

from __future__ import annotations

import json
import os
import queue
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from eventserver_client.testing import Received, Reply

RELAY_ID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
TOKEN = "token-canary-1f2e3d"
CERTIFICATE = "certificate-canary-4c5b6a"
EVENTS = "/api/v1/events"
BATCH = f"{EVENTS}/batch"
ENROLL = f"/api/v1/relays/{RELAY_ID}/enroll"
RENEW = f"/api/v1/relays/{RELAY_ID}/certificate"
SECONDS = 30.0


class Authority:
    """Signs relays' requests, as the server does."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Root")])
        self._issued = 0
        self.life = timedelta(days=1)
        root = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.root_pem = root.public_bytes(Encoding.PEM).decode()

    def answer(self, request: Received) -> Reply:
        """Answer an enrolment or a renewal."""
        csr = x509.load_pem_x509_csr(request.document()["csr"].encode())
        assert csr.is_signature_valid
        names = x509.SubjectAlternativeName(self._names(csr))
        leaf = (
            self._builder(csr.subject, csr.public_key())
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        ends = (datetime.now(UTC) + self.life).isoformat()
        return Reply(
            201,
            {
                "relayId": RELAY_ID,
                "certificate": f"{CERTIFICATE}-{self._issued}",
                "certificateExpiresAt": ends,
                "tlsCertificate": leaf.public_bytes(Encoding.PEM).decode(),
                "tlsCertificateExpiresAt": ends,
                "tlsSerialNumber": str(leaf.serial_number),
                "rootCertificate": self.root_pem,
            },
        )

    @staticmethod
    def _names(csr: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
        """Return the names asked for, or those on record where there are none."""
        try:
            return list(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            return [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("relay.example")]

    def _builder(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        self._issued += 1
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(self._issued)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
        )


class RelayProcess:
    """One relay process, a context manager; it may be killed and started again."""

    def __init__(
        self, directory: Path, root_pem: str, *arguments: str, address: str | None = "127.0.0.1"
    ) -> None:
        self.directory = directory
        self.lines: list[str] = []
        self.url = ""
        self._arguments = (*arguments, *(("--address", address) if address else ()))
        self._arrived: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._trust = ssl.create_default_context(cadata=root_pem)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> RelayProcess:
        self.launch()
        try:
            port = self.wait_for("relay_started")["listensOn"]
        except BaseException:
            self.kill()
            raise
        self.url = f"https://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def launch(self) -> None:
        """Start it without waiting for it."""
        self._arrived = queue.SimpleQueue()
        command = [sys.executable, "-m", "eventserver_relay", "--data-dir", str(self.data)]
        self._process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", *self._arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self._read, args=(self._process, self._arrived)).start()

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.directory / "relay"

    def wait_for(self, event: str, **members: object) -> dict[str, Any]:
        """Return the next log record of an event with these members."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                line = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {event}:\n" + "".join(self.lines)) from None
            assert line is not None, f"it ended without {event}:\n" + "".join(self.lines)
            record: dict[str, Any] = json.loads(line)
            if record["event"] == event and members.items() <= record.items():
                return record

    def kill(self) -> None:
        """Kill it with SIGKILL, at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(SECONDS)

    def stop(self) -> int:
        """Stop it as an orchestrator would, and return its exit status."""
        self.terminate()
        return self.ended()

    def terminate(self) -> None:
        """Tell it to stop."""
        assert self._process is not None
        self._process.terminate()

    def ended(self) -> int:
        """Return its exit status, once it has ended."""
        assert self._process is not None
        try:
            return self._process.wait(SECONDS)
        finally:
            self._process.kill()

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        """Send an event as a device does."""
        sent = {"Content-Type": "application/json"} | headers
        return httpx.post(
            f"{self.url}/events",
            content=body,
            headers=sent,
            verify=self._trust,
            timeout=SECONDS,
            trust_env=False,
        )

    def health(self) -> dict[str, Any]:
        """Ask how it is."""
        answer = httpx.get(f"{self.url}/health", verify=self._trust, trust_env=False)
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found

    def connect(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """Return a connection with TLS."""
        port = int(self.url.rpartition(":")[2])
        plain = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        return (context or self._trust).wrap_socket(plain, server_hostname="127.0.0.1")

    def _read(self, process: subprocess.Popen[str], arrived: queue.SimpleQueue[str | None]) -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            for line in stream:
                self.lines.append(line)
                arrived.put(line)
        arrived.put(None)


def receipt(request: Received) -> Reply:
    """Answer an event as the server does."""
    return Reply(
        201,
        {
            "eventId": str(request.document().get("id")),
            "hash": "ab" * 32,
            "storageLocation": "filesystem:pack-1",
            "processedAt": "2024-01-01T00:00:05.123Z",
            "status": "stored",
        },
    )


def in_batches(answer: Callable[[Received], Reply]) -> Callable[[Received], Reply]:
    """Answer each event of a batch as it would be answered alone."""

    def answer_all(request: Received) -> Reply:
        results: list[dict[str, Any]] = []
        for number, line in enumerate(request.body.split(b"\n"), 1):
            reply = answer(replace(request, body=line))
            what = "receipt" if reply.status < 400 else "problem"
            results.append({"line": number, "status": reply.status, what: reply.document})
        return Reply(200, {"results": results})

    return answer_all


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once a condition is true."""
    pause = threading.Event()
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        pause.wait(0.02)


def package(name: str = "one", **members: object) -> bytes:
    """Return an event's bytes, never the same twice."""
    return json.dumps({"id": name, "salt": os.urandom(8).hex(), **members}).encode()
