"""What is special about the ledger in a file; the contract has its own tests."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.builtin.chain_ledger import (
    FIRST_PARENT,
    FileLedger,
    eventserver_chain_backend,
)
from eventserver_core.domain.proof import ledger_block_hash
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.contracts.processes import measured, run_and_kill
from tests.unit.builtin.children import run_at_once, run_with_full_disk
from tests.unit.builtin.conftest import Load

ROOTS = [hashlib.sha256(b"root %d" % number).digest() for number in range(10)]
MOMENT = datetime(2024, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.ndjson"


@pytest.fixture
def ledger(path: Path) -> FileLedger:
    return FileLedger(path, clock=lambda: MOMENT)


def publish(ledger: FileLedger, *roots: bytes) -> None:
    for root in roots:
        ledger.publish(ledger.prepare(root))


def number_of(ledger: FileLedger, root: bytes) -> int | None:
    receipt = ledger.find(ledger.prepare(root))
    return receipt and receipt.anchor.block_number


def entries(path: Path) -> list[dict[str, Any]]:
    """Read a ledger as a stranger would, and check its chain."""
    parent = "0x" + "0" * 64
    read: list[dict[str, Any]] = []
    assert path.read_bytes().endswith(b"\n")
    for number, line in enumerate(path.read_text("ascii").splitlines(), 1):
        entry = json.loads(line)
        named = {name: entry[name] for name in ("blockNumber", "parentHash", "root", "timestamp")}
        canonical = json.dumps(named, sort_keys=True, separators=(",", ":")).encode()
        assert entry == named | {"blockHash": "0x" + hashlib.sha256(canonical).hexdigest()}
        assert (entry["blockNumber"], entry["parentHash"]) == (number, parent)
        parent = entry["blockHash"]
        read.append(entry)
    return read


def test_the_hook_keeps_the_ledger_in_the_data_directory(load: Load, tmp_path: Path) -> None:
    backend = eventserver_chain_backend(load())
    backend.publish(backend.prepare(ROOTS[0]))
    assert len(entries(tmp_path / "data" / "ledger.ndjson")) == 1


def test_each_entry_holds_the_hash_of_the_one_before(ledger: FileLedger, path: Path) -> None:
    publish(ledger, *ROOTS[:3])
    read = entries(path)
    assert [entry["root"] for entry in read] == [root.hex() for root in ROOTS[:3]]
    assert {entry["timestamp"] for entry in read} == {"2024-01-01T12:30:15.250Z"}


def test_a_receipt_says_what_the_entry_says(ledger: FileLedger, path: Path) -> None:
    publish(ledger, *ROOTS[:3])
    receipt = ledger.find(ledger.prepare(ROOTS[1]))
    assert receipt is not None
    first, second, _ = entries(path)
    anchor = receipt.anchor
    assert (anchor.chain, anchor.network) == ("ledger", "local")
    assert (anchor.chain_id, anchor.contract) == (None, None)
    assert anchor.block_number == 2
    assert anchor.transaction_hash == anchor.block_hash == second["blockHash"]
    assert anchor.parent_hash == first["blockHash"]
    assert anchor.block_time == MOMENT
    assert (receipt.confirmations, receipt.final) == (2, True)


def test_a_root_is_written_once(ledger: FileLedger, path: Path) -> None:
    publish(ledger, ROOTS[0], ROOTS[1], ROOTS[0])
    publish(FileLedger(path), ROOTS[1], ROOTS[0])
    assert len(entries(path)) == 2


def test_processes_that_publish_at_once_make_one_chain(path: Path) -> None:
    shared = ROOTS[0]

    def publishing(name: str) -> None:
        ledger = FileLedger(path)
        for number in range(15):
            publish(ledger, hashlib.sha256(f"{name} {number}".encode()).digest(), shared)

    run_at_once(*(lambda name=name: publishing(name) for name in "abcd"))
    roots = [entry["root"] for entry in entries(path)]
    assert len(roots) == len(set(roots)) == 4 * 15 + 1


def test_what_was_published_survives_kill_9(path: Path) -> None:
    run_and_kill(lambda: publish(FileLedger(path), ROOTS[0]))
    assert number_of(FileLedger(path), ROOTS[0]) == 1


def test_an_entry_and_its_directory_are_synced(
    ledger: FileLedger, path: Path, synced: list[Path]
) -> None:
    publish(ledger, ROOTS[0])
    assert synced == [path, path.parent]
    publish(FileLedger(path), ROOTS[0])
    assert synced == [path, path.parent] * 2


def test_a_torn_last_line_is_cut_off(ledger: FileLedger, path: Path) -> None:
    publish(ledger, ROOTS[0])
    whole = path.read_bytes()
    publish(ledger, ROOTS[1])
    line = path.read_bytes().removeprefix(whole)
    for torn in (line[:1], line[:100], line[:-2], bytes(100), b"\xff\xfe"):
        path.write_bytes(whole + torn)
        fresh = FileLedger(path)
        assert number_of(fresh, ROOTS[0]) == number_of(ledger, ROOTS[0]) == 1
        assert number_of(fresh, ROOTS[1]) is number_of(ledger, ROOTS[1]) is None
        publish(fresh, ROOTS[2])
        assert [entry["root"] for entry in entries(path)] == [ROOTS[0].hex(), ROOTS[2].hex()]


def test_a_ledger_that_begins_with_a_torn_line_begins_anew(ledger: FileLedger, path: Path) -> None:
    path.write_bytes(b'{"blockHash":"0x')
    publish(ledger, ROOTS[0])
    assert len(entries(path)) == 1


def test_a_last_line_that_lacks_only_its_end_is_kept(ledger: FileLedger, path: Path) -> None:
    publish(ledger, *ROOTS[:2])
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 1)
    publish(FileLedger(path), ROOTS[1])
    assert path.read_bytes() == whole
    os.truncate(path, len(whole) - 1)
    publish(FileLedger(path), ROOTS[2])
    assert path.read_bytes().startswith(whole)
    assert [entry["root"] for entry in entries(path)] == [root.hex() for root in ROOTS[:3]]


def altered_root(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(ROOTS[1].hex().encode(), ROOTS[9].hex().encode())


def altered_time(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b"2024", b"2023")


def altered_number(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b'"blockNumber":2', b'"blockNumber":true')


def removed(lines: list[bytes]) -> None:
    del lines[1]


def swapped(lines: list[bytes]) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def repeated(lines: list[bytes]) -> None:
    lines[1] = lines[0]


def spaced(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b",", b", ")


def extended(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b"}", b',"note":1}')


def blank(lines: list[bytes]) -> None:
    lines.insert(1, b"\n")


def not_json(lines: list[bytes]) -> None:
    lines[1] = b"\x00\xff\n"


def not_an_object(lines: list[bytes]) -> None:
    lines[1] = b"[1,2,3]\n"


def wrong_types(lines: list[bytes]) -> None:
    lines[1] = b'{"blockNumber":2,"parentHash":[],"root":{},"timestamp":5,"blockHash":null}\n'


def joined(lines: list[bytes]) -> None:
    lines[1] = lines[1].rstrip(b"\n")


@pytest.mark.parametrize(
    "change",
    [
        altered_root,
        altered_time,
        altered_number,
        removed,
        swapped,
        repeated,
        spaced,
        extended,
        blank,
        not_json,
        not_an_object,
        wrong_types,
        joined,
    ],
)
def test_an_altered_ledger_is_reported_and_never_repaired(
    ledger: FileLedger, path: Path, change: Any
) -> None:
    publish(ledger, *ROOTS[:4])
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))
    os.utime(path, (0, 0))  # some file systems' clocks tick slowly; a person isn't that fast
    before = path.read_bytes()
    for reader in (ledger, FileLedger(path)):
        for _ in range(2):
            with pytest.raises(BackendUnavailableError, match="altered at entry 2"):
                reader.find(reader.prepare(ROOTS[0]))
        with pytest.raises(BackendUnavailableError, match="altered at entry 2"):
            publish(reader, ROOTS[5])
        with pytest.raises(BackendUnavailableError, match="altered at entry 2"):
            reader.check()
    assert path.read_bytes() == before


def forged(number: int, parent: str, root: bytes) -> bytes:
    """Return an entry that agrees with itself."""
    stamp = "2024-01-01T12:30:15.250Z"
    named = {"blockNumber": number, "parentHash": parent, "root": root.hex(), "timestamp": stamp}
    block_hash = ledger_block_hash(number, parent, root.hex(), stamp)
    entry = named | {"blockHash": block_hash}
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("number", "parent"),
    [(1, "0x" + "0" * 63 + "1"), (2, FIRST_PARENT), (0, FIRST_PARENT), (True, FIRST_PARENT)],
)
def test_an_entry_that_agrees_only_with_itself_is_reported(
    ledger: FileLedger, path: Path, number: int, parent: str
) -> None:
    path.write_bytes(forged(1, FIRST_PARENT, ROOTS[0]) + b"\n")
    assert number_of(ledger, ROOTS[0]) == 1
    path.write_bytes(forged(number, parent, ROOTS[0]) + b"\n")
    with pytest.raises(BackendUnavailableError, match="altered at entry 1"):
        number_of(FileLedger(path), ROOTS[0])


def test_a_tail_that_is_too_long_to_be_torn_is_reported(ledger: FileLedger, path: Path) -> None:
    publish(ledger, ROOTS[0])
    with path.open("ab") as file:
        file.write(b"x" * 600)
    with pytest.raises(BackendUnavailableError, match="altered at entry 2"):
        publish(ledger, ROOTS[1])


def test_a_change_behind_the_ledgers_back_is_noticed_when_it_matters(
    ledger: FileLedger, path: Path
) -> None:
    publish(ledger, *ROOTS[:3])
    assert number_of(ledger, ROOTS[1]) == 2
    before = path.stat()
    content = path.read_bytes()
    first, second, _ = entries(path)
    for line in (
        json.dumps(second).encode(),
        forged(2, first["blockHash"], ROOTS[9]),
    ):
        begin = content.index(b"\n") + 1
        path.write_bytes(content[:begin] + line + content[begin + len(line) :])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(BackendUnavailableError, match="altered at byte"):
            ledger.find(ledger.prepare(ROOTS[1]))
        assert path.stat().st_size == before.st_size


def test_a_ledger_that_was_replaced_is_read_anew(ledger: FileLedger, path: Path) -> None:
    publish(ledger, *ROOTS[:3])
    assert number_of(ledger, ROOTS[2]) == 3
    backup = path.read_bytes()
    path.unlink()
    assert number_of(ledger, ROOTS[0]) is None
    publish(ledger, ROOTS[2])
    assert number_of(ledger, ROOTS[2]) == 1
    path.with_suffix(".backup").write_bytes(backup)
    path.with_suffix(".backup").rename(path)
    assert [number_of(ledger, root) for root in ROOTS[:4]] == [1, 2, 3, None]
    os.truncate(path, len(backup) // 3)
    assert [number_of(ledger, root) for root in ROOTS[:4]] == [1, None, None, None]


def test_another_ledger_in_the_same_file_is_read_anew(
    ledger: FileLedger, path: Path, tmp_path: Path
) -> None:
    publish(ledger, *ROOTS[:2])
    assert number_of(ledger, ROOTS[0]) == 1
    other = FileLedger(tmp_path / "other" / "ledger.ndjson", clock=lambda: MOMENT)
    publish(other, *ROOTS[5:9])
    path.write_bytes((tmp_path / "other" / "ledger.ndjson").read_bytes())
    assert [number_of(ledger, root) for root in (ROOTS[0], ROOTS[5], ROOTS[8])] == [None, 1, 4]


def test_only_what_is_new_is_read(ledger: FileLedger, path: Path) -> None:
    publish(ledger, *(hashlib.sha256(b"%d" % n).digest() for n in range(100)))
    reader = FileLedger(path)
    with measured() as first:
        assert number_of(reader, ROOTS[0]) is None
    publish(ledger, ROOTS[0])
    with measured() as second:
        assert number_of(reader, ROOTS[0]) == 101
    assert first.bytes_read > path.stat().st_size * 9 // 10
    assert second.bytes_read < path.stat().st_size // 4


def test_a_full_disk_is_reported_and_leaves_the_ledger_as_it_was(
    ledger: FileLedger, path: Path
) -> None:
    publish(ledger, *ROOTS[:2])
    before = path.read_bytes()

    def fill() -> None:
        for _ in range(2):
            with pytest.raises(BackendUnavailableError, match="File too large"):
                publish(ledger, ROOTS[2])
            assert path.read_bytes() == before
        assert number_of(ledger, ROOTS[1]) == 2
        publish(ledger, ROOTS[1])

    run_with_full_disk(fill, room=len(before) + 100)
    assert path.read_bytes() == before


def test_the_check_notices_a_full_disk(ledger: FileLedger, path: Path) -> None:
    def check() -> None:
        with pytest.raises(BackendUnavailableError, match="see to the data directory"):
            ledger.check()

    ledger.check()
    run_with_full_disk(check, room=0)
    ledger.check()
    publish(ledger, ROOTS[0])
    assert path.with_name("ledger.ndjson.lock").stat().st_size == 0


def test_a_root_has_32_bytes(ledger: FileLedger, path: Path) -> None:
    transaction = ledger.prepare(ROOTS[0])
    for root in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="32 bytes"):
            ledger.prepare(root)
        with pytest.raises(ValueError, match="32 bytes"):
            ledger.publish(type(transaction)(root, b"", None))
    assert not path.exists()


def test_a_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(BackendUnavailableError, match="data directory"):
        FileLedger(tmp_path / "data" / "ledger.ndjson")


def test_a_ledger_that_cannot_be_read_is_reported(ledger: FileLedger, path: Path) -> None:
    path.mkdir()
    with pytest.raises(BackendUnavailableError, match="cannot be read"):
        ledger.find(ledger.prepare(ROOTS[0]))
