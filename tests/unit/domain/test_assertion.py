"""What an admin signs: by its own key, of one kind, for one purpose, for a short while."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey

from eventserver_core.domain.assertion import (
    ASSERTION_TYPE,
    AUDIENCE,
    AUTHORIZATION_TYPE,
    check_assertion,
)

from .samples import signed

KEY = ECKey.generate_key("P-256")
PUBLIC = dict(KEY.as_dict(private=False))
OTHER = ECKey.generate_key("P-256")
NOW = datetime(2024, 1, 1, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
LONGEST = timedelta(minutes=5)
EXPECTED = {"iss": "admin-1", "sub": "thumbprint", "name": "Somebody"}
CLAIMS: dict[str, Any] = {**EXPECTED, "aud": AUDIENCE, "iat": SECONDS, "exp": SECONDS + 300}


def token(claims: Any = CLAIMS, key: ECKey = KEY, **header: Any) -> str:
    content = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return signed(content, key, **({"typ": AUTHORIZATION_TYPE} | header)).decode()


def check(jws: str, **arguments: Any) -> Mapping[str, Any]:
    return check_assertion(
        jws,
        arguments.pop("public_key", PUBLIC),
        type_=AUTHORIZATION_TYPE,
        expected=EXPECTED,
        longest=LONGEST,
        now=NOW,
        **arguments,
    )


def refused(jws: str, match: str | None = None) -> None:
    with pytest.raises(ValueError, match=match):
        check(jws)


class TestTheSignature:
    def test_the_claims_come_back(self) -> None:
        more = CLAIMS | {"jti": "j-1", "more": [1, {"a": None}]}
        assert check(token(more)) == more

    def test_another_key_is_refused(self) -> None:
        refused(token(key=OTHER), "does not hold")

    def test_the_key_in_the_header_counts_for_nothing(self) -> None:
        theirs = dict(OTHER.as_dict(private=False))
        refused(token(key=OTHER, jwk=theirs, kid="k"), "does not hold")
        assert check(token(jwk=theirs)) == CLAIMS

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_a_changed_part_is_refused(self, part: int) -> None:
        parts = token().split(".")
        parts[part] = token(CLAIMS | {"name": "another"}, OTHER, kid="k").split(".")[part]
        refused(".".join(parts))

    @pytest.mark.parametrize("jws", ["", ".", "..", "a.b", "a.b.c", "é.b.c", "\0", "a" * 100_000])
    def test_what_is_no_jws_is_refused(self, jws: str) -> None:
        refused(jws)

    @pytest.mark.parametrize("claims", [b"", b"{", b"[]", b'"text"', b"7", b"null", b"\xff"])
    def test_what_is_no_object_of_claims_is_refused(self, claims: bytes) -> None:
        refused(token(claims))

    def test_a_claim_that_is_there_twice_is_refused(self) -> None:
        twice = json.dumps(CLAIMS)[:-1] + ', "sub": "thumbprint"}'
        refused(token(twice.encode()), "not a JWT")

    @pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"b64": False}])
    def test_extensions_are_refused(self, header: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="does not hold"):
            check(token() if not header else signed_with(header))


def signed_with(header: dict[str, Any]) -> str:
    """Return a token whose header asks for what the library would not write."""
    import base64

    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    def b64u(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    head = json.dumps({"alg": "ES256", "typ": AUTHORIZATION_TYPE} | header).encode()
    content = b64u(head) + b"." + b64u(json.dumps(CLAIMS).encode())
    private: Any = KEY.private_key
    r, s = decode_dss_signature(private.sign(content, ECDSA(SHA256())))
    return (content + b"." + b64u(r.to_bytes(32) + s.to_bytes(32))).decode()


class TestTheKind:
    def test_what_is_signed_by_hand_holds(self) -> None:
        """So that what is refused above is refused for its header."""
        assert check(signed_with({})) == CLAIMS

    @pytest.mark.parametrize(
        "type_",
        [ASSERTION_TYPE, "JWT", "", None, AUTHORIZATION_TYPE.upper(), [AUTHORIZATION_TYPE]],
        ids=str,
    )
    def test_another_kind_is_refused(self, type_: object) -> None:
        with pytest.raises(ValueError, match=r"its typ is not|does not hold"):
            check(signed_with({"typ": type_}))

    def test_no_kind_is_refused(self) -> None:
        refused(signed(json.dumps(CLAIMS).encode(), KEY).decode(), "its typ is not")


class TestTheClaims:
    @pytest.mark.parametrize("name", sorted(CLAIMS))
    def test_each_must_be_there(self, name: str) -> None:
        refused(token({key: value for key, value in CLAIMS.items() if key != name}), name)
        refused(token(CLAIMS | {name: None}), name)

    @pytest.mark.parametrize("name", ["iss", "sub", "name", "aud"])
    @pytest.mark.parametrize("value", ["another", "", "ADMIN-1", 1, True, {}, [], ["another"]])
    def test_each_must_have_the_value_that_is_expected(self, name: str, value: object) -> None:
        refused(token(CLAIMS | {name: value}))

    @pytest.mark.parametrize("name", ["iss", "sub", "name"])
    def test_a_list_that_has_the_value_in_it_will_not_do(self, name: str) -> None:
        refused(token(CLAIMS | {name: [CLAIMS[name]]}))
        refused(token(CLAIMS | {name: ["another", CLAIMS[name]]}))

    def test_it_may_have_further_audiences(self) -> None:
        check(token(CLAIMS | {"aud": [AUDIENCE, "another"]}))


class TestTheTime:
    @pytest.mark.parametrize("skew", [-359, -300, -60, 0, 59, 60])
    def test_clocks_may_differ_by_a_minute(self, skew: int) -> None:
        claims = CLAIMS | {"iat": SECONDS + skew, "exp": SECONDS + skew + 300}
        assert check(token(claims)) == claims

    @pytest.mark.parametrize("skew", [-100_000, -361, -360, 61, 100_000])
    def test_what_has_ended_or_not_begun_is_refused(self, skew: int) -> None:
        refused(token(CLAIMS | {"iat": SECONDS + skew, "exp": SECONDS + skew + 300}))

    @pytest.mark.parametrize("exp", [SECONDS + 301, SECONDS + 300.5, SECONDS + 10**9, 2**53 - 1])
    def test_what_lives_too_long_is_refused(self, exp: float) -> None:
        refused(token(CLAIMS | {"exp": exp}), "lives longer")

    def test_it_lives_long_enough_to_be_refused_however_long_ago_it_began(self) -> None:
        refused(token(CLAIMS | {"iat": 0}), "lives longer")

    def test_what_is_not_valid_yet_is_refused(self) -> None:
        refused(token(CLAIMS | {"nbf": SECONDS + 61}))

    @pytest.mark.parametrize("name", ["iat", "exp"])
    @pytest.mark.parametrize("value", [True, False, "1704067200", "", [], {}])
    def test_a_moment_is_a_number(self, name: str, value: object) -> None:
        refused(token(CLAIMS | {name: value}))

    @pytest.mark.parametrize("number", ["1e400", "NaN", "Infinity", "-Infinity", "1" * 400])
    def test_a_number_that_is_none_is_refused(self, number: str) -> None:
        text = json.dumps(CLAIMS | {"exp": "EXP"}).replace('"EXP"', number)
        refused(token(text.encode()), "not a JWT")
