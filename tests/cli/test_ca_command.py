"""``eventserver ca``: the authority that relays' TLS certificates come from."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography import x509

from .conftest import Run

PASSPHRASE = "f3b1c9d07a5e42869b0d1c2e3f405162738495a6b7c8d9eafb0c1d2e3f405162"


def test_an_authority_is_made_once(run: Run) -> None:
    result = run("ca", "init", "--name", "Test")
    assert result.exit_code == 0, result.output
    assert "root.key" in result.stderr
    made = {path.name: path.read_bytes() for path in Path("data/ca").iterdir()}
    assert set(made) == {"root.key", "root.crt", "issuing.key", "issuing.crt"}
    for name in ("root.key", "issuing.key"):
        assert stat.S_IMODE(Path("data/ca", name).stat().st_mode) == 0o600
        assert b"ENCRYPTED" in made[name]
    again = run("ca", "init")
    assert again.exit_code == 1
    assert {path.name: path.read_bytes() for path in Path("data/ca").iterdir()} == made


def test_it_is_shown_without_its_root_key(run: Run) -> None:
    run("ca", "init")
    Path("data/ca/root.key").unlink()
    shown = json.loads(run("ca", "show", "--json").stdout)
    pem = run("ca", "show", "--pem").stdout
    root = x509.load_pem_x509_certificate(pem.encode())
    assert shown["root"] == root.subject.rfc4514_string() == "CN=EventServer root"
    assert shown["rootSha256"] in run("ca", "show").stdout


def test_without_one_it_is_told_what_to_do(run: Run) -> None:
    result = run("ca", "show")
    assert result.exit_code == 78
    assert "eventserver ca init" in result.stderr


def test_in_production_the_passphrase_must_be_given_and_long(run: Run) -> None:
    production = {
        "EVENTSERVER_ENVIRONMENT": "production",
        "JWT_SECRET": "d41d8cd98f00b204e9800998ecf8427e7a3b1c5d",
    }
    missing = run("ca", "init", **production)
    assert (missing.exit_code, "ca.passphrase: missing" in missing.stderr) == (78, True)
    short = run("ca", "init", EVENTSERVER__CA__PASSPHRASE="short", **production)
    assert (short.exit_code, "ca.passphrase: it is" in short.stderr) == (78, True)
    example = "your-secret-key-change-in-production-please"
    copied = run("ca", "init", EVENTSERVER__CA__PASSPHRASE=example, **production)
    assert (copied.exit_code, "ca.passphrase: it is" in copied.stderr) == (78, True)
    checked = run("check-config", EVENTSERVER__CA__PASSPHRASE="short", **production)
    assert checked.exit_code == 78
    assert not Path("data/ca").exists()
    made = run("ca", "init", EVENTSERVER__CA__PASSPHRASE=PASSPHRASE, **production)
    assert made.exit_code == 0, made.output
    assert PASSPHRASE not in made.output


def test_another_passphrase_is_told(run: Run) -> None:
    run("ca", "init", EVENTSERVER__CA__PASSPHRASE=PASSPHRASE)
    result = run("ca", "show", EVENTSERVER__CA__PASSPHRASE=PASSPHRASE[::-1])
    assert result.exit_code == 78
    assert "passphrase" in result.stderr
    assert PASSPHRASE[::-1] not in result.output


@pytest.mark.parametrize("directory", ["/proc/nowhere", "file/below"])
def test_a_directory_that_cannot_be_made_is_told(run: Run, directory: str) -> None:
    Path("file").touch()
    result = run("ca", "init", EVENTSERVER__CA__DIRECTORY=directory)
    assert result.exit_code == 78
    assert directory in result.stderr


def test_another_issuing_certificate_by_the_same_root(run: Run) -> None:
    run("ca", "init")
    before = json.loads(run("ca", "show", "--json").stdout)
    result = run("ca", "renew")
    assert result.exit_code == 0, result.output
    assert "root.key" in result.stderr
    after = json.loads(run("ca", "show", "--json").stdout)
    assert after["rootSha256"] == before["rootSha256"]
    entry = json.loads(run("audit", "show", "--json").stdout.splitlines()[-1])
    assert (entry["action"], entry["target"]) == ("authority_renewed", after["rootSha256"])
    Path("data/ca/root.key").unlink()
    result = run("ca", "renew")
    assert (result.exit_code, "bring the root's key back" in result.stderr) == (78, True)
