"""Loading an authority: what doesn't hold together starts nothing, and says what to do."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from eventserver_core.domain import instant
from eventserver_core.errors import ConfigurationError
from eventserver_core.pki.authority import CertificateAuthority, create_authority
from eventserver_core.pki.loading import load_authority, load_root

from .samples import NOW, PASSPHRASE, RELAY_ID, checked

ORDER = ["root.key", "root.crt", "issuing.key", "issuing.crt"]


def load(
    directory: Path, passphrase: bytes = PASSPHRASE, now: datetime = NOW, url: str | None = None
) -> CertificateAuthority:
    return CertificateAuthority.load(directory, passphrase, crl_url=url, issuer_url=None, now=now)


def fault(directory: Path, passphrase: bytes = PASSPHRASE, now: datetime = NOW) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(directory, passphrase, now)
    assert PASSPHRASE.decode() not in str(caught.value)
    return str(caught.value)


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def test_what_was_made_is_loaded(made: Path) -> None:
    authority = load(made)
    assert authority.root_pem.encode() == (made / "root.crt").read_bytes()
    assert len(authority.fingerprint) == 64


def test_the_present_is_what_counts_if_nothing_else_is_said(tmp_path: Path) -> None:
    create_authority(tmp_path / "ca", PASSPHRASE, "Sample", instant.now())
    assert CertificateAuthority.load(tmp_path / "ca", PASSPHRASE, crl_url=None, issuer_url=None)


def test_the_roots_key_may_be_elsewhere(directory: Path) -> None:
    (directory / "root.key").unlink()
    assert load(directory).issue(checked(), RELAY_ID, timedelta(days=1), NOW)


@pytest.mark.parametrize("name", ["ca", "above/ca"])
def test_none_at_all_is_told_how_to_make_one(tmp_path: Path, name: str) -> None:
    assert "run: eventserver ca init" in fault(tmp_path / name)
    (tmp_path / name).mkdir(parents=True)
    assert "run: eventserver ca init" in fault(tmp_path / name)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_that_was_cut_short_is_told_what_is_there_and_what_is_not(
    directory: Path, count: int
) -> None:
    for name in ORDER[count:]:
        (directory / name).unlink()
    said = fault(directory)
    missing, there = said.split(" missing, though ")
    assert all(name in missing for name in ORDER[count:])
    assert all(name in there for name in ORDER[:count])
    assert "put back what was lost" in said
    assert "eventserver ca init" in said


@pytest.mark.parametrize("name", ["root.crt", "issuing.key", "issuing.crt"])
def test_a_lost_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    assert fault(directory).startswith(f"{directory}: {name} missing")


@pytest.mark.parametrize("passphrase", [b"another", b"", PASSPHRASE + b"\n"])
def test_another_passphrase_is_told_apart(directory: Path, passphrase: bytes) -> None:
    said = fault(directory, passphrase)
    assert said.startswith(f"{directory / 'issuing.key'}: cannot be decrypted")
    assert "passphrase" in said


@pytest.mark.parametrize("name", ["root.key", "issuing.key"])
@pytest.mark.parametrize("mode", [0o660, 0o604, 0o610, 0o602])
def test_a_key_that_others_can_get_at_is_refused(directory: Path, name: str, mode: int) -> None:
    (directory / name).chmod(mode)
    assert fault(directory).endswith(f"run: chmod 600 {directory / name}")


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640])
def test_a_key_may_be_its_groups_to_read(directory: Path, mode: int) -> None:
    for name in ("root.key", "issuing.key"):
        (directory / name).chmod(mode)
    load(directory)


def test_the_root_is_read_without_a_key(directory: Path) -> None:
    root_pem = load(directory).root_pem
    for name in ("root.key", "issuing.key", "issuing.crt"):
        (directory / name).unlink()
    assert load_root(directory) == root_pem


def test_a_key_that_is_not_encrypted_is_refused(directory: Path) -> None:
    path = directory / "issuing.key"
    key = load_pem_private_key(path.read_bytes(), PASSPHRASE)
    put(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "expected an encrypted private key" in fault(directory)


def test_a_key_of_another_kind_is_refused(directory: Path) -> None:
    encryption = BestAvailableEncryption(PASSPHRASE)
    key = Ed25519PrivateKey.generate()
    put(
        directory / "issuing.key",
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption),
    )
    assert "expected an EC key" in fault(directory)


@pytest.mark.parametrize("name", ["root.crt", "issuing.key", "issuing.crt"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\x00"], ids=["empty", "text", "bytes"])
def test_a_damaged_file_is_named(directory: Path, name: str, content: bytes) -> None:
    put(directory / name, content)
    assert fault(directory).startswith(f"{directory / name}: expected")


def test_a_damaged_key_is_named(directory: Path) -> None:
    path = directory / "issuing.key"
    lines = path.read_text().splitlines()
    put(path, "\n".join([lines[0], lines[1][::-1], *lines[2:]]).encode())
    assert fault(directory).startswith(f"{path}: cannot be decrypted")


@pytest.mark.parametrize("name", ["root.crt", "issuing.key", "issuing.crt"])
def test_what_is_no_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    os.mkfifo(directory / name)
    assert fault(directory) == f"{directory / name}: there is no such file"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["issuing.key"], "issuing.key: this is not the key of"),
        (["root.crt"], "issuing.crt: this certificate was not signed by"),
        (["issuing.crt"], "issuing.crt: this certificate was not signed by"),
        (["issuing.crt", "issuing.key"], "issuing.crt: this certificate was not signed by"),
    ],
)
def test_what_belongs_to_another_authority_is_refused(
    directory: Path, tmp_path: Path, names: list[str], said: str
) -> None:
    create_authority(tmp_path / "other", PASSPHRASE, "Sample", NOW)
    for name in names:
        shutil.copy2(tmp_path / "other" / name, directory / name)
    assert said in fault(directory)


def test_the_root_in_the_issuing_certificates_place_is_refused(directory: Path) -> None:
    for end in ("crt", "key"):
        shutil.copy2(directory / f"issuing.{end}", directory / f"root.{end}")
    assert "root.crt: this certificate was not signed by" in fault(directory)


def test_a_relays_certificate_is_no_authority(directory: Path) -> None:
    leaf = load(directory).issue(checked(), RELAY_ID, timedelta(days=30), NOW).chain_pem
    put(directory / "issuing.crt", leaf.encode())
    assert "issuing.crt: this certificate may not sign others" in fault(directory)


@pytest.mark.parametrize(
    ("passed", "name"),
    [
        (timedelta(days=5 * 365), "issuing.crt"),
        (timedelta(days=20 * 365), "root.crt"),
        (timedelta(minutes=-6), "root.crt"),
    ],
    ids=["issuing-ended", "root-ended", "not-begun"],
)
def test_what_does_not_hold_now_is_refused(made: Path, passed: timedelta, name: str) -> None:
    said = fault(made, now=NOW + passed)
    assert said.startswith(f"{made / name}: this certificate holds from 2026-03-01 11:55 to ")


def test_an_address_that_no_certificate_can_have_is_refused(made: Path) -> None:
    with pytest.raises(ConfigurationError, match="ASCII"):
        load(made, url="http://bücher.example/issuing.crl")


def test_the_key_is_in_no_representation(made: Path) -> None:
    assert "key" not in repr(load_authority(made, PASSPHRASE, NOW))
