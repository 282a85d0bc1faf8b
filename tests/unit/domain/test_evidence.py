"""Evidence: each part against the others, and every kind of damage."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from eventserver_core.domain.canonical import MAX_DEPTH, canonicalize
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.evidence import Evidence, Report, check_evidence
from eventserver_core.domain.package import make_statement
from eventserver_core.domain.proof import Outcome, Step, Verdict, make_pending_proof

from .samples import EVENT_ID, altered, claims, encoded, package, proof_of, signed, vectors

CASES = vectors("proof.json")["cases"]
PHOTO = b"\xff\xd8\xff" + bytes(range(256)) * 3
SENT = package(
    media={
        "type": "image/jpeg",
        "name": "photo.jpg",
        "size": len(PHOTO),
        "data": base64.b64encode(PHOTO).decode(),
    }
)
STATEMENT = make_statement(SENT, sha256_hex(PHOTO))
KEY = ECKey.generate_key("P-256")
PROOF = proof_of(STATEMENT.digest_hex)
WHOLE = Evidence(
    event=STATEMENT.content,
    media=[PHOTO[:100], PHOTO[100:]],
    signed_package=signed(claims(SENT), KEY),
    public_key=canonicalize(KEY.as_dict(private=False)),
    proof=canonicalize(PROOF),
)


def outcomes(report: Report) -> dict[str, Outcome]:
    return {step.name: step.outcome for step in report.steps}


def result(evidence: Evidence) -> Verdict:
    return check_evidence(evidence).verdict


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_published_evidence_comes_to_its_published_verdict(case: dict[str, Any]) -> None:
    media, key, jws = (case.get(name) for name in ("mediaBase64", "publicKey", "signedPackage"))
    evidence = Evidence(
        event=case["event"].encode(),
        media=[base64.b64decode(media)] if media else None,
        signed_package=jws.encode() if jws else None,
        public_key=encoded(key) if key else None,
        proof=encoded(case["proof"]),
    )
    assert result(evidence) == case["verdict"]


def test_every_verdict_is_published() -> None:
    assert {case["verdict"] for case in CASES} == set(Verdict)


def test_whole_evidence_is_valid_step_by_step() -> None:
    report = check_evidence(WHOLE)
    assert report.verdict is Verdict.VALID
    assert outcomes(report) == {
        "statement": Outcome.PASSED,
        "media": Outcome.PASSED,
        "signature": Outcome.PASSED,
        "merkle path": Outcome.PASSED,
        "anchor": Outcome.PASSED,
        "chain": Outcome.SKIPPED,
    }


def test_the_event_may_be_spelled_otherwise() -> None:
    assert result(replace(WHOLE, event=encoded(STATEMENT.document))) is Verdict.VALID


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_the_package_with_its_media_inside_does_as_well(prefix: str) -> None:
    sent = altered(SENT, ("media", "data"), prefix + SENT["media"]["data"])
    assert result(replace(WHOLE, event=encoded(sent), media=None)) is Verdict.VALID
    assert result(replace(WHOLE, event=encoded(sent))) is Verdict.VALID


def test_media_beside_a_package_that_has_media_inside_is_checked_too() -> None:
    swapped = replace(WHOLE, event=encoded(SENT), media=[b"another photo"])
    assert result(swapped) is Verdict.INVALID


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("event", Verdict.INCOMPLETE),
        ("media", Verdict.INCOMPLETE),
        ("signed_package", Verdict.INCOMPLETE),
        ("public_key", Verdict.INCOMPLETE),
        ("proof", Verdict.INCOMPLETE),
    ],
)
def test_a_part_that_is_not_there_is_missed(part: str, expected: Verdict) -> None:
    report = check_evidence(replace(WHOLE, **{part: None}))
    assert report.verdict is expected
    assert [step.outcome for step in report.steps].count(Outcome.MISSING) == 1


def test_nothing_at_all_is_incomplete() -> None:
    assert result(Evidence(None, None, None, None, None)) is Verdict.INCOMPLETE


def test_an_event_that_was_not_signed_is_valid() -> None:
    report = check_evidence(replace(WHOLE, signed_package=None, public_key=None))
    assert report.verdict is Verdict.VALID
    assert outcomes(report)["signature"] is Outcome.SKIPPED


def test_an_event_without_media_is_valid_and_takes_none() -> None:
    plain = make_statement(package(), None)
    evidence = Evidence(plain.content, None, None, None, encoded(proof_of(plain.digest_hex)))
    assert result(evidence) is Verdict.VALID
    assert result(replace(evidence, media=[PHOTO])) is Verdict.INVALID
    assert result(replace(evidence, media=[])) is Verdict.INVALID


@pytest.mark.parametrize(
    "media",
    [[], [b""], [PHOTO[:-1]], [PHOTO + b"\x00"], [PHOTO[1:] + PHOTO[:1]], [b"\x00" + PHOTO[1:]]],
)
def test_other_media_is_invalid(media: list[bytes]) -> None:
    report = check_evidence(replace(WHOLE, media=media))
    assert report.verdict is Verdict.INVALID
    assert outcomes(report)["media"] is Outcome.FAILED


def test_media_is_read_in_chunks_and_only_once() -> None:
    def once() -> Iterator[bytes]:
        for i in range(0, len(PHOTO), 7):
            yield PHOTO[i : i + 7]

    assert result(replace(WHOLE, media=once())) is Verdict.VALID


def test_a_size_that_disagrees_with_the_media_is_invalid() -> None:
    lying = make_statement(altered(SENT, ("media", "size"), 5), sha256_hex(PHOTO))
    evidence = Evidence(lying.content, [PHOTO], None, None, encoded(proof_of(lying.digest_hex)))
    assert outcomes(check_evidence(evidence))["media"] is Outcome.FAILED
    assert result(evidence) is Verdict.INVALID


@pytest.mark.parametrize("media", ["photo", [], {}, {"sha256": None}, 5])
def test_media_without_a_digest_proves_nothing(media: Any) -> None:
    odd = make_statement(package(media=media), None)
    evidence = Evidence(odd.content, [PHOTO], None, None, encoded(proof_of(odd.digest_hex)))
    assert result(evidence) is Verdict.INCOMPLETE


@pytest.mark.parametrize(
    "event",
    [b"", b"{", b"\xff", b"[]", b"null", b"5", b'{"a":1,"a":1}', b"[" * 10_000],
)
def test_an_event_that_cannot_be_read_is_invalid(event: bytes) -> None:
    assert result(replace(WHOLE, event=event)) is Verdict.INVALID


@pytest.mark.parametrize("data", ["not base64!", 5, None, ["/9j/"]])
def test_an_event_whose_inner_media_cannot_be_read_is_invalid(data: Any) -> None:
    event = encoded(altered(SENT, ("media", "data"), data))
    assert result(replace(WHOLE, event=event)) is Verdict.INVALID


@pytest.mark.parametrize("proof", [b"", b"{", b"\xff", b"[]", b"5", b'"x"', b'{"a":1,"a":1}'])
def test_a_proof_that_cannot_be_read_is_invalid(proof: bytes) -> None:
    assert result(replace(WHOLE, proof=proof)) is Verdict.INVALID


@pytest.mark.parametrize("key", [b"", b"{", b"null", b"[]", b"{}", b'"x"', b'{"kty":"oct"}'])
def test_a_key_that_cannot_be_read_is_invalid(key: bytes) -> None:
    assert result(replace(WHOLE, public_key=key)) is Verdict.INVALID


@pytest.mark.parametrize("payload", [None, 5, "text", [], {}, {"payload": 5}, [SENT]])
def test_a_signed_package_without_a_package_is_invalid(payload: Any) -> None:
    for content in (claims(payload), encoded(payload)):
        assert result(replace(WHOLE, signed_package=signed(content, KEY))) is Verdict.INVALID


def test_a_signature_over_another_event_is_invalid() -> None:
    for other in (package(), altered(SENT, ("version",), "1.1")):
        report = check_evidence(replace(WHOLE, signed_package=signed(claims(other), KEY)))
        assert outcomes(report)["signature"] is Outcome.FAILED
        assert report.verdict is Verdict.INVALID


def test_a_signature_by_another_key_is_invalid() -> None:
    other = ECKey.generate_key("P-256")
    report = check_evidence(replace(WHOLE, signed_package=signed(claims(SENT), other)))
    assert outcomes(report)["signature"] is Outcome.FAILED


def test_the_hash_does_not_say_whose_key_signed() -> None:
    # documented: whoever exchanges both files has evidence of another author
    other = ECKey.generate_key("P-256")
    exchanged = replace(
        WHOLE,
        signed_package=signed(claims(SENT), other),
        public_key=encoded(other.as_dict(private=False)),
    )
    assert result(exchanged) is Verdict.VALID


def test_another_event_s_proof_is_invalid() -> None:
    other = proof_of(make_statement(package(), None).digest_hex)
    report = check_evidence(replace(WHOLE, proof=encoded(other)))
    assert report.verdict is Verdict.INVALID
    assert outcomes(report)["statement"] is Outcome.FAILED
    assert outcomes(report)["merkle path"] is Outcome.PASSED


def test_the_event_s_id_stands_in_the_proof_in_either_case() -> None:
    for event_id, expected in (
        (EVENT_ID.upper(), Verdict.VALID),
        ("6fa459ea-ee8a-4ca4-894e-db77e160355e", Verdict.INVALID),
        (5, Verdict.INVALID),
        ("", Verdict.INVALID),
    ):
        proof = altered(PROOF, ("eventId",), event_id)
        assert result(replace(WHOLE, proof=encoded(proof))) is expected


@pytest.mark.parametrize("status", ["stored", "batched"])
def test_an_event_that_waits_is_pending_unless_something_is_wrong(status: str) -> None:
    pending = encoded(make_pending_proof(EVENT_ID, STATEMENT.digest_hex, status))
    assert result(replace(WHOLE, proof=pending)) is Verdict.PENDING
    assert result(replace(WHOLE, proof=pending, media=[b"?"])) is Verdict.INVALID


def test_a_later_proof_format_is_unsupported_even_if_it_hashes_otherwise() -> None:
    later = {"format": "eventserver-proof/2", "hash": "sha3:abcd", "eventId": [EVENT_ID]}
    assert result(replace(WHOLE, proof=encoded(later))) is Verdict.UNSUPPORTED
    assert result(replace(WHOLE, proof=encoded(later), media=[b"?"])) is Verdict.INVALID


class Chain:
    """A chain that has an opinion, and remembers what it was asked."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.asked: list[Mapping[str, Any]] = []

    def __call__(self, proof: Mapping[str, Any]) -> Step:
        self.asked.append(proof)
        return Step("chain", self.outcome, "so says the chain")


ON_EVM = replace(WHOLE, proof=encoded(proof_of(STATEMENT.digest_hex, chain="evm")))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.PASSED, Verdict.VALID),
        (Outcome.FAILED, Verdict.INVALID),
        (Outcome.PENDING, Verdict.PENDING),
        (Outcome.MISSING, Verdict.INCOMPLETE),
        (Outcome.UNSUPPORTED, Verdict.UNSUPPORTED),
    ],
)
@pytest.mark.parametrize("evidence", [ON_EVM, WHOLE], ids=["evm", "ledger"])
def test_the_chain_has_the_last_word(
    evidence: Evidence, outcome: Outcome, expected: Verdict
) -> None:
    chain = Chain(outcome)
    report = check_evidence(evidence, chain)
    assert report.verdict is expected
    assert report.steps[-1] == Step("chain", outcome, "so says the chain")
    assert [json.loads(evidence.proof or b"")] == chain.asked


def test_an_evm_anchor_whose_chain_was_not_asked_is_incomplete() -> None:
    report = check_evidence(ON_EVM)
    assert report.verdict is Verdict.INCOMPLETE
    assert outcomes(report)["chain"] is Outcome.MISSING


@pytest.mark.parametrize("place", [("merkle",), ("anchor",), ("hash",), ("format",)])
def test_the_chain_is_not_asked_about_half_a_proof(place: tuple[str, ...]) -> None:
    chain = Chain(Outcome.PASSED)
    proof = encoded(altered(PROOF, place, None))
    assert check_evidence(replace(WHOLE, proof=proof), chain).verdict is Verdict.INCOMPLETE
    assert chain.asked == []


def covered(proof: bytes) -> Any:
    """Return what a proof says that a check can hold it to; None for what is no proof."""
    try:
        said = json.loads(proof)
        tree = {name: said["merkle"][name] for name in ("algorithm", "leafIndex", "path", "root")}
        names = ("chain", "transactionHash", "blockNumber", "blockHash", "timestamp", "parentHash")
        anchor = {name: said["anchor"][name] for name in names}
        return said["format"], said["hash"], tree, anchor
    except (ValueError, KeyError, TypeError):
        return None


@pytest.mark.parametrize("part", ["event", "media", "signed_package", "proof", "public_key"])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_bit_can_be_turned(part: str, data: st.DataObject) -> None:
    content = PHOTO if part == "media" else getattr(WHOLE, part)
    place = data.draw(st.integers(0, len(content) * 8 - 1))
    turned = bytearray(content)
    turned[place // 8] ^= 1 << place % 8
    damaged: Any = [bytes(turned)] if part == "media" else bytes(turned)
    if part == "proof":
        assume(covered(damaged) != covered(content))
    assert result(replace(WHOLE, **{part: damaged})) is not Verdict.VALID


def test_the_deepest_package_is_valid_evidence_signed_or_not() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    sent = package(deep=deep)
    made = make_statement(sent, None)
    evidence = replace(
        WHOLE,
        event=made.content,
        media=None,
        signed_package=signed(claims(sent), KEY),
        proof=encoded(proof_of(made.digest_hex)),
    )
    assert result(evidence) is Verdict.VALID


def test_media_without_an_end_is_read_no_further_than_it_may_be_long() -> None:
    taken: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield PHOTO

    assert result(replace(WHOLE, media=endless())) is Verdict.INVALID
    assert len(taken) == 2
