"""Requests: what is taken, and what each refusal is called."""

from __future__ import annotations

import base64
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA224, SHA384
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from eventserver_core.pki.names import AllowedNames
from eventserver_core.pki.refusals import (
    CaNotAllowedError,
    ExtensionNotAllowedError,
    KeyNotAllowedError,
    NameNotAllowedError,
    RefusedRequestError,
    TooManyNamesError,
    UnreadableRequestError,
    WeakKeyError,
)
from eventserver_core.pki.requests import MAX_NAMES, MAX_SIZE, read_request

from .samples import (
    ALLOWED,
    ED25519_KEY,
    KEY,
    RELAY_ID,
    Extension,
    alternative_names,
    armoured,
    der,
    private_pem,
    request,
)

USAGE = {
    "digital_signature": True,
    "content_commitment": False,
    "key_encipherment": True,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}
POISON = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")


def codes_and_details(pem: str, allowed: AllowedNames = ALLOWED) -> tuple[str, list[str]]:
    with pytest.raises(RefusedRequestError) as caught:
        read_request(pem, allowed)
    assert {fault.pointer for fault in caught.value.faults} == {"/csr"}
    return caught.value.code, [fault.detail for fault in caught.value.faults]


def test_a_request_for_its_own_names_is_taken() -> None:
    checked = read_request(request(["relay.example.org", "127.0.0.1", "2001:db8::7"]), ALLOWED)
    assert [str(name.value) for name in checked.names] == [
        "relay.example.org",
        "127.0.0.1",
        "2001:db8::7",
    ]
    assert checked.public_key == KEY.public_key()


def test_a_p256_key_comes_as_a_jwk() -> None:
    point = KEY.public_key().public_numbers()
    jwk = read_request(request(), ALLOWED).jwk
    assert {name: jwk[name] for name in ("kty", "crv")} == {"kty": "EC", "crv": "P-256"}
    for name, number in (("x", point.x), ("y", point.y)):
        assert len(jwk[name]) == 43
        assert int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "=")) == number


def test_an_ed25519_key_comes_as_a_jwk() -> None:
    jwk = read_request(request(key=ED25519_KEY), ALLOWED).jwk
    assert (jwk["kty"], jwk["crv"], set(jwk)) == ("OKP", "Ed25519", {"kty", "crv", "x"})
    assert base64.urlsafe_b64decode(jwk["x"] + "=") == ED25519_KEY.public_key().public_bytes_raw()


def test_names_are_compared_in_any_case_and_come_in_lower_case_once() -> None:
    checked = read_request(request(["RELAY.Example.org", "relay.example.ORG"]), ALLOWED)
    assert checked.names == (x509.DNSName("relay.example.org"),)


def test_an_international_name_is_compared_as_its_a_labels() -> None:
    allowed = AllowedNames.of(RELAY_ID, ["xn--bcher-kva.example"])
    checked = read_request(request(["XN--BCHER-KVA.example"]), allowed)
    assert checked.names == (x509.DNSName("xn--bcher-kva.example"),)


@pytest.mark.parametrize(
    "common_names",
    [(), (RELAY_ID,), ("relay.example.org",), ("Relay.Example.org", "2001:DB8::7")],
    ids=str,
)
def test_a_common_name_may_be_absent_the_relays_or_an_address(common_names: list[str]) -> None:
    assert read_request(request(common_names=common_names), ALLOWED).names


def test_what_does_no_harm_may_be_asked_for() -> None:
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    extensions: list[Extension] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**USAGE), True),
        (x509.ExtendedKeyUsage(purposes), False),
        (x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()), False),
    ]
    assert read_request(request(extensions=extensions), ALLOWED).names


def test_attributes_that_are_no_extensions_are_ignored() -> None:
    attributes = [
        (AttributeOID.CHALLENGE_PASSWORD, b"secret"),
        (AttributeOID.UNSTRUCTURED_NAME, b"a name"),
    ]
    assert read_request(request(attributes=attributes), ALLOWED).names


def test_text_around_the_request_is_ignored() -> None:
    pem = request().replace("\n", "\r\n")
    assert read_request(f"Certificate Request:\r\n{pem}\r\n", ALLOWED).names


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "hello",
        "-----BEGIN CERTIFICATE REQUEST-----",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        request() + request(),
        request() + private_pem(KEY).decode(),
        private_pem(KEY).decode(),
        request().replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        "\ud800" + request(),
        "é" + request(),
        "\0" * 10,
    ],
    ids=[
        "nothing",
        "no-pem",
        "cut",
        "no-der",
        "two",
        "with-its-key",
        "a-key",
        "a-certificate",
        "half-a-character",
        "not-ascii",
        "zeros",
    ],
)
def test_what_is_not_one_request_is_invalid(pem: str) -> None:
    assert codes_and_details(pem)[0] == "csr_invalid"


def test_more_than_a_mebibyte_is_invalid_unread() -> None:
    padded = request() + "\n" * MAX_SIZE
    assert "longer" in codes_and_details(padded)[1][0]


def test_trailing_bytes_are_invalid() -> None:
    content = der(request())
    assert read_request(armoured(content), ALLOWED).names
    assert codes_and_details(armoured(content + b"\0"))[0] == "csr_invalid"


def test_another_keys_signature_is_invalid() -> None:
    other = Ed25519PrivateKey.generate()
    mine, theirs = (key.public_key().public_bytes_raw() for key in (ED25519_KEY, other))
    content = der(request(key=ED25519_KEY))
    assert content.count(mine) == 1
    code, details = codes_and_details(armoured(content.replace(mine, theirs)))
    assert code == "csr_invalid"
    assert "not signed by the key" in details[0]


def test_a_name_changed_after_signing_is_invalid() -> None:
    changed = der(request()).replace(b"relay.example.org", b"other.example.org")
    allowed = AllowedNames.of(RELAY_ID, ["other.example.org", "127.0.0.1"])
    assert codes_and_details(armoured(changed), allowed)[0] == "csr_invalid"


def test_a_signature_over_a_short_digest_is_invalid() -> None:
    code, details = codes_and_details(request(digest=SHA224()))
    assert code == "csr_invalid"
    assert "sha224" in details[0]


def test_a_signature_over_a_longer_digest_is_taken() -> None:
    assert read_request(request(digest=SHA384()), ALLOWED).names


def test_extensions_that_are_asked_for_twice_are_invalid() -> None:
    second = (ObjectIdentifier("1.3.6.1.4.1.311.2.1.14"), b"\x30\x00")
    code, details = codes_and_details(request(attributes=[second]))
    assert code == "csr_invalid"
    assert "more than once" in details[0]


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (rsa.generate_private_key(65537, 1024), WeakKeyError),  # noqa: S505
        (rsa.generate_private_key(65537, 2048), KeyNotAllowedError),
        (dsa.generate_private_key(1024), WeakKeyError),  # noqa: S505
        (ec.generate_private_key(ec.SECP192R1()), WeakKeyError),
        (ec.generate_private_key(ec.SECP224R1()), WeakKeyError),
        (ec.generate_private_key(ec.SECP256K1()), KeyNotAllowedError),
        (ec.generate_private_key(ec.SECP384R1()), KeyNotAllowedError),
        (ed448.Ed448PrivateKey.generate(), KeyNotAllowedError),
    ],
    ids=["rsa-1024", "rsa-2048", "dsa-1024", "p192", "p224", "k256", "p384", "ed448"],
)
def test_only_two_kinds_of_key_are_taken(
    key: CertificateIssuerPrivateKeyTypes, error: type[RefusedRequestError]
) -> None:
    with pytest.raises(error) as caught:
        read_request(request(key=key), ALLOWED)
    assert type(caught.value) is error
    assert caught.value.code in ("csr_weak_key", "csr_key_not_allowed")
    assert "P-256" in str(caught.value)


def test_a_key_of_an_unknown_kind_is_refused() -> None:
    ed25519, unknown = bytes.fromhex("06032b6570"), bytes.fromhex("06032b6501")
    content = der(request(key=ED25519_KEY)).replace(ed25519, unknown, 1)
    assert codes_and_details(armoured(content))[0] == "csr_key_not_allowed"


@pytest.mark.parametrize(
    "extension",
    [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.BasicConstraints(ca=True, path_length=0),
        x509.KeyUsage(**{**USAGE, "key_cert_sign": True}),
        x509.KeyUsage(**{**USAGE, "crl_sign": True}),
    ],
    ids=["ca", "ca-of-leaves", "cert-sign", "crl-sign"],
)
def test_nobody_becomes_an_authority(extension: x509.ExtensionType) -> None:
    with pytest.raises(CaNotAllowedError) as caught:
        read_request(request(extensions=[(extension, True)]), ALLOWED)
    assert caught.value.code == "csr_ca_not_allowed"


@pytest.mark.parametrize(
    "extension",
    [
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
        x509.NameConstraints([x509.DNSName("example.org")], None),
        x509.IssuerAlternativeName([x509.DNSName("relay.example.org")]),
        x509.TLSFeature([x509.TLSFeatureType.status_request]),
        x509.OCSPNoCheck(),
        POISON,
    ],
    ids=lambda extension: extension.oid.dotted_string,
)
def test_other_extensions_are_refused(extension: x509.ExtensionType) -> None:
    for critical in (False, True):
        with pytest.raises(ExtensionNotAllowedError) as caught:
            read_request(request(extensions=[(extension, critical)]), ALLOWED)
        assert caught.value.code == "csr_extension_not_allowed"


@pytest.mark.parametrize(
    "name",
    [
        "evil.example.org",
        "example.org",
        "sub.relay.example.org",
        "relay.example.org.",
        "127.0.0.2",
        "2001:db8::8",
        "::ffff:7f00:1",
        x509.DNSName("*.example.org"),
        x509.DNSName("127.0.0.1"),
        x509.DNSName("relay.example.org\0.evil.example.org"),
        x509.DNSName(""),
        x509.RFC822Name("someone@relay.example.org"),
        x509.UniformResourceIdentifier("https://relay.example.org"),
        x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, RELAY_ID)])),
        x509.RegisteredID(ObjectIdentifier("1.2.3")),
        x509.OtherName(ObjectIdentifier("1.2.3"), b"\x0c\x02hi"),
    ],
    ids=str,
)
def test_a_name_that_is_not_the_relays_is_refused_by_name(name: str | x509.GeneralName) -> None:
    code, details = codes_and_details(request(["relay.example.org", name]))
    assert code == "csr_address_not_allowed"
    text = name if isinstance(name, str) else str(name.value)
    assert len(details) == 1
    assert repr(text)[:50] in details[0]


def test_a_network_is_no_address() -> None:
    network = x509.IPAddress(ipaddress.ip_network("127.0.0.1/32"))
    assert codes_and_details(request([network]))[0] == "csr_address_not_allowed"


@pytest.mark.parametrize(
    "common_name", ["evil.example.org", "10.0.0.1", RELAY_ID.replace("7", "8"), "*.example.org"]
)
def test_a_common_name_of_another_is_refused(common_name: str) -> None:
    code, details = codes_and_details(request(common_names=[RELAY_ID, common_name]))
    assert code == "csr_address_not_allowed"
    assert details == [f"CN '{common_name}' is not a name of this relay"]


def test_a_request_without_names_is_for_all_that_are_allowed() -> None:
    empty: Extension = (alternative_names([]), False)
    for pem in (request([]), request([], extensions=[empty])):
        named = {str(name.value) for name in read_request(pem, ALLOWED).names}
        assert named == {*ALLOWED.hosts, *map(str, ALLOWED.addresses)}
        assert len(named) >= 2


def test_faults_name_at_most_ten_names_and_shorten_them() -> None:
    names = [
        f"{'x' * 60}.{'y' * 60}.{'z' * 60}.n{number}.example.org" for number in range(MAX_NAMES)
    ]
    _, details = codes_and_details(request(names))
    assert len(details) == 10
    assert max(map(len, details)) < 150


def test_sixteen_names_may_be_and_seventeen_may_not() -> None:
    names = [f"n{number}.example.org" for number in range(MAX_NAMES + 1)]
    allowed = AllowedNames.of(RELAY_ID, names)
    assert len(read_request(request(names[:-1]), allowed).names) == MAX_NAMES
    with pytest.raises(TooManyNamesError, match="17"):
        read_request(request(names), allowed)
    assert codes_and_details(request(names), allowed)[0] == "csr_too_many_names"


def test_names_are_counted_before_anything_else_is_looked_at() -> None:
    names = [f"n{number}.example.org" for number in range(10_000)]
    key = rsa.generate_private_key(65537, 2048)
    ca: Extension = (x509.BasicConstraints(ca=True, path_length=None), True)
    assert codes_and_details(request(names, key=key, extensions=[ca]))[0] == "csr_too_many_names"


def test_every_refusal_has_its_own_code() -> None:
    kinds = RefusedRequestError.__subclasses__()
    assert {kind.code for kind in kinds} == {
        "csr_invalid",
        "csr_too_many_names",
        "csr_ca_not_allowed",
        "csr_weak_key",
        "csr_key_not_allowed",
        "csr_address_not_allowed",
        "csr_extension_not_allowed",
    }
    assert {UnreadableRequestError, NameNotAllowedError} <= set(kinds)
    assert len(kinds) == 7
