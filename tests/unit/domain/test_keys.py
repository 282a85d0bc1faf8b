"""Public keys as callers send them: the right kinds, on their curves, in one form each."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicNumbers,
    derive_private_key,
)
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from eventserver_core.domain.keys import public_jwk, thumbprint
from eventserver_core.errors import InvalidInputError

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
"""The prime of P-256's field (SP 800-186, section 3.2.1.3)."""
ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
"""The key of RFC 8037, appendix A.2."""


def b64u(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def p256(secret: int = 1) -> tuple[dict[str, str], EllipticCurvePublicNumbers]:
    """Return a key, as a JWK and as numbers."""
    numbers = derive_private_key(secret, SECP256R1()).public_key().public_numbers()
    x, y = (b64u(number.to_bytes(32)) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}, numbers


EC = p256()[0]


def refused(document: object, **arguments: Any) -> str:
    """Return what is said of a key that isn't taken."""
    with pytest.raises(InvalidInputError) as caught:
        public_jwk(document, **arguments)
    (fault,) = caught.value.faults
    assert fault.pointer == arguments.get("where", "/publicKey")
    return fault.detail


def read_or_refused(document: object) -> dict[str, str] | None:
    try:
        return public_jwk(document)
    except InvalidInputError:
        return None


class TestWhatIsTaken:
    @pytest.mark.parametrize("key", [EC, ED25519])
    def test_a_keys_own_members_and_nothing_else(self, key: dict[str, str]) -> None:
        sent = key | {"kid": "k", "use": "sig", "alg": "ES256", "ext": True, "key_ops": ["verify"]}
        assert public_jwk(sent) == key
        assert public_jwk(public_jwk(sent)) == key

    def test_a_key_that_another_library_made(self) -> None:
        for key in (ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")):
            sent = dict(key.as_dict(private=False))
            assert thumbprint(public_jwk(sent)) == key.thumbprint()

    def test_where_it_must_sign_only_p256_will_do(self) -> None:
        assert public_jwk(EC, signs=True) == EC
        assert "not an EC P-256 key" in refused(ED25519, signs=True)


class TestWhatIsRefused:
    @pytest.mark.parametrize("document", [None, "text", 7, [], ["kty"], True])
    def test_what_is_no_object(self, document: object) -> None:
        assert "not a JWK" in refused(document)

    @pytest.mark.parametrize("key", [EC, ED25519])
    @pytest.mark.parametrize("private", ["AA", None, 7])
    def test_a_private_part(self, key: dict[str, str], private: object) -> None:
        assert "private part" in refused(key | {"d": private})

    @pytest.mark.parametrize(
        "key",
        [
            RSAKey.generate_key(2048),
            OctKey.generate_key(256),
            ECKey.generate_key("P-384"),
            ECKey.generate_key("secp256k1"),
            OKPKey.generate_key("X25519"),
            OKPKey.generate_key("Ed448"),
        ],
        ids=lambda key: f"{key.key_type}",
    )
    def test_another_kind_of_key(self, key: Any) -> None:
        private = key.key_type == "oct"
        assert "neither" in refused(dict(key.as_dict(private=private)))

    @pytest.mark.parametrize(
        "change",
        [
            {"kty": "OKP"},
            {"crv": "Ed25519"},
            {"crv": "p-256"},
            {"kty": None},
            {"kty": ["EC"]},
            {"crv": {}},
            {"kty": 5},
        ],
        ids=str,
    )
    def test_a_type_and_a_curve_that_do_not_go_together(self, change: dict[str, Any]) -> None:
        assert "neither" in refused(EC | change)

    @pytest.mark.parametrize("name", ["x", "y"])
    @pytest.mark.parametrize("value", [None, 5, True, [], {}, "", "*", "é", "A" * 43, EC["x"][:-1]])
    def test_coordinates_of_no_point(self, name: str, value: object) -> None:
        assert "on its curve" in refused(EC | {name: value})
        if name == "x" and value != "A" * 43:  # with Ed25519 each 32 bytes are a key's
            assert "on its curve" in refused(ED25519 | {name: value})

    @pytest.mark.parametrize("name", ["kty", "crv", "x", "y"])
    def test_a_missing_member(self, name: str) -> None:
        refused({key: value for key, value in EC.items() if key != name})

    def test_the_fault_is_where_the_key_was(self) -> None:
        refused({}, where="/csr")


class TestOneFormEach:
    """Or a key that was withdrawn could come again under another thumbprint."""

    def test_leading_zeros_do_not_make_another_key(self) -> None:
        key, numbers = p256()
        sent = {**key, "x": b64u(numbers.x.to_bytes(40)), "y": b64u(numbers.y.to_bytes(33))}
        assert public_jwk(sent) == key

    def test_a_number_beyond_the_field_does_not_make_another_key(self) -> None:
        key, numbers = p256()
        sent = {**key, "x": b64u((numbers.x + P).to_bytes(33))}
        assert read_or_refused(sent) in (key, None)

    def test_zeros_that_a_writer_dropped_come_back(self) -> None:
        secret = next(n for n in range(2, 10_000) if p256(n)[1].x < 2**248)
        key, numbers = p256(secret)
        sent = {**key, "x": b64u(numbers.x.to_bytes(31))}
        assert read_or_refused(sent) in (key, None)

    @pytest.mark.parametrize("key", [EC, ED25519])
    @pytest.mark.parametrize("end", ["=", "==", "\n", " ", "!", "."])
    def test_what_base64url_does_not_have_is_refused_or_dropped(
        self, key: dict[str, str], end: str
    ) -> None:
        assert read_or_refused({**key, "x": key["x"] + end}) in (key, None)


class TestThumbprints:
    def test_it_is_that_of_rfc_8037(self) -> None:
        assert thumbprint(ED25519) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"

    def test_it_is_the_digest_of_the_members_in_order(self) -> None:
        text = f'{{"crv":"P-256","kty":"EC","x":"{EC["x"]}","y":"{EC["y"]}"}}'
        assert thumbprint(EC) == b64u(hashlib.sha256(text.encode()).digest())

    def test_what_else_a_jwk_has_makes_no_difference(self) -> None:
        assert thumbprint(EC | {"kid": "k", "alg": "ES256"}) == thumbprint(EC)
