"""What the tests of the HTTP API share: requests as callers send them, and their answers."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import falcon.testing
from joserfc import jws
from joserfc.jwk import ECKey, OctKey

from eventserver_core.backends.auth import Role
from eventserver_core.backends.guard import GuardedBackend
from eventserver_core.demo.device import Device
from eventserver_core.domain.canonical import canonicalize
from eventserver_core.wiring import Services

Answer = falcon.testing.Result
Client = falcon.testing.TestClient
Headers = Mapping[str, str]

EVENTS = "/api/v1/events"
SIGNED_EVENTS = "/api/v1/events/package"
UNKNOWN = f"{EVENTS}/{'0' * 64}"
CHALLENGE = "/api/v1/pow/challenge"
SOLUTION = "/api/v1/pow/verify"
RECEIPT_MEMBERS = ["eventId", "hash", "storageLocation", "processedAt", "status"]

HOUR = timedelta(hours=1)


def bearer(token: str) -> dict[str, str]:
    """Return the header that shows a certificate."""
    return {"Authorization": f"Bearer {token}"}


def certificate(
    services: Services, role: Role, subject: str, key: Mapping[str, Any] | None = None
) -> str:
    """Return a new certificate."""
    return services.identities.issue(subject, role, HOUR, key).token


def base64url(content: bytes) -> str:
    """Write base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decoded(part: str) -> dict[str, Any]:
    """Return what a part of a token says."""
    return json.loads(base64.urlsafe_b64decode(part + "=="))  # type: ignore[no-any-return]


def claims_of(token: str) -> dict[str, Any]:
    """Return what a token says, whoever signed it."""
    return decoded(token.split(".")[1])


def thumbprint(key: Mapping[str, str]) -> str:
    """Return an EC key's thumbprint (RFC 7638), worked out here."""
    members = {name: key[name] for name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(canonicalize(members)).digest()
    return base64url(digest)


def subject_of(device: Device) -> str:
    """Return the identity that a device's key gives it."""
    return f"device:{thumbprint(device.public_key)}"


def enroll(client: Client, device: Device, **members: Any) -> Answer:
    """Do a proof of work for a device, and trade it for a certificate."""
    challenge = client.simulate_post(CHALLENGE).json
    return client.simulate_post(SOLUTION, json=device.solve(challenge) | members)


def assert_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Make sure that an answer is problem details, whole and harmless, and return them."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    problem: dict[str, Any] = answer.json
    assert {"type", "title", "status", "detail", "code", "requestId"} <= problem.keys()
    assert all(isinstance(problem[name], str) for name in ("type", "title", "detail"))
    assert problem["status"] == status
    assert problem["code"] == code, problem
    assert problem["requestId"] == answer.headers["x-request-id"]
    for trace in ("Traceback", 'File "', ".py", tempfile.gettempdir(), str(Path.cwd())):
        assert trace not in answer.text
    return problem


def pointers(answer: Answer) -> list[str]:
    """Return where an answer says that the faults are."""
    return [fault["pointer"] for fault in answer.json["errors"]]


def assert_nothing_stored(services: Services) -> None:
    """Make sure that there is no object, no draft of one, and no row."""
    assert not list(services.storage.list())
    data_dir = services.database.path
    assert data_dir is not None
    assert not list((data_dir.parent / "incoming").iterdir())
    assert services.batches.backlog().waiting == 0


@dataclass(frozen=True)
class Part:
    """A part of a form."""

    name: str
    content: bytes
    content_type: str = "application/octet-stream"

    @classmethod
    def event(cls, package: Any) -> Part:
        """Return the part that describes the event."""
        content = package if isinstance(package, bytes) else json.dumps(package).encode()
        return cls("event", content, "application/json")

    @classmethod
    def media(cls, content: bytes) -> Part:
        """Return the part that carries the media."""
        return cls("media", content)

    def encode(self, boundary: str) -> bytes:
        """Write the part and the delimiter before it (RFC 7578)."""
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{self.name}"; filename="{self.name}.bin"\r\n'
            f"Content-Type: {self.content_type}\r\n\r\n"
        )
        return head.encode() + self.content + b"\r\n"


def encode_form(*parts: Part) -> tuple[bytes, str]:
    """Write a form; returns the body and its content type."""
    boundary = "form-" + secrets.token_hex(8)
    body = b"".join(part.encode(boundary) for part in parts) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def post_form(client: Client, headers: Headers, *parts: Part) -> Answer:
    """Send a form."""
    body, content_type = encode_form(*parts)
    return client.simulate_post(
        EVENTS, body=body, headers=dict(headers) | {"Content-Type": content_type}
    )


def post_event(client: Client, headers: Headers, package: Any, path: str = EVENTS) -> Answer:
    """Send JSON; text and bytes go as they are."""
    body = package if isinstance(package, str | bytes) else json.dumps(package)
    return client.simulate_post(
        path, body=body, headers={"Content-Type": "application/json"} | dict(headers)
    )


def post_signed(
    client: Client, headers: Headers, jws_text: str, path: str = SIGNED_EVENTS
) -> Answer:
    """Send a signed package."""
    return post_event(client, headers, {"jwtEventData": jws_text}, path)


def patiently(send: Callable[[], Answer]) -> Answer:
    """Send again what was answered with "slower", as callers do; a crowd may be told so."""
    answer = send()
    for _ in range(100):
        if answer.status_code != 429:
            break
        answer = send()
    return answer


def record_of(client: Client, headers: Headers, receipt: Answer) -> dict[str, Any]:
    """Return what is recorded of an event that was sent."""
    answer = client.simulate_get(f"{EVENTS}/{receipt.json['hash']}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json  # type: ignore[no-any-return]


class CountedStream:
    """A body that is made as it is read, and counts what was taken of it.

    Args:
        chunks: the bytes, in any sizes.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""
        self.taken = 0

    def read(self, size: int) -> bytes:
        """Return at most ``size`` of the next bytes; none at the end."""
        self._rest = self._rest or next(self._chunks, b"")
        chunk, self._rest = self._rest[:size], self._rest[size:]
        self.taken += len(chunk)
        return chunk


def post_stream(
    client: Client,
    headers: Headers,
    stream: Any,
    content_type: str,
    *,
    path: str = EVENTS,
    length: int | None = None,
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Send a body as a server hands it over: chunked unless it has a length.

    Returns:
        The status, the JSON that was answered, and the headers.
    """
    sent = dict(headers) | {"Content-Type": content_type}
    if length is None:
        sent["Transfer-Encoding"] = "chunked"
    else:
        sent["Content-Length"] = str(length)
    environ = falcon.testing.create_environ(path=path, method="POST", headers=sent)
    environ["wsgi.input"] = stream
    if length is None:
        environ.pop("CONTENT_LENGTH", None)
    started = falcon.testing.StartResponseMock()
    body = b"".join(client.app(environ, started))
    return int(started.status[:3]), json.loads(body), dict(started.headers)


def craft_token(secret: str, claims: Mapping[str, Any], **header: Any) -> str:
    """Sign claims with a server's own secret, as a certificate of another time would be."""
    registry = jws.JWSRegistry(algorithms=["HS256"], strict_check_header=False)
    return jws.serialize_compact(
        {"alg": "HS256", "typ": "JWT"} | header,
        json.dumps(dict(claims)),
        OctKey.import_key(secret),
        registry=registry,
    )


def device_claims(device: Device, begins: int, ends: int, **changed: Any) -> dict[str, Any]:
    """Return the claims of a device's certificate."""
    key = {name: device.public_key[name] for name in ("kty", "crv", "x", "y")}
    return {
        "iss": "eventserver",
        "aud": "eventserver",
        "sub": subject_of(device),
        "role": "device",
        "jti": secrets.token_hex(16),
        "iat": begins,
        "exp": ends,
        "cnf": {"jwk": key},
    } | changed


def private_key(device: Device) -> ECKey:
    """Return a device's key pair."""
    key: ECKey = device._key
    return key


def seconds(offset: float = 0) -> int:
    """Return the present as JWTs have it."""
    return int(time.time() + offset)


class Faulty:
    """A backend some of whose methods do something else.

    Args:
        backend: does the rest.
        methods: what is called in place of its own.
    """

    def __init__(self, backend: Any, **methods: Callable[..., Any]) -> None:
        for name in dir(backend):
            if not name.startswith("_"):
                self.__dict__[name] = getattr(backend, name)
        self.__dict__.update(methods)


def replace_backend(
    services: Services, role: str, time_limit: float = 30, **methods: Callable[..., Any]
) -> None:
    """Choose a plugin named ``faulty`` for a role; the application must not be made yet."""
    backend = Faulty(services.plugins.backend(role, services.settings), **methods)
    attribute = {"ratelimit": "limiter"}.get(role, role)
    services._backends[role] = backend
    services.__dict__[attribute] = GuardedBackend(role, "faulty", backend, time_limit)
