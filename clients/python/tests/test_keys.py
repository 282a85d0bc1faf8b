"""Keys in files, as JWKs and in signing requests."""

from __future__ import annotations

import os
import stat
import threading
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from eventserver_client.keys import (
    load_key,
    load_or_make_key,
    make_csr,
    make_key,
    names_of,
    public_jwk,
    save_key,
    thumbprint,
)
from joserfc.jwk import ECKey


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = load_or_make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public_jwk(load_or_make_key(path)) == public_jwk(made)
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_make_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    found: list[str] = []
    begin = threading.Barrier(8)

    def make() -> None:
        begin.wait()
        found.append(thumbprint(public_jwk(load_or_make_key(tmp_path / "key.pem"))))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    save_key(path, make_key())
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        save_key(path, make_key())
    assert path.read_bytes() == before


def test_an_ed25519_key_is_taken_too(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    save_key(tmp_path / "key.pem", key)
    loaded = load_key(tmp_path / "key.pem")
    assert public_jwk(loaded) == public_jwk(key)
    assert public_jwk(key)["crv"] == "Ed25519"


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["RSA", "P-384"],
)
def test_other_keys_are_refused(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ValueError, match="neither"):
        load_key(path)


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError):
        load_or_make_key(path)
    locked = BestAvailableEncryption(b"password")
    path.write_bytes(make_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    with pytest.raises(ValueError, match="password"):
        load_key(path)


def test_a_thumbprint_is_what_others_find() -> None:
    jwk = public_jwk(make_key())
    assert thumbprint({**jwk, "kid": "x", "use": "sig"}) == ECKey.import_key(dict(jwk)).thumbprint()  # type: ignore[arg-type]
    # RFC 8037, appendix A.3
    ed25519 = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }
    assert thumbprint(ed25519) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("jwk", [{}, {"kty": "RSA"}, {"kty": "EC", "crv": "P-256", "x": 1}])
def test_what_is_no_key_has_no_thumbprint(jwk: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        thumbprint(jwk)


@pytest.mark.parametrize("key", [make_key(), Ed25519PrivateKey.generate()], ids=["EC", "OKP"])
def test_a_signing_request_has_the_names(key: ec.EllipticCurvePrivateKey) -> None:
    request = x509.load_pem_x509_csr(
        make_csr(key, "relay-1", ["relay.example", "192.0.2.7", "2001:db8::7"]).encode()
    )
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=relay-1"
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["relay.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ip_address("192.0.2.7"),
        ip_address("2001:db8::7"),
    ]


def test_a_request_without_names_asks_for_all_on_record() -> None:
    request = x509.load_pem_x509_csr(make_csr(make_key(), "relay-1").encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=relay-1"
    assert not list(request.extensions)


def test_a_certificates_names_are_read(tls_server: tuple[str, Path]) -> None:
    pem = tls_server[1].read_text()
    assert names_of(pem) == ("127.0.0.1",)
    assert names_of(pem + pem) == ("127.0.0.1",)
    with pytest.raises(ValueError):
        names_of("nonsense")


def test_a_key_outlives_a_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, bool]] = []
    path, sync = tmp_path / "key.pem", os.fsync

    def noted(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    save_key(path, make_key())
    # its bytes before it has its name, then its name
    assert synced == [(False, False), (True, True)]
