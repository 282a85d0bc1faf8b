"""No error and no line of the log holds a token, a secret or a private key."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eventserver_auth_cert import CertificateAuth

from eventserver_core.backends.auth import Role, Solution
from eventserver_core.errors import EventServerError

HOUR = timedelta(hours=1)


def test_nothing_secret_is_said_however_things_fail(
    auth: CertificateAuth,
    make_auth: Callable[..., CertificateAuth],
    device: Any,
    secret: str,
    signing_key: Ed25519PrivateKey,
    write_key: Callable[..., str],
    clock: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="eventserver_auth_cert")
    token = auth.issue("device:x", Role.DEVICE, HOUR, device.jwk).token
    relay = auth.issue("relay-1", Role.RELAY, HOUR).credentials
    challenge = auth.make_challenge().challenge_id
    package = device.sign(**{"x-device-cert": token})
    private = device.private_jwk
    weak = "hunter2-hunter2"
    raw = base64.b64encode(signing_key.private_bytes_raw()).decode()
    canaries = [secret, secret[::-1], token, challenge, package, private["d"], weak, raw]
    canaries += [text.split(".")[2] for text in (token, challenge, package)]

    stranger = make_auth(auth__jwt_secret=secret[::-1])
    clock.advance(days=30)
    off_curve = private | {"x": private["y"]}
    attempts: list[Callable[[], object]] = [
        lambda: auth.authenticate(token),
        lambda: auth.authenticate(token[:-3] + "AAA"),
        lambda: auth.authenticate(challenge),
        lambda: stranger.authenticate(token),
        lambda: auth.check_solution(Solution(challenge, 0, b"")),
        lambda: auth.check_solution(Solution(token, 0, b"")),
        lambda: auth.check_signed_package(package, relay),
        lambda: stranger.check_signed_package(package, relay),
        lambda: auth.check_signed_package(package[:-3] + "AAA", relay),
        lambda: auth.identify_device(json.dumps(private).encode()),
        lambda: auth.identify_device(json.dumps(private)[:-1].encode()),
        lambda: auth.issue("device:x", Role.DEVICE, HOUR, off_curve),
        lambda: auth.issue("device:x", Role.DEVICE, HOUR, {"d": private["d"]}),
        lambda: make_auth("production", auth__jwt_secret=weak),
        lambda: make_auth("production", auth__previous_jwt_secrets=weak),
        lambda: make_auth(auth__jwt_secret=json.dumps(private)),
        lambda: make_auth(auth__signing_key_file=write_key(signing_key, "o.pem", mode=0o644)),
    ]
    said: list[str] = []
    for attempt in attempts:
        with pytest.raises(EventServerError) as caught:
            attempt()
        said += traceback.format_exception(caught.value)
        said.append(repr(caught.value))
    with contextlib.suppress(EventServerError):
        make_auth("staging", auth__jwt_secret=weak)
        make_auth()
    said += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert any("weak_secret_accepted" in line for line in said)
    for canary in canaries:
        assert not any(canary in line for line in said)
