"""Nothing that lets somebody in is ever in the log, in the audit trail or in an error."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import falcon.testing
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from eventserver_core.wiring import Services
from eventserver_core.wiring.authority import make_authority

from .network import ADMINS, AUDIT, RELAYS, Admin, Relay

PASSPHRASE = "mQ4vXz81LwNc7TgYb2RkHs6PfJd0UoEa-the-authority"


@pytest.fixture
def services(make_services: Callable[..., Services]) -> Services:
    services = make_services(EVENTSERVER__CA__PASSPHRASE=PASSPHRASE)
    make_authority(services.settings, "Test")
    return services


def test_running_the_network_tells_no_secret(
    services: Services, tmp_path: Path, log_lines: Callable[[], list[str]]
) -> None:
    client = falcon.testing.TestClient(services.application())
    alice, bob = Admin(client).bootstrap(services), Admin(client, "bob")
    relay = Relay(client)
    answers = [alice.register(relay), alice.approve(relay)]
    tokens = [alice.invite(relay), alice.invite(relay)]
    authorization, secrets = alice.authorization(bob), [PASSPHRASE, *tokens]
    answers += [
        alice.authorize(bob, authorization),
        alice.authorize(bob, authorization[:-4] + "AAAA"),
        relay.enroll(tokens[0], "no request"),
        relay.enroll(tokens[0], relay_id="no-relay"),
        relay.enroll(tokens[0]),
        relay.enroll(tokens[0]),
        relay.enroll(tokens[1]),
        relay.renew(),
    ]
    assertion = bob.assertion()
    answers += [bob.obtain_certificate(assertion), bob.obtain_certificate(assertion)]
    answers += [
        alice.post(ADMINS, {"name": "eve", "publicKey": {"kty": "EC"}, "authorization": tokens[0]}),
        alice.post(f"{RELAYS}/{relay.id}/enroll", {"tokenn": tokens[0]}),
    ]
    authority = tmp_path / "data" / "ca" / "issuing.key"
    moved = authority.rename(authority.with_suffix(".away"))
    fresh = falcon.testing.TestClient(services.application())
    services.network.__dict__.pop("_authority", None)
    relay.client = fresh
    answers.append(relay.renew())  # 503: the key is gone
    moved.rename(authority)

    for holder in (alice, bob, relay):
        secrets.append(holder.headers["Authorization"].split(".")[2])
    secrets += [authorization.split(".")[2], assertion.split(".")[2]]
    secrets += [str(admin.key.as_dict(private=True)["d"]) for admin in (alice, bob)]
    private = relay.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secrets.append(base64.b64encode(private).decode()[:60])
    trail = alice.get(AUDIT, limit=1000).text
    errors = [answer.text for answer in answers if answer.status_code >= 400]
    assert len(errors) >= 8
    for text in [*log_lines(), *errors, trail]:
        for secret in secrets:
            assert secret not in text
    assert all(json.loads(line)["event"] for line in log_lines())


def test_a_path_of_the_machine_is_in_no_answer(services: Services, tmp_path: Path) -> None:
    for path in (tmp_path / "data" / "ca").iterdir():
        path.unlink()
    client = falcon.testing.TestClient(services.application())
    for name in ("root.crt", "issuing.crt", "issuing.crl"):
        answer = client.simulate_get(f"/pki/{name}")
        assert answer.status_code == 503
        assert answer.json["code"] == "backend_unavailable"
        assert str(tmp_path) not in answer.text
        assert answer.headers["retry-after"]
