"""The claim ``event_hash``: SHA-256 over what ``JSON.stringify(payload)`` makes in the app."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from eventserver_auth_cert import CertificateAuth
from eventserver_auth_cert.event_hash import check_event_hash
from hypothesis import given, settings
from hypothesis import strategies as st

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.domain.canonical import parse_ijson
from eventserver_core.errors import AuthenticationError, ContentMismatchError


def hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def check(content: str) -> None:
    check_event_hash(content, parse_ijson(content.encode()))


@pytest.fixture
def bearer(auth: CertificateAuth, device: Any) -> Credentials:
    return auth.issue("device:x", Role.DEVICE, timedelta(hours=1), device.jwk).credentials


@pytest.mark.parametrize(
    "payload",
    [
        '{"id":"550e8400","version":"1.0"}',
        '{"z":1,"a":[true,false,null],"é":"Zoë \U0001f4f7"}',
        '{"tiny":1e-7,"big":1e+21,"half":0.5,"zero":0,"text":"a\\"b\\\\c\\n\\u001f/<"}',
        '{"a": 1.0, "b": "\\u00e9", "c": [1, 2]}',
        "{}",
        "[]",
        '"text"',
        "null",
        "12",
    ],
)
def test_the_hash_of_the_text_as_it_was_signed_holds(payload: str) -> None:
    check(f'{{"sub":"x","payload":{payload},"event_hash":"{hash_of(payload)}"}}')
    check(f'{{"event_hash":"{hash_of(payload)}","payload":{payload}}}')
    check(f'{{"event_hash":"{hash_of(payload).upper()}","payload":{payload}}}')


@pytest.mark.parametrize(
    "written",
    [
        '{ "b" : 1.0 , "a" : [ 1e21 , "\\u00e9" , { } ] , "c" : "\\/" }',
        '{"b":1,"a":[1000000000000000000000,"é",{}],"c":"/"}',
        '{\n\t"b": 1,\n\t"a": [1e+21, "\\u00E9", {}],\n\t"c": "\\u002f"\n}',
    ],
)
def test_claims_that_a_library_wrote_its_own_way_hold_too(written: str) -> None:
    stated = hash_of('{"b":1,"a":[1e+21,"é",{}],"c":"/"}')
    check(f'{{"payload":{written},"event_hash":"{stated}"}}')


def test_the_payload_is_found_wherever_it_stands() -> None:
    payload = '{"payload":{"event_hash":"x"},"b":"}, \\"payload\\":1"}'
    stated = hash_of(payload)
    check(
        f' \n{{ "a" : {{ "payload" : 1 }} ,\t"p\\u0061yload"\r:\n{payload} '
        f', "event_hash": "{stated}" }} '
    )


@pytest.mark.parametrize(
    "stated", [hash_of('{"a":2}'), "", "x" * 64, hash_of('{"a":1}')[:-1], None, 5, [], True]
)
def test_the_hash_of_something_else_is_refused_with_its_place(stated: object) -> None:
    with pytest.raises(ContentMismatchError) as caught:
        check(json.dumps({"payload": {"a": 1}, "event_hash": stated}))
    assert [fault.pointer for fault in caught.value.faults] == ["/event_hash"]
    assert caught.value.code == "content_mismatch"


def test_members_keep_the_order_in_which_they_were_hashed() -> None:
    payload = '{"b": 1, "a": 2}'
    check(f'{{"payload":{payload},"event_hash":"{hash_of(payload.replace(" ", ""))}"}}')
    with pytest.raises(ContentMismatchError):
        check(f'{{"payload":{payload},"event_hash":"{hash_of(chr(123) + chr(125))}"}}')
    with pytest.raises(ContentMismatchError):
        stated = hash_of('{"a":2,"b":1}')
        check(f'{{"payload":{payload},"event_hash":"{stated}"}}')


def test_without_the_claim_or_the_package_there_is_nothing_to_compare() -> None:
    check('{"payload":{"a":1}}')
    check('{"event_hash":"nonsense"}')


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abπ\n", max_size=4), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(payload=json_values, before=json_values, indent=st.sampled_from([None, 1]))
def test_any_payload_is_found_and_written_again(payload: Any, before: Any, indent: Any) -> None:
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    for ensure_ascii in (True, False):
        claims = {"before": before, "event_hash": hash_of(text), "payload": payload}
        check(json.dumps(claims, indent=indent, ensure_ascii=ensure_ascii))


def test_it_is_compared_when_a_package_is_checked(
    auth: CertificateAuth, device: Any, bearer: Credentials
) -> None:
    payload = device.claims()["payload"]
    text = json.dumps(payload, separators=(",", ":"))
    assert auth.check_signed_package(device.sign(device.claims(event_hash=hash_of(text))), bearer)
    with pytest.raises(ContentMismatchError):
        auth.check_signed_package(device.sign(device.claims(event_hash=hash_of("{}"))), bearer)


def test_what_is_out_of_date_is_told_before_what_disagrees(
    auth: CertificateAuth, device: Any, bearer: Credentials
) -> None:
    jws = device.sign(device.claims(event_hash="x", exp=0))
    with pytest.raises(AuthenticationError):
        auth.check_signed_package(jws, bearer)
