"""The proof document: every verdict, and that nothing which is covered can be changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventserver_core.domain import merkle
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.package import make_statement
from eventserver_core.domain.proof import (
    FORMAT,
    Outcome,
    Step,
    Verdict,
    check_proof,
    ledger_block_hash,
    make_pending_proof,
    verdict,
)

from .samples import (
    BLOCK_TIMESTAMP,
    EVENT_ID,
    PARENT_HASH,
    altered,
    json_values,
    package,
    places,
    proof_of,
    turns,
    without,
)

DIGEST_HEX = make_statement(package(), None).digest_hex
LEDGER = proof_of(DIGEST_HEX)
EVM = proof_of(DIGEST_HEX, chain="evm")
Place = tuple[str | int, ...]

NOT_COVERED: set[Place] = {
    ("eventId",),  # check_evidence compares it with the event's own, which the hash covers
    ("anchor", "network"),
    ("anchor", "chainId"),
    ("anchor", "contract"),
}
"""Members that are only words to an offline check of a ledger's proof; ``docs/proof-format.md``
tells of them, and of ``treeSize``, which counts only as far as it says how the path turns."""


def result(document: Any) -> Verdict:
    return verdict(check_proof(document))


def test_a_whole_proof_on_the_ledger_is_valid() -> None:
    assert result(LEDGER) is Verdict.VALID
    assert [step.outcome for step in check_proof(LEDGER)] == [Outcome.PASSED, Outcome.PASSED]


def test_a_proof_survives_being_sent() -> None:
    assert result(json.loads(json.dumps(LEDGER))) is Verdict.VALID


@pytest.mark.parametrize(
    ("index", "size"), [(0, 1), (0, 2), (1, 2), (4, 5), (0, 1000), (999, 1000)]
)
def test_an_event_is_proved_in_any_place_of_a_batch(index: int, size: int) -> None:
    assert result(proof_of(DIGEST_HEX, index=index, size=size)) is Verdict.VALID


def test_a_proof_has_the_members_of_the_contract() -> None:
    assert set(EVM) == {"format", "eventId", "hash", "merkle", "anchor"}
    assert set(EVM["merkle"]) == {"algorithm", "leafIndex", "treeSize", "path", "root"}
    on_a_chain = {
        "chain", "network", "chainId", "contract",
        "transactionHash", "blockNumber", "blockHash", "timestamp",
    }  # fmt: skip
    assert set(EVM["anchor"]) == on_a_chain
    assert set(LEDGER["anchor"]) == on_a_chain | {"parentHash"}
    assert (EVM["format"], EVM["merkle"]["algorithm"]) == ("eventserver-proof/1", "RFC9162-SHA256")


@pytest.mark.parametrize("status", ["stored", "batched"])
def test_an_event_that_waits_is_pending(status: str) -> None:
    pending = make_pending_proof(EVENT_ID, DIGEST_HEX, status)
    assert pending == {
        "format": FORMAT,
        "eventId": EVENT_ID,
        "hash": DIGEST_HEX,
        "status": status,
    }
    assert result(pending) is Verdict.PENDING


@pytest.mark.parametrize("status", ["anchored", "confirmed", "valid", "", None, 5, ["stored"], {}])
def test_any_other_status_without_a_path_is_incomplete(status: Any) -> None:
    pending = make_pending_proof(EVENT_ID, DIGEST_HEX, "stored") | {"status": status}
    assert result(pending) is Verdict.INCOMPLETE


def test_a_status_does_not_excuse_half_a_proof() -> None:
    for member in ("merkle", "anchor"):
        half = without(LEDGER, (member,)) | {"status": "batched"}
        assert result(half) is Verdict.INCOMPLETE
    assert result(altered(LEDGER, ("hash",), "00" * 32) | {"status": "batched"}) is Verdict.INVALID


@pytest.mark.parametrize("proof", [LEDGER, EVM], ids=["ledger", "evm"])
def test_a_proof_that_lacks_a_member_is_never_valid(proof: Any) -> None:
    optional: set[Place] = {("eventId",), ("anchor", "contract")}
    if proof is LEDGER:
        optional |= {("anchor", "chainId")}
    for place in places(proof):
        lacking = result(without(proof, place))
        if place in optional:
            assert lacking is Verdict.VALID
        elif place[:2] == ("merkle", "path") and len(place) == 3:
            assert lacking is Verdict.INVALID
        else:
            assert lacking is Verdict.INCOMPLETE, place


@pytest.mark.parametrize("proof", [LEDGER, EVM], ids=["ledger", "evm"])
def test_null_is_as_good_as_not_there(proof: Any) -> None:
    for place in places(proof):
        if isinstance(place[-1], str):
            assert result(altered(proof, place, None)) is result(without(proof, place))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), "eventserver-proof/2"),
        (("format",), "eventserver-proof/1.1"),
        (("merkle", "algorithm"), "RFC9162-SHA512"),
        (("merkle", "algorithm"), "rfc9162-sha256"),
        (("merkle", "algorithm"), 5),
        (("anchor", "chain"), "bitcoin"),
        (("anchor", "chain"), "EVM"),
        (("anchor", "chain"), ["ledger"]),
    ],
)
def test_what_a_later_version_may_say_is_unsupported(place: Place, value: Any) -> None:
    assert result(altered(LEDGER, place, value)) is Verdict.UNSUPPORTED


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), "another-proof/1"),
        (("format",), 1),
        (("hash",), DIGEST_HEX.upper()),
        (("hash",), "0x" + DIGEST_HEX),
        (("hash",), DIGEST_HEX[:-1]),
        (("hash",), 5),
        (("hash",), "00" * 32),
        (("merkle",), "path"),
        (("merkle",), []),
        (("merkle", "leafIndex"), 4),
        (("merkle", "leafIndex"), -1),
        (("merkle", "leafIndex"), 11),
        (("merkle", "leafIndex"), "5"),
        (("merkle", "leafIndex"), 5.0),
        (("merkle", "leafIndex"), True),
        (("merkle", "leafIndex"), 2**53),
        (("merkle", "treeSize"), 5),
        (("merkle", "treeSize"), 0),
        (("merkle", "treeSize"), "11"),
        (("merkle", "treeSize"), 11.5),
        (("merkle", "treeSize"), 2**70),
        (("merkle", "path"), "text"),
        (("merkle", "path"), ""),
        (("merkle", "path"), {}),
        (("merkle", "path"), 5),
        (("merkle", "path"), []),
        (("merkle", "path", 0), "00" * 32),
        (("merkle", "path", 0), LEDGER["merkle"]["path"][0].upper()),
        (("merkle", "path", 0), 5),
        (("merkle", "path", 0), None),
        (("merkle", "path", 0), ""),
        (("merkle", "root"), "00" * 32),
        (("merkle", "root"), 5),
        (("anchor",), "anchor"),
        (("anchor",), []),
        (("anchor", "network"), 5),
        (("anchor", "network"), ["local"]),
        (("anchor", "chainId"), "1"),
        (("anchor", "chainId"), 1.5),
        (("anchor", "contract"), "0x00"),
        (("anchor", "contract"), 5),
        (("anchor", "transactionHash"), "0x" + "00" * 32),
        (("anchor", "transactionHash"), LEDGER["anchor"]["transactionHash"][2:]),
        (("anchor", "blockHash"), "0x" + "00" * 32),
        (("anchor", "blockHash"), 5),
        (("anchor", "blockNumber"), 8),
        (("anchor", "blockNumber"), "7"),
        (("anchor", "blockNumber"), 7.0),
        (("anchor", "blockNumber"), True),
        (("anchor", "blockNumber"), -1),
        (("anchor", "blockNumber"), 2**70),
        (("anchor", "parentHash"), "0x" + "00" * 32),
        (("anchor", "parentHash"), ""),
        (("anchor", "timestamp"), "2023-01-01T00:01:00.000Z"),
        (("anchor", "timestamp"), "2024-01-01T00:01:00Z"),
        (("anchor", "timestamp"), "yesterday"),
        (("anchor", "timestamp"), 1704067260),
    ],
)
def test_what_is_wrong_is_invalid(place: Place, value: Any) -> None:
    assert result(altered(LEDGER, place, value)) is Verdict.INVALID


@pytest.mark.parametrize("document", [None, [], "proof", 5, True, [LEDGER]])
def test_what_is_no_object_is_no_proof(document: Any) -> None:
    assert result(document) is Verdict.INVALID


@pytest.mark.parametrize("place", [("merkle", "leafIndex"), ("merkle", "treeSize")])
def test_a_count_of_ten_thousand_digits_is_invalid(place: Place) -> None:
    assert result(altered(LEDGER, place, 10**10_000)) is Verdict.INVALID


def test_true_is_not_the_number_one() -> None:
    second, alone = proof_of(DIGEST_HEX, index=1, size=2), proof_of(DIGEST_HEX, index=0, size=1)
    assert result(altered(second, ("merkle", "leafIndex"), True)) is Verdict.INVALID
    assert result(altered(alone, ("merkle", "treeSize"), True)) is Verdict.INVALID


def test_a_leaf_that_only_an_endless_count_could_reach_is_invalid() -> None:
    # one right turn at the top of a tree with 2**20000 + 1 leaves: RFC 9162 would let it pass
    alone = proof_of(DIGEST_HEX, index=1, size=2)
    endless = altered(alone, ("merkle", "leafIndex"), 2**20_000)
    assert result(altered(endless, ("merkle", "treeSize"), 2**20_000 + 1)) is Verdict.INVALID


def test_a_path_of_text_is_not_an_empty_path() -> None:
    alone = proof_of(DIGEST_HEX, index=0, size=1)
    assert alone["merkle"]["path"] == []
    assert result(altered(alone, ("merkle", "path"), "")) is Verdict.INVALID


class NeverWalked(list[str]):
    """A path that fails whoever takes a step on it."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the path was walked")


def test_a_path_of_ten_thousand_steps_is_refused_before_it_is_walked() -> None:
    document = altered(LEDGER, ("merkle", "path"), [])
    document["merkle"]["path"] = NeverWalked(["00" * 32] * 10_000)
    assert result(document) is Verdict.INVALID


def test_a_root_of_another_batch_under_the_same_entry_is_invalid() -> None:
    other = proof_of(DIGEST_HEX, index=2, size=3)
    for mixed in (LEDGER | {"merkle": other["merkle"]}, LEDGER | {"anchor": other["anchor"]}):
        (path, anchor) = check_proof(mixed)
        assert (path.outcome, anchor.outcome) == (Outcome.PASSED, Outcome.FAILED)


def test_a_ledger_s_entry_cannot_be_passed_off_as_an_evm_block() -> None:
    assert result(altered(LEDGER, ("anchor", "chain"), "evm")) is Verdict.INCOMPLETE


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_no_covered_member_can_be_changed(data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([p for p in places(LEDGER) if p not in NOT_COVERED]))
    before = LEDGER
    for token in place:
        before = before[token]
    likely = st.sampled_from([0, 1, 7, 10, 12, 16, "ledger", "00" * 32, PARENT_HASH, "", [], {}])
    value = data.draw(
        st.one_of(likely, json_values, st.integers(0, 2**53)).filter(
            lambda value: (type(value), value) != (type(before), before)
        )
    )
    changed = result(altered(LEDGER, place, value))
    if place == ("merkle", "treeSize") and type(value) is int and 5 < value < 2**53:
        same_turns = turns(5, value) == turns(5, 11)
        assert changed is (Verdict.VALID if same_turns else Verdict.INVALID)
    else:
        assert changed is not Verdict.VALID


@pytest.mark.parametrize("place", sorted(NOT_COVERED))
def test_what_is_listed_as_not_covered_really_is_not(place: Place) -> None:
    values = {
        "eventId": "another",
        "network": "elsewhere",
        "chainId": 5,
        "contract": "0x" + "ab" * 20,
    }
    assert result(altered(LEDGER, place, values[str(place[-1])])) is Verdict.VALID


@settings(max_examples=100, deadline=None)
@given(json_values)
def test_any_json_is_checked_without_an_error(document: Any) -> None:
    assert result(document) is not Verdict.VALID
    assert result(LEDGER | {"merkle": document}) is not Verdict.VALID
    assert result(LEDGER | {"anchor": document}) is not Verdict.VALID


def test_a_ledger_s_entry_is_hashed_as_the_documentation_says() -> None:
    root = "ab" * 32
    entry = (
        f'{{"blockNumber":7,"parentHash":"{PARENT_HASH}",'
        f'"root":"{root}","timestamp":"{BLOCK_TIMESTAMP}"}}'
    )
    expected = "0x" + sha256_hex(entry.encode())
    assert ledger_block_hash(7, PARENT_HASH, root, BLOCK_TIMESTAMP) == expected


def test_the_leaf_is_the_hash_s_bytes_and_not_its_digits() -> None:
    alone = proof_of(DIGEST_HEX, index=0, size=1)
    assert alone["merkle"]["root"] == merkle.leaf_digest(bytes.fromhex(DIGEST_HEX)).hex()


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], Verdict.INCOMPLETE),
        (["skipped"], Verdict.INCOMPLETE),
        (["passed"], Verdict.VALID),
        (["passed", "skipped"], Verdict.VALID),
        (["passed", "missing"], Verdict.INCOMPLETE),
        (["passed", "missing", "pending"], Verdict.PENDING),
        (["missing", "pending", "unsupported"], Verdict.UNSUPPORTED),
        (["passed", "skipped", "pending", "missing", "unsupported", "failed"], Verdict.INVALID),
    ],
)
def test_what_is_worst_decides(outcomes: list[str], expected: Verdict) -> None:
    steps = [Step("step", Outcome(outcome), "") for outcome in outcomes]
    assert verdict(steps) is verdict(steps[::-1]) is expected
