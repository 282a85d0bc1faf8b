"""Making an authority: once, whole, and for its owner's eyes only."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from eventserver_core.errors import ConfigurationError, ConflictError
from eventserver_core.pki.authority import CertificateAuthority, create_authority

from .samples import NOW, PASSPHRASE

FILES = ["issuing.crt", "issuing.key", "root.crt", "root.key"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def load(directory: Path) -> CertificateAuthority:
    return CertificateAuthority.load(directory, PASSPHRASE, crl_url=None, issuer_url=None, now=NOW)


def test_there_are_four_files_and_nothing_else(made: Path) -> None:
    assert sorted(content(made)) == FILES


def test_only_the_owner_can_get_at_them(made: Path) -> None:
    assert mode(made) == 0o700
    assert mode(made / "root.key") == mode(made / "issuing.key") == 0o600
    assert mode(made / "root.crt") == mode(made / "issuing.crt") == 0o644


def test_a_wide_umask_opens_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_authority(tmp_path / "above" / "ca", PASSPHRASE, "Sample", NOW)
    finally:
        os.umask(before)
    assert mode(tmp_path / "above" / "ca") == 0o700
    assert mode(tmp_path / "above" / "ca" / "root.key") == 0o600


@pytest.mark.parametrize("name", ["root.key", "issuing.key"])
def test_keys_are_encrypted(made: Path, name: str) -> None:
    pem = (made / name).read_bytes()
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert pem.count(b"-----BEGIN") == 1
    assert load_pem_private_key(pem, PASSPHRASE)
    with pytest.raises(TypeError):
        load_pem_private_key(pem, None)
    with pytest.raises(ValueError, match=r"password|decrypt"):
        load_pem_private_key(pem, PASSPHRASE + b"!")


def test_the_certificates_are_what_rfc_5280_asks_of_authorities(made: Path) -> None:
    root, issuing = (
        x509.load_pem_x509_certificate((made / name).read_bytes())
        for name in ("root.crt", "issuing.crt")
    )
    for certificate, path_length, years in ((root, 1, 20), (issuing, 0, 5)):
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert constraints.critical
        assert usage.critical
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=path_length)
        assert (usage.value.key_cert_sign, usage.value.crl_sign) == (True, True)
        assert not usage.value.digital_signature
        assert certificate.not_valid_before_utc == NOW - timedelta(minutes=5)
        assert certificate.not_valid_after_utc == NOW + timedelta(days=365 * years)
    assert issuing.issuer == root.subject == root.issuer
    assert issuing.subject != root.subject
    assert root.serial_number != issuing.serial_number


def test_it_is_never_made_over_another(directory: Path) -> None:
    before = content(directory)
    with pytest.raises(ConflictError, match=r"root\.key, root\.crt, issuing\.key, issuing\.crt"):
        create_authority(directory, b"another passphrase", "Other", NOW)
    assert content(directory) == before


@pytest.mark.parametrize("left", FILES)
def test_one_file_of_another_is_enough_to_refuse(directory: Path, left: str) -> None:
    for name in FILES:
        if name != left:
            (directory / name).unlink()
    before = content(directory)
    with pytest.raises(ConflictError, match=left):
        create_authority(directory, PASSPHRASE, "Other", NOW)
    assert content(directory) == before


def test_of_many_at_once_one_is_made(tmp_path: Path) -> None:
    def attempt(number: int) -> bool:
        try:
            create_authority(tmp_path / "ca", PASSPHRASE, f"Sample {number}", NOW)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(attempt, range(8)))
    assert made.count(True) == 1
    assert sorted(content(tmp_path / "ca")) == FILES
    assert load(tmp_path / "ca").fingerprint


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_what_fails_in_between_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    link, calls = os.link, []

    def full_at_last(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == call:
            raise OSError(28, "No space left on device")
        link(source, target)

    monkeypatch.setattr(os, "link", full_at_last)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        create_authority(tmp_path / "ca", PASSPHRASE, "Sample", NOW)
    assert content(tmp_path / "ca") == {}


def test_each_file_and_the_directory_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, []

    def record(fd: int) -> None:
        fsync(fd)
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())

    monkeypatch.setattr(os, "fsync", record)
    create_authority(tmp_path / "ca", PASSPHRASE, "Sample", NOW)
    assert synced.pop(0) == tmp_path
    staged = [path.name.split(".", 3)[1:3] for path in synced[:4]]
    assert staged == [["root", "key"], ["root", "crt"], ["issuing", "key"], ["issuing", "crt"]]
    assert synced[4:] == [tmp_path / "ca"] * 4


def test_an_empty_directory_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir(mode=0o755)
    create_authority(tmp_path / "ca", PASSPHRASE, "Sample", NOW)
    assert mode(tmp_path / "ca") == 0o700


def test_a_directory_that_others_use_is_left_alone(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "theirs").touch()
    with pytest.raises(ConfigurationError, match=f"chmod 700 {shared}"):
        create_authority(shared, PASSPHRASE, "Sample", NOW)
    assert (mode(shared), list(content(shared))) == (0o755, ["theirs"])


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "ca").touch()
    with pytest.raises(ConfigurationError, match="cannot be made a directory"):
        create_authority(tmp_path / "ca", PASSPHRASE, "Sample", NOW)


@pytest.mark.parametrize(
    ("passphrase", "name", "fault"),
    [
        (b"", "Sample", "passphrase"),
        (b"x" * 1024, "Sample", "passphrase"),
        (PASSPHRASE, "", "name"),
        (PASSPHRASE, "x" * 57, "name"),
    ],
)
def test_what_will_not_do_is_refused_before_anything_is_made(
    tmp_path: Path, passphrase: bytes, name: str, fault: str
) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        create_authority(tmp_path / "ca", passphrase, name, NOW)
    assert not (tmp_path / "ca").exists()


def test_the_longest_name_and_passphrase_will_do(tmp_path: Path) -> None:
    create_authority(tmp_path / "ca", b"x" * 1023, "x" * 56, NOW)
    assert CertificateAuthority.load(
        tmp_path / "ca", b"x" * 1023, crl_url=None, issuer_url=None, now=NOW
    )
