"""What the tests of this plugin share: a deployment of their own, and a proxy before Moto."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import boto3
import botocore.session
import httpx
import pytest
from eventserver_provision_ec2 import EC2Provisioning, EC2Settings

from eventserver_core.backends.provisioning import Enrollment, LaunchRequest
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources
from eventserver_core.testing.parts import Moto

Answer = tuple[int, bytes] | None
"""A status and a body; None breaks the connection off."""
Forward = Callable[[], tuple[int, bytes]]
Rule = Callable[[str, dict[str, str], Forward], Answer]

ERROR = (
    "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
    "<RequestID>1</RequestID></Response>"
)
NOTHING = (
    b'<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
    b"<requestId>1</requestId><reservationSet/></DescribeInstancesResponse>"
)


class Gateway:
    """A proxy before an EC2 that answers in its place when a test wants it.

    Attributes:
        rules: by action, what answers; each may let the request through.
        asked: what was asked for, in order: actions and their parameters.
    """

    def __init__(self, behind: str) -> None:
        self.rules: dict[str, Rule] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._client = httpx.Client(timeout=20)
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                parameters = dict(parse_qsl(body.decode()))
                action = parameters["Action"]
                headers = {name: self.headers[name] for name in ("Authorization", "Content-Type")}

                def forward() -> tuple[int, bytes]:
                    answer = gateway._client.post(behind, content=body, headers=headers)
                    return answer.status_code, answer.content

                gateway.asked.append((action, parameters))
                rule = gateway.rules.get(action)
                answer = rule(action, parameters, forward) if rule else forward()
                if answer is None:
                    self.close_connection = True
                    return
                status, content = answer
                with suppress(ConnectionError):  # who waits no longer has gone
                    self.send_response(status)
                    self.send_header("Content-Type", "text/xml")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    @contextmanager
    def serving(self) -> Iterator[Gateway]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._client.close()

    def count(self, action: str) -> int:
        return len([asked for asked, _ in self.asked if asked == action])

    def refuse(
        self, action: str, code: str, message: str = "as asked for", status: int = 400
    ) -> None:
        """Answer an action with an error of EC2's."""
        body = ERROR.format(code=code, message=message).encode()
        self.rules[action] = lambda *_: (status, body)

    def list_late(self, looks: int) -> None:
        """Let so many looks for machines find none, beginning with the first launch."""
        left = [looks]

        def describe(_action: str, _parameters: dict[str, str], forward: Forward) -> Answer:
            if self.count("RunInstances") and left[0]:
                left[0] -= 1
                return 200, NOTHING
            return forward()

        self.rules["DescribeInstances"] = describe

    def heed_client_tokens(self, *, lost_answers: int = 0) -> None:
        """Let a client token launch one machine, as EC2 does and Moto doesn't.

        Args:
            lost_answers: how many launches are done, and their answers never arrive.
        """
        known: dict[str, tuple[dict[str, str], tuple[int, bytes]]] = {}
        left = [lost_answers]

        def run(_action: str, parameters: dict[str, str], forward: Forward) -> Answer:
            token = parameters["ClientToken"]
            before, answer = known.get(token) or known.setdefault(token, (parameters, forward()))
            if before != parameters:
                return 400, ERROR.format(code="IdempotentParameterMismatch", message="").encode()
            if left[0]:
                left[0] -= 1
                return None
            return answer

        self.rules["RunInstances"] = run


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use Moto's keys, and nothing of the AWS tools that may be set up on this machine."""
    for name, value in Moto.credentials.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _one_model() -> Iterator[None]:
    """Read botocore's description of EC2 once: each of the many backends here would again."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        cached = functools.cache(botocore.session.create_loader)
        monkeypatch.setattr(botocore.session, "create_loader", cached)
        yield


@pytest.fixture
def deployment() -> str:
    """Return the name of a deployment that no other test has."""
    return f"test-{uuid4()}"


@pytest.fixture
def make_settings(tmp_path: Path, deployment: str) -> Callable[..., Settings]:
    """Return a function that reads settings from environment variables, and from nothing else."""

    def make(**keys: str) -> Settings:
        own = {
            "ec2__regions": "us-east-1",
            "ec2__instance_types": "t3.micro,t3.small",
            "ec2__image_ids": f"us-east-1={Moto.image_id}",
            "ec2__deployment": deployment,
        }
        environ = {f"EVENTSERVER__{name.upper()}": value for name, value in (own | keys).items()}
        config = tmp_path / "config"
        config.mkdir(exist_ok=True)
        return Sources(config, environ).load([*CORE_SECTIONS, EC2Settings])

    return make


@pytest.fixture
def make_provisioning(
    make_settings: Callable[..., Settings], moto: Moto
) -> Callable[..., EC2Provisioning]:
    """Return a function that makes a backend for this test's deployment."""

    def make(**keys: str) -> EC2Provisioning:
        return EC2Provisioning.from_settings(make_settings(**{"ec2__endpoint": moto.url} | keys))

    return make


@pytest.fixture
def provisioning(make_provisioning: Callable[..., EC2Provisioning]) -> EC2Provisioning:
    return make_provisioning()


@pytest.fixture
def gateway(moto: Moto) -> Iterator[Gateway]:
    with Gateway(moto.url).serving() as gateway:
        yield gateway


@pytest.fixture
def behind_gateway(
    make_provisioning: Callable[..., EC2Provisioning], gateway: Gateway
) -> EC2Provisioning:
    """Return a backend that reaches Moto through the gateway."""
    return make_provisioning(ec2__endpoint=gateway.url)


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests be sent once: that they are sent again is tested where it matters."""
    monkeypatch.setattr("eventserver_provision_ec2.clients.ATTEMPTS", 1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let looks for a machine that isn't listed follow each other at once."""
    monkeypatch.setattr("eventserver_provision_ec2.backend.LISTING_PAUSES", (0.0,) * 4)


@pytest.fixture
def client(moto: Moto) -> Any:
    """Return a client that looks at what the plugin did, past the plugin."""
    return boto3.client("ec2", region_name=moto.region, endpoint_url=moto.url)


@pytest.fixture
def instance_of(client: Any) -> Callable[[str], dict[str, Any]]:
    """Return a function that returns EC2's own description of a machine."""

    def look(machine_id: str) -> dict[str, Any]:
        instance_id = machine_id.partition("/")[2]
        answer = client.describe_instances(InstanceIds=[instance_id])
        instance: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
        return instance

    return look


@pytest.fixture
def make_request() -> Callable[..., LaunchRequest]:
    """Return a function that makes requests, by default under a key of their own."""

    def make(key: str | None = None, enrollment: Enrollment | None = None) -> LaunchRequest:
        return LaunchRequest(key or str(uuid4()), "us-east-1", "t3.micro", enrollment)

    return make


@pytest.fixture
def make_enrollment() -> Callable[..., Enrollment]:
    """Return a function that makes what machines enrol with."""

    def make(
        token: str = "a token of this test",  # noqa: S107
        root_certificate: str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    ) -> Enrollment:
        return Enrollment(
            server_url="https://eventserver.example",
            relay_id=str(uuid4()),
            token=token,
            expires_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
            root_certificate=root_certificate,
        )

    return make
