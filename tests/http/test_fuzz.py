"""Whatever is sent, the answer is one of ours: never a 5xx, always problem details or a receipt."""

from __future__ import annotations

import base64
import copy
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import falcon.testing
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services, load_configuration, prepare_schema

from .exchange import (
    CHALLENGE,
    EVENTS,
    SIGNED_EVENTS,
    SOLUTION,
    Client,
    Part,
    base64url,
    bearer,
    certificate,
    encode_form,
    seconds,
    subject_of,
)

GIF = bytes.fromhex("474946383961010001000000002c00000000010001000002003b")
ROUTES = [EVENTS, SIGNED_EVENTS, CHALLENGE, SOLUTION]
fuzzed = settings(max_examples=200, deadline=None, derandomize=True)


@dataclass
class Server:
    """An application, and certificates that it takes."""

    client: Client
    tokens: dict[str, str]
    device: Device


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("fuzz")
    environ = {
        "EVENTSERVER__SERVER__DATA_DIR": str(directory / "data"),
        "EVENTSERVER__SERVER__MAX_JSON_SIZE": "200000",
        "EVENTSERVER__STORAGE__MAX_INLINE_SIZE": "20000",
        "EVENTSERVER__STORAGE__MAX_FILE_SIZE": "30000",
        "EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE": "1000000",
        "EVENTSERVER__SECURITY__ALLOWED_ORIGINS": "https://app.example",
    }
    services = Services(load_configuration(directory, environ))
    prepare_schema(services.database)
    device = Device()
    tokens = {
        "relay": certificate(services, Role.RELAY, "relay-1"),
        "device": certificate(services, Role.DEVICE, subject_of(device), device.public_key),
        "admin": certificate(services, Role.ADMIN, "admin-1"),
    }
    yield Server(falcon.testing.TestClient(services.application()), tokens, device)
    services.database.close()


def call(
    server: Server, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes, dict[str, str]]:
    """Call the application as a server would that lets every header through."""
    environ = falcon.testing.create_environ(method=method)
    environ["PATH_INFO"] = path
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        own = key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        environ[key if own else f"HTTP_{key}"] = value
    started = falcon.testing.StartResponseMock()
    content = b"".join(server.client.app(environ, started))
    return int(started.status[:3]), content, dict(started.headers)


def assert_sane(
    status: int, content: bytes, headers: dict[str, str], *, has_body: bool = True
) -> None:
    assert status < 500, content
    assert headers["x-request-id"]
    if status >= 400:
        assert headers["content-type"] == "application/problem+json"
    if status >= 400 and has_body:
        problem = json.loads(content)
        assert problem["status"] == status
        assert problem["code"]
        assert b"Traceback" not in content
    for value in headers.values():
        assert "\n" not in value
        assert "\r" not in value


numbers = st.integers() | st.floats() | st.sampled_from([2**53, 2**64, 1e308, -0.0, 10**400])
texts = st.text(max_size=40) | st.sampled_from(["\ud800", "\0", "\uffff", "a" * 5000, "../..", "é"])
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
header_values = st.text(
    st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=60
)
content_types = header_values | st.sampled_from(
    [
        "application/json",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=B",
        'multipart/form-data; boundary="B"',
        "multipart/form-data; boundary=\xff",
        "multipart/form-data; boundary*=utf-8''%ff",
        "multipart/mixed; boundary=B",
    ]
)
headers = st.fixed_dictionaries(
    {"Content-Type": content_types},
    optional={
        "Content-Encoding": header_values,
        "Content-Length": st.sampled_from(["", "-1", "x", "1e9", "0", "9" * 30, "٣"])
        | header_values,
        "X-Request-ID": header_values,
        "X-Forwarded-For": header_values,
        "Origin": header_values,
        "Accept": header_values,
        "Accept-Encoding": header_values,
        "Expect": header_values,
        "If-None-Match": header_values,
        "Range": header_values,
        "Cookie": header_values,
        "Transfer-Encoding": header_values,
        "X-HTTP-Method-Override": st.sampled_from(["DELETE", "GET"]),
    },
)
roles = st.sampled_from(["relay", "device"])


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where every value of a document is."""
    yield place
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for name, member in inside:
        yield from places(member, (*place, name))


@st.composite
def altered(draw: st.DrawFn, document: Any) -> Any:
    """Return a valid document of which up to three places hold something else, or nothing."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        everywhere = [place for place in places(document) if place]
        if not everywhere:
            break
        *way, name = draw(st.sampled_from(everywhere))
        parent = document
        for step in way:
            parent = parent[step]
        if draw(st.booleans()):
            parent[name] = draw(json_values)
        elif isinstance(parent, dict):
            del parent[name]
        else:
            parent.insert(0, parent[name])
    return document


def dump(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


PACKAGE = make_package(id="550e8400-e29b-41d4-a716-446655440000") | {
    "media": {"type": "image/gif", "name": "dot.gif", "size": len(GIF), "sha256": None}
}
INLINE = PACKAGE | {"media": PACKAGE["media"] | {"data": base64.b64encode(GIF).decode()}}
SOLVED = {
    "solution": {"challenge_id": "e30.e30.AAAA", "nonce": 5, "hash": "AAAA"},
    "public_key": base64.b64encode(json.dumps(Device().public_key).encode()).decode(),
    "relay_id": "device_1",
}


@pytest.mark.parametrize("route", ROUTES)
class TestEveryPostRoute:
    @fuzzed
    @given(role=roles, body=st.binary(max_size=300), sent=headers)
    def test_any_bytes_with_any_headers(
        self, server: Server, route: str, role: str, body: bytes, sent: dict[str, str]
    ) -> None:
        authorized = bearer(server.tokens[role]) | sent
        assert_sane(*call(server, "POST", route, body, authorized))

    @fuzzed
    @given(role=roles, document=json_values)
    def test_any_json(self, server: Server, route: str, role: str, document: Any) -> None:
        sent = bearer(server.tokens[role]) | {"Content-Type": "application/json"}
        assert_sane(*call(server, "POST", route, dump(document), sent))

    @fuzzed
    @given(role=roles, document=altered(INLINE) | altered(SOLVED))
    def test_what_was_nearly_right(
        self, server: Server, route: str, role: str, document: Any
    ) -> None:
        sent = bearer(server.tokens[role]) | {"Content-Type": "application/json"}
        assert_sane(*call(server, "POST", route, dump(document), sent))

    @fuzzed
    @given(authorization=header_values | header_values.map(lambda text: f"Bearer {text}"))
    def test_any_authorization(self, server: Server, route: str, authorization: str) -> None:
        sent = {"Authorization": authorization, "Content-Type": "application/json"}
        assert_sane(*call(server, "POST", route, b"{}", sent))


part_heads = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="event"',
        b'Content-Disposition: form-data; name="media"; filename="a.gif"',
        b"Content-Disposition: form-data; name=event; filename*=utf-8''%ff",
        b'Content-Disposition: form-data; name="\xff"',
        b"Content-Disposition:",
        b"Content-Type: application/json; charset=\xff",
        b"Content-Transfer-Encoding: base64",
    ]
) | st.binary(max_size=40)
part_bodies = (
    st.binary(max_size=100) | altered(PACKAGE).map(dump) | st.just(GIF) | st.just(b"\r\n--B--\r\n")
)


class TestForms:
    @fuzzed
    @given(
        role=roles,
        parts=st.lists(st.tuples(st.lists(part_heads, max_size=3), part_bodies), max_size=4),
        end=st.sampled_from([b"--B--\r\n", b"--B--", b"--B", b""]) | st.binary(max_size=20),
    )
    def test_any_parts(
        self, server: Server, role: str, parts: list[tuple[list[bytes], bytes]], end: bytes
    ) -> None:
        body = b"".join(
            b"--B\r\n" + b"\r\n".join([*heads, b"", content]) + b"\r\n" for heads, content in parts
        )
        sent = bearer(server.tokens[role]) | {"Content-Type": "multipart/form-data; boundary=B"}
        assert_sane(*call(server, "POST", EVENTS, body + end, sent))

    @fuzzed
    @given(event=altered(PACKAGE), media=st.binary(max_size=50), cut=st.integers(0, 400))
    def test_a_form_that_was_nearly_right(
        self, server: Server, event: Any, media: bytes, cut: int
    ) -> None:
        content = GIF + media
        body, content_type = encode_form(Part.event(dump(event)), Part.media(content))
        sent = bearer(server.tokens["relay"]) | {"Content-Type": content_type}
        assert_sane(*call(server, "POST", EVENTS, body[: len(body) - cut], sent))


CLAIMS = {
    "sub": "event_submission",
    "aud": "event_server",
    "iss": "event_client",
    "iat": 1_700_000_000,
    "exp": 4_000_000_000,
    "payload": INLINE,
    "event_hash": "0" * 64,
}
HEADER = {"typ": "JWT", "alg": "ES256", "jwk": Device().public_key, "x-device-cert": "a.b.c"}


class TestSignedPackages:
    @fuzzed
    @given(
        role=roles,
        header=altered(HEADER),
        claims=altered(CLAIMS),
        signature=st.binary(max_size=70),
    )
    def test_any_that_is_not_signed(
        self, server: Server, role: str, header: Any, claims: Any, signature: bytes
    ) -> None:
        parts = [dump(header), dump(claims), signature]
        text = ".".join(map(base64url, parts))
        sent = bearer(server.tokens[role]) | {"Content-Type": "application/json"}
        body = dump({"jwtEventData": text})
        assert_sane(*call(server, "POST", SIGNED_EVENTS, body, sent))

    @fuzzed
    @given(
        package=altered(INLINE) | st.just(INLINE),
        claims=st.just({}) | altered(CLAIMS).map(lambda c: c if isinstance(c, dict) else {}),
    )
    def test_any_that_its_device_did_sign(
        self, server: Server, package: Any, claims: dict[str, Any]
    ) -> None:
        claims.pop("payload", None)
        try:
            text = server.device.sign(package, issued_at=seconds(), **claims)
        except (ValueError, TypeError):
            reject()  # what can't be written can't be sent
        sent = bearer(server.tokens["device"]) | {"Content-Type": "application/json"}
        body = dump({"jwtEventData": text})
        assert_sane(*call(server, "POST", SIGNED_EVENTS, body, sent))


class TestPaths:
    @fuzzed
    @given(
        method=st.sampled_from(["GET", "HEAD", "DELETE", "PUT", "POST", "OPTIONS"]),
        name=st.text(st.characters(max_codepoint=255), max_size=40),
        path=st.sampled_from(
            [
                "/{}",
                "/api/v1/events/{}",
                "/api/v1/events/{}/verify",
                "/api/v1/events/{}/proof",
                "/api/v1/events/{}/package",
                "/api/v1/certificates/{}",
            ]
        ),
    )
    def test_any_path(self, server: Server, method: str, name: str, path: str) -> None:
        sent = bearer(server.tokens["admin"])
        answer = call(server, method, path.replace("{}", name), b"", sent)
        assert_sane(*answer, has_body=method != "HEAD")
