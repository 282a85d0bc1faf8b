"""Hostile requests: whatever the bytes, the answer is a checked request or a refusal."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, ExtensionOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventserver_core.pki import requests
from eventserver_core.pki.refusals import RefusedRequestError, UnreadableRequestError
from eventserver_core.pki.requests import CheckedRequest, read_request

from .samples import ALLOWED, ED25519_KEY, armoured, der, request

PEM = request()
SEEDS = [
    der(request()),
    der(request(key=ED25519_KEY)),
    der(
        request(
            extensions=[
                (x509.BasicConstraints(ca=False, path_length=None), True),
                (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            ],
            attributes=[(AttributeOID.CHALLENGE_PASSWORD, b"secret")],
        )
    ),
    der(request([x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x02hi")])),
]
positions = st.integers(0, 2000)
edits = st.lists(
    st.tuples(positions, st.integers(0, 3), st.binary(min_size=1, max_size=6)),
    min_size=1,
    max_size=6,
)

EXTENSIONS = sorted(
    (oid for oid in vars(ExtensionOID).values() if isinstance(oid, x509.ObjectIdentifier)),
    key=lambda oid: oid.dotted_string,
)
der_values = st.recursive(
    st.builds(
        lambda tag, value: bytes([tag, len(value)]) + value,
        st.sampled_from([0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x16, 0x80, 0x82, 0x86, 0x87]),
        st.one_of(st.just(b"relay.example.org"), st.binary(max_size=16)),
    ),
    lambda inner: st.builds(
        lambda tag, parts: bytes([tag, len(b"".join(parts))]) + b"".join(parts),
        st.sampled_from([0x30, 0x31, 0xA0, 0xA3, 0xA4, 0xA5]),
        st.lists(inner, max_size=3).filter(lambda parts: len(b"".join(parts)) < 128),
    ),
    max_leaves=4,
)
"""Small values that are at least DER: what gets past a parser's first look."""


def answered(pem: str) -> CheckedRequest | None:
    try:
        return read_request(pem, ALLOWED)
    except RefusedRequestError as ex:
        refused = ex
    assert refused.code.startswith("csr_")
    assert 1 <= len(refused.faults) <= 10
    return None


def edited(content: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for position, dropped, added in changes:
        at = position % (len(content) + 1)
        content = content[:at] + added + content[at + dropped :]
    return content


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), edits)
def test_a_mutated_request_is_refused(seed: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    mutant = edited(seed, changes)
    checked = answered(armoured(mutant))
    assert checked is None or mutant == seed


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), positions, st.integers(0, 255))
def test_a_request_with_one_byte_changed_is_refused(seed: bytes, position: int, byte: int) -> None:
    at = position % len(seed)
    mutant = seed[:at] + bytes([byte]) + seed[at + 1 :]
    assert answered(armoured(mutant)) is None or mutant == seed


EMPTY_SEQUENCE = bytes.fromhex("3000")


@settings(max_examples=400, deadline=None)
@example(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, EMPTY_SEQUENCE)
@given(st.sampled_from(EXTENSIONS), st.one_of(st.binary(max_size=40), der_values))
def test_an_extension_of_any_content_is_answered(oid: x509.ObjectIdentifier, value: bytes) -> None:
    names = [] if oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME else ["relay.example.org"]
    extension = x509.UnrecognizedExtension(oid, value)
    checked = answered(request(names, extensions=[(extension, True)]))
    if not names and value == EMPTY_SEQUENCE:
        return  # it asks for no name, and so for all that are allowed
    assert checked is None or set(checked.names) <= {x509.DNSName("relay.example.org")}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_request_are_refused(content: bytes) -> None:
    assert answered(armoured(content)) is None


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.integers(0, 400))
def test_text_put_into_the_pem_never_surprises(text: str, position: int) -> None:
    pem = request()
    answered(pem[:position] + text + pem[position:])


def test_a_subject_that_the_library_warns_of_is_refused() -> None:
    common_name, country = bytes.fromhex("0603550403"), bytes.fromhex("0603550406")
    assert answered(armoured(der(PEM).replace(common_name, country))) is None


def test_a_failed_assertion_in_the_library_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    def fail(_: bytes) -> None:
        raise panic("an assertion failed")

    monkeypatch.setattr(requests.x509, "load_pem_x509_csr", fail)
    with pytest.raises(UnreadableRequestError):
        read_request(PEM, ALLOWED)


def test_being_stopped_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(requests.x509, "load_pem_x509_csr", stop)
    with pytest.raises(KeyboardInterrupt):
        read_request(PEM, ALLOWED)
