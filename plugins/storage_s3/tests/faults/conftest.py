"""A proxy between the plugin and SeaweedFS, which does to requests what networks and stores do."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from eventserver_storage_s3 import S3Storage
from minio import Minio
from minio.error import S3Error

from eventserver_core.testing.parts import SeaweedFS


@dataclass
class Request:
    """One request of the plugin's."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    kind: str = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.target)
        query = parse_qs(parts.query, keep_blank_values=True)
        self.bucket, _, self.name = parts.path.lstrip("/").partition("/")
        where = "object" if self.name else "bucket"
        if "uploads" in query:
            where = "begin"
        elif "partNumber" in query:
            where = "part"
        elif "uploadId" in query:
            where = "finish" if self.method == "POST" else "abort"
        elif "x-amz-copy-source" in self.headers:
            where = "copy"
        self.kind = where if where not in ("object", "bucket") else f"{self.method} {where}"


@dataclass
class Answer:
    """One answer of the store's."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Fault:
    """What is done to requests of one kind, and how often."""

    kind: str
    name: str
    times: int | None

    def takes(self, request: Request) -> bool:
        if request.kind != self.kind or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FaultyProxy:
    """Passes everything on to the store but what was told to fail.

    The faults: ``slow down`` answers 503; ``drop`` closes the connection and passes nothing on;
    ``lose`` passes the request on and closes without an answer; ``hang`` never answers; ``cut``
    ends the answer in the middle; ``wrong etag`` changes the answer's ETag; ``truncate`` stores
    half of what came and says that all is well; ``garbage`` answers with a page of HTML;
    ``redirect`` sends elsewhere. Of stores that are not quite S3: ``refuse`` answers 501, ``refuse
    checksums`` answers 400 to what has one, ``say nothing`` leaves checksums and ETags out of the
    answer, ``echo checksum`` says the one that came and looks at nothing (``truncate and echo``
    when half is stored), ``ignore condition`` writes what is there already, ``conflict`` and ``not
    modified`` answer 409 and 304, ``ignore range`` gives the whole object, ``ignore encryption``
    says that nothing was encrypted.
    """

    def __init__(self, server: SeaweedFS, client: Minio, tls: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._client = client
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._closing = threading.Event()
        self.seen: list[Request] = []
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_port}"

    def fail(self, kind: str, name: str, times: int | None = None) -> None:
        """Do this to requests of a kind from now on, ``times`` times or always."""
        with self._lock:
            self._faults.append(Fault(kind, name, times))

    def heal(self) -> None:
        """Do nothing more to anything, and forget what was seen."""
        with self._lock:
            self._faults.clear()
            self.seen.clear()

    def counts(self) -> Counter[str]:
        """Return how many requests of each kind were seen."""
        with self._lock:
            return Counter(request.kind for request in self.seen)

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def handle(self, request: Request) -> Answer | None:
        """Return the answer; None closes the connection."""
        with self._lock:
            self.seen.append(request)
            fault = next((f.name for f in self._faults if f.takes(request)), "")
        match fault:
            case "slow down":
                return _error(503, "SlowDown")
            case "garbage":
                return Answer(200, {"Content-Type": "text/html"}, b"<html>Welcome<br></html>")
            case "redirect":
                return Answer(307, {"Location": f"{self._server.url}/elsewhere"}, b"")
            case "refuse":
                return _error(501, "NotImplemented")
            case "refuse checksums" if any("x-amz-checksum-" in name for name in request.headers):
                return _error(400, "InvalidArgument")
            case "conflict":
                return _error(409, "ConditionalRequestConflict")
            case "not modified":
                return Answer(304, {}, b"")
            case "ignore condition":
                request.headers.pop("if-none-match", None)
                return self._write(request, request.body)
            case "echo checksum" | "truncate and echo":
                half = len(request.body) // 2 if fault == "truncate and echo" else None
                answer = self._write(request, request.body[:half])
                return replace(answer, headers=answer.headers | _checksums(request))
            case "ignore range":
                return self._whole(request)
            case "drop":
                return None
            case "hang":
                self._closing.wait()
                return None
            case "truncate":
                return self._write(request, request.body[: len(request.body) // 2])
        answer = self._pass_on(request)
        match fault:
            case "lose":
                return None
            case "cut":
                answer.headers["Content-Length"] = str(len(answer.body))
                answer.body = answer.body[: len(answer.body) // 2]
            case "say nothing":
                answer.headers = _without("x-amz-checksum", _without("etag", answer.headers))
            case "ignore encryption":
                answer.headers = _without("x-amz-server-side", answer.headers)
            case "wrong etag":
                etags = [name for name in answer.headers if name.lower() == "etag"]
                answer.headers |= dict.fromkeys(etags, '"0123456789abcdef0123456789abcdef"')
        return answer

    def _write(self, request: Request, content: bytes) -> Answer:
        """Store this in place of what came, and answer as if it were that."""
        query: dict[str, Any] = {
            name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()
        }
        condition = request.headers.get("if-none-match")
        headers: dict[str, Any] = {"If-None-Match": condition} if condition else {}
        try:
            written = self._client._execute(
                "PUT", request.bucket, request.name, content, headers, query
            )
        except S3Error as ex:
            return _error(ex.response.status, ex.code or "")
        return Answer(200, {"ETag": written.headers["etag"]}, b"")

    def _whole(self, request: Request) -> Answer:
        found = self._client.get_object(request.bucket, request.name)
        try:
            return Answer(200, {}, found.read())
        finally:
            found.close()

    def _pass_on(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port)
        try:
            connection.putrequest(
                request.method, request.target, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(request.body)
            got = connection.getresponse()
            headers = {
                name: value
                for name, value in got.getheaders()
                if name.lower() not in ("connection", "transfer-encoding", "date", "server")
            }
            return Answer(got.status, headers, got.read())
        finally:
            connection.close()


def _error(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>as the test has it</Message></Error>"
    return Answer(status, {"Content-Type": "application/xml"}, body.encode())


def _checksums(request: Request) -> dict[str, str]:
    return {n: value for n, value in request.headers.items() if n.startswith("x-amz-checksum-")}


def _without(prefix: str, headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not name.lower().startswith(prefix)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.proxy.handle(Request(self.command, self.path, headers, body))
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        lengths = [int(v) for n, v in answer.headers.items() if n.lower() == "content-length"]
        if not lengths:
            self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        is_cut = self.command != "HEAD" and any(length > len(answer.body) for length in lengths)
        self.close_connection = is_cut

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def proxy(seaweedfs: SeaweedFS, client: Minio) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(seaweedfs, client)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture
def tls_proxy(
    seaweedfs: SeaweedFS, client: Minio, certificate_files: tuple[Path, Path]
) -> Iterator[FaultyProxy]:
    """Return a proxy that speaks TLS, with a certificate that nobody trusts yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate_files)
    proxy = FaultyProxy(seaweedfs, client, context)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture(scope="session")
def certificate_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_file, key_file


@pytest.fixture
def make_proxied(
    make_storage: Callable[..., S3Storage], proxy: FaultyProxy
) -> Callable[..., S3Storage]:
    """Return a function that makes a backend behind the proxy, which knows its store already."""

    def make(**keys: str) -> S3Storage:
        storage = make_storage(storage__endpoint=proxy.url, **({"s3__max_retries": "2"} | keys))
        proxy.heal()
        return storage

    return make


@pytest.fixture
def proxied(make_proxied: Callable[..., S3Storage]) -> S3Storage:
    return make_proxied()
