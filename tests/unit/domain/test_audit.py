"""The chain of the audit trail: its digests, what is found, and the package of a checkpoint."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventserver_core.domain.audit import (
    FIRST_PREVIOUS,
    AuditEntry,
    AuditHead,
    chain_faults,
    checkpoint_package,
)
from eventserver_core.domain.package import check_package, make_statement

from .samples import json_values, texts

NOW = datetime(2024, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
START = AuditHead(0, FIRST_PREVIOUS)
CONTENT = (
    '{"action":"relay_suspended","actor":"admin-1","at":"2024-01-01T00:00:00.250Z",'
    '"details":{"a":[1,null,true],"reason":"«é» 🦊"},'
    f'"previousDigest":"{"0" * 64}","requestId":null,"role":"admin","sequence":1,'
    '"target":"relay-1"}'
)
"""What the first entry's digest is made of, written by hand: names sorted, no spaces, UTF-8."""


def entry(sequence: int = 1, previous: str = FIRST_PREVIOUS, **members: Any) -> AuditEntry:
    made = AuditEntry(
        sequence,
        NOW,
        "admin-1",
        "admin",
        "relay_suspended",
        "relay-1",
        {"reason": "«é» 🦊", "a": [1, None, True]},
        None,
        previous,
    )
    made = replace(made, **members)
    return replace(made, digest_hex=made.computed_digest_hex())


def chain(count: int, **members: Any) -> list[AuditEntry]:
    made: list[AuditEntry] = []
    for sequence in range(1, count + 1):
        previous = made[-1].digest_hex if made else FIRST_PREVIOUS
        made.append(entry(sequence, previous, target=f"relay-{sequence}", **members))
    return made


def faults(entries: list[AuditEntry], before: AuditHead = START) -> list[str]:
    return list(chain_faults(entries, before))


class TestDigests:
    def test_a_digest_is_that_of_the_canonical_form(self) -> None:
        assert entry().digest_hex == hashlib.sha256(CONTENT.encode()).hexdigest()
        assert entry().document() == json.loads(CONTENT)

    def test_where_a_moment_was_measured_makes_no_difference(self) -> None:
        elsewhere = NOW.astimezone(datetime.now(UTC).astimezone().tzinfo)
        assert entry(at=elsewhere).digest_hex == entry().digest_hex

    @given(details=st.dictionaries(texts, json_values, max_size=4))
    def test_details_that_were_kept_as_json_have_the_same_digest(
        self, details: dict[str, Any]
    ) -> None:
        made = entry(details=details)
        read = replace(made, details=json.loads(json.dumps(details, sort_keys=True)))
        assert read.computed_digest_hex() == made.digest_hex

    def test_texts_that_only_look_alike_have_digests_of_their_own(self) -> None:
        forms = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
        assert len({entry(actor=form).digest_hex for form in forms}) == 2


class TestFaults:
    def test_a_whole_chain_has_none(self) -> None:
        assert faults(chain(5)) == []
        assert faults([]) == []

    def test_it_can_be_checked_piece_by_piece(self) -> None:
        made = chain(5)
        assert faults(made[2:], AuditHead(2, made[1].digest_hex)) == []
        assert faults(made[2:], AuditHead(2, "ab" * 32)) == [
            "entry 3 does not follow the one before it"
        ]

    @pytest.mark.parametrize(
        "change",
        [
            {"at": NOW + timedelta(milliseconds=1)},
            {"actor": "admin-2"},
            {"role": "operator"},
            {"action": "relay_approved"},
            {"target": "relay-2"},
            {"details": {}},
            {"request_id": "request-1"},
            {"request_id": ""},
            {"digest_hex": "ab" * 32},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_an_entry_that_was_changed(self, change: dict[str, Any]) -> None:
        (made,) = chain(1)
        assert faults([replace(made, **change)]) == [
            "entry 1 was changed: its digest is not that of its content"
        ]

    def test_an_entry_that_was_changed_with_its_digest(self) -> None:
        made = chain(3)
        made[1] = entry(2, made[0].digest_hex, actor="somebody else")
        assert faults(made) == ["entry 3 does not follow the one before it"]

    @pytest.mark.parametrize("details", [{"n": float("inf")}, {"n": 2**53}, {"t": "\ud800"}])
    def test_an_entry_that_says_what_canonical_json_cannot(self, details: dict[str, Any]) -> None:
        (made,) = chain(1)
        assert faults([replace(made, details=details)]) == [
            "entry 1 was changed: its digest is not that of its content"
        ]

    def test_each_gap_is_told(self) -> None:
        made = chain(6)
        assert faults([made[0], made[2], made[5]]) == [
            "entry 2 is missing; the next one is 3",
            "entry 4 is missing; the next one is 6",
        ]

    def test_another_order(self) -> None:
        made = chain(3)
        assert faults([made[0], made[2], made[1]])

    def test_one_twice(self) -> None:
        made = chain(2)
        assert faults([made[0], made[0], made[1]])

    def test_the_start_of_another_chain(self) -> None:
        theirs = chain(2, actor="somebody else")
        assert faults([chain(1)[0], theirs[1]]) == ["entry 2 does not follow the one before it"]


ID = "9a1f0e6c-2b7d-4c53-8f1a-6d0e5b4c3a21"


class TestCheckpoints:
    HEAD = AuditHead(7, "ab" * 32)

    def test_a_head_and_an_id_give_the_same_package_every_time(self) -> None:
        packages = [checkpoint_package(self.HEAD, NOW, ID) for _ in range(2)]
        assert packages[0] == packages[1] == json.loads(json.dumps(packages[0]))
        first, second = (make_statement(package, None).digest_hex for package in packages)
        assert first == second

    def test_the_package_passes_and_says_what_the_head_is(self) -> None:
        package = checkpoint_package(self.HEAD, NOW, ID)
        parsed = check_package(package)
        assert parsed.created_at == NOW
        assert {a["labelId"]: a["value"] for a in package["annotations"]} == {
            "audit_sequence": 7,
            "audit_digest": "ab" * 32,
        }

    def test_another_head_is_another_event(self) -> None:
        heads = [self.HEAD, AuditHead(8, "cd" * 32), AuditHead(7, "ef" * 32)]
        packages = [checkpoint_package(head, NOW, ID) for head in heads]
        assert len({make_statement(package, None).digest_hex for package in packages}) == 3
