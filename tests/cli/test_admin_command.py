"""``eventserver admin``: the first admin, and a look at the others."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import falcon.testing
import pytest
from joserfc.jwk import ECKey

from eventserver_core.wiring import Services, load_configuration

from .conftest import Run


def keygen(run: Run, name: str = "alice.pem") -> Path:
    """Make a key pair, and return where the public key is."""
    result = run("admin", "keygen", name)
    assert result.exit_code == 0, result.output
    return Path(f"{name}.jwk")


def bootstrap(run: Run, *arguments: object) -> dict[str, str]:
    """Make an admin, and return what was said of it."""
    result = run("admin", "bootstrap", "--name", "alice", "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, str] = json.loads(result.stdout)
    return found


def test_a_key_pair_is_made_for_its_owner_alone(run: Run) -> None:
    jwk = keygen(run)
    private = Path("alice.pem")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    public = json.loads(jwk.read_text())
    assert "d" not in public
    key = ECKey.import_key(private.read_bytes())
    assert key.as_dict(private=False)["x"] == public["x"]


@pytest.mark.parametrize("there", ["alice.pem", "alice.pem.jwk"])
def test_no_key_is_overwritten(run: Run, there: str) -> None:
    Path(there).write_text("mine")
    result = run("admin", "keygen", "alice.pem")
    assert result.exit_code == 1
    assert f"{there} is there already" in result.output
    assert Path(there).read_text() == "mine"


def test_the_first_admin_gets_its_certificate_and_nothing_else_is_printed(run: Run) -> None:
    jwk = keygen(run)
    result = run("admin", "bootstrap", "--name", "alice", "--public-key", jwk)
    (token,) = result.stdout.splitlines()
    shown = json.loads(run("certificate", "show", token).stdout)
    assert shown["role"] == "admin"
    assert shown["publicKey"]["x"] == json.loads(jwk.read_text())["x"]
    listed = json.loads(run("admin", "list", "--json").stdout)
    assert [admin["adminId"] for admin in listed] == [shown["subject"]]


def test_a_second_one_is_refused_unless_forced(run: Run) -> None:
    bootstrap(run, "--public-key", keygen(run))
    other = keygen(run, "bob.pem")
    result = run("admin", "bootstrap", "--name", "bob", "--public-key", other)
    assert result.exit_code == 1
    assert "--force" in result.output
    assert bootstrap(run, "--public-key", other, "--force")["adminId"]
    actions = [json.loads(line) for line in run("audit", "show", "--json").stdout.splitlines()]
    assert [(entry["action"], entry["details"].get("forced")) for entry in actions] == [
        ("admin_bootstrapped", False),
        ("admin_bootstrap_refused", None),
        ("admin_bootstrapped", True),
    ]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kty": "oct", "k": "AA"}', "\0"])
def test_what_is_no_public_key_is_refused(run: Run, content: str) -> None:
    Path("key.jwk").write_text(content)
    result = run("admin", "bootstrap", "--name", "alice", "--public-key", "key.jwk")
    assert result.exit_code == 1
    assert "invalid_request" in result.output
    assert run("admin", "list").stdout == ""


def test_a_private_key_is_refused(run: Run) -> None:
    key = ECKey.generate_key("P-256").as_dict(private=True)
    Path("key.jwk").write_text(json.dumps(key))
    result = run("admin", "bootstrap", "--name", "alice", "--public-key", "key.jwk")
    assert result.exit_code == 1
    assert str(key["d"]) not in result.output


def test_an_admin_is_withdrawn_with_its_certificates(run: Run) -> None:
    bootstrap(run, "--public-key", keygen(run))
    bob = bootstrap(run, "--public-key", keygen(run, "bob.pem"), "--force")
    assert run("admin", "withdraw", bob["adminId"]).stdout == "withdrawn\n"
    shown = run("certificate", "show", bob["certificate"])
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["code"] == "certificate_revoked"
    assert "withdrawn" in run("admin", "list").stdout


def test_the_last_admin_and_nobody_are_not_withdrawn(run: Run) -> None:
    alice = bootstrap(run, "--public-key", keygen(run))
    result = run("admin", "withdraw", alice["adminId"])
    assert (result.exit_code, "last_admin" in result.output) == (1, True)
    result = run("admin", "withdraw", "nobody")
    assert (result.exit_code, "not_found" in result.output) == (1, True)


def test_what_admins_sign_is_taken(run: Run) -> None:
    """From the key pair to the second admin's certificate, by the printed bodies alone."""
    alice = bootstrap(run, "--public-key", keygen(run))
    bob_key = keygen(run, "bob.pem")
    printed = run(
        *("admin", "authorize", "--key", "alice.pem", "--admin-id", alice["adminId"]),
        *("--name", "bob", "--public-key", bob_key),
    )
    services = Services(load_configuration())
    client = falcon.testing.TestClient(services.application())
    headers = {"Authorization": f"Bearer {alice['certificate']}"}
    made = client.simulate_post("/api/v1/admins", headers=headers, json=json.loads(printed.stdout))
    assert made.status_code == 201, made.text
    bob = made.json["adminId"]
    asserted = run("admin", "assert", "--key", "bob.pem", "--admin-id", bob)
    issued = client.simulate_post(
        f"/api/v1/admins/{bob}/certificate", json=json.loads(asserted.stdout)
    )
    assert issued.status_code == 201, issued.text
    shown = json.loads(run("certificate", "show", issued.json["certificate"]).stdout)
    assert (shown["subject"], shown["role"]) == (bob, "admin")
    services.database.close()


@pytest.mark.parametrize("content", ["", "no key", "{}"])
def test_what_is_no_private_key_signs_nothing(run: Run, content: str) -> None:
    Path("key.pem").write_text(content)
    result = run("admin", "assert", "--key", "key.pem", "--admin-id", "me")
    assert result.exit_code == 1
    assert "admin keygen" in result.output


def test_a_private_key_where_a_public_one_is_wanted_is_told(run: Run) -> None:
    keygen(run)
    result = run("admin", "bootstrap", "--name", "alice", "--public-key", "alice.pem")
    assert result.exit_code == 1
    assert "alice.pem.jwk" in result.output
