"""Requests made up from the description, with each certificate: every answer is as it says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from eventserver_core.backends.auth import IssuedCertificate, Role
from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess, clean_environ
from eventserver_core.wiring import load_configuration
from eventserver_core.wiring.authority import make_authority

from .conftest import variables

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("schemathesis")]

# What a description can't say is refused all the same: that bytes are no GIF, or a key on no curve.
# 503 is an answer that is described: "later", as it is told where a machine has no address yet.
CONFIGURATION = """
hooks = "hooks.py"
seed = 20240101
workers = 1
continue-on-failure = true

[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
positive_data_acceptance.expected-statuses = ["2xx", "3xx", 400, 401, 403, 404, 409, 415, 422, 503]

[generation]
deterministic = true
max-examples = 8
"""
# a batch is answered line by line: what is wrong with a line is no refusal of the whole
BATCH = """
[[operations]]
include-operation-id = "sendEventBatch"
checks.negative_data_rejection.expected-statuses = ["2xx", "4xx"]
"""
HOOKS = """
import json
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def write_line(ctx, value):
    return json.dumps(value).encode("utf-8", "replace")
"""
# for everyone else the list of relays takes no parameters, and so refuses none
NOT_FOR_ADMINS = """
[[operations]]
include-operation-id = "listRelays"
checks.negative_data_rejection.expected-statuses = ["2xx", "4xx"]
"""


@pytest.fixture
def server(
    tmp_path: Path, issue: Callable[[Role, str], IssuedCertificate]
) -> Iterator[EventServerProcess]:
    """A server whose limits nobody reaches, on the embedded defaults, with an event."""
    data_dir = {"EVENTSERVER__SERVER__DATA_DIR": str(tmp_path / "data")}
    make_authority(load_configuration(tmp_path, data_dir).settings, "Test")
    settings = variables(
        {
            "server__workers": 1,
            "security__rate_limit_per_minute": 1_000_000,
            "security__rate_limit_public": "1000000/60",
        }
    )
    with EventServerProcess(["serve", "--with-worker"], tmp_path, settings) as process:
        token = issue(Role.RELAY, "relay-0").token
        sent = httpx.post(
            f"{process.url}/api/v1/events",
            json=make_package(),
            headers={"Authorization": f"Bearer {token}"},
        )
        assert sent.status_code == 201, sent.text
        yield process


@pytest.mark.parametrize("role", list(Role))
def test_nothing_is_answered_that_is_not_described(
    tmp_path: Path,
    server: EventServerProcess,
    issue: Callable[[Role, str], IssuedCertificate],
    role: Role,
) -> None:
    token = issue(role, f"{role.value}-1").token
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION + BATCH + ("" if role is Role.ADMIN else NOT_FOR_ADMINS))
    (tmp_path / "hooks.py").write_text(HOOKS)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)]
    done = subprocess.run(
        [
            *command,
            "run",
            f"{server.url}/openapi.json",
            "--header",
            f"Authorization: Bearer {token}",
            "--checks",
            "all",
        ],
        cwd=tmp_path,
        env=clean_environ() | {"NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=timedelta(minutes=5).total_seconds(),
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    operations = sum(len(methods) for methods in described.values())
    # it leaves out the one that it read the description by
    assert f"Tested: {operations - 1}" in done.stdout, done.stdout[-3_000:]
