"""What lies in a data directory, read with nothing of EventServer's but its formats."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import rfc8785

from eventserver_core.domain import merkle


class Stored:
    """The embedded set-up's database, objects and ledger.

    Args:
        data_dir: where they are.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with closing(sqlite3.connect(self.data_dir / "eventserver.sqlite3", timeout=30)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(statement)]

    def events(self) -> list[dict[str, Any]]:
        """Return all events, each with its batch's columns under names that begin with batch."""
        return self.rows(
            "SELECT e.*, b.state AS batch_state, b.root_hex AS batch_root, b.size AS batch_size"
            " FROM events e LEFT JOIN batches b ON b.id = e.batch_id ORDER BY e.id"
        )

    def object(self, key: str) -> bytes:
        """Return an object's bytes."""
        return (self.data_dir / "objects" / key).read_bytes()

    def objects(self) -> list[str]:
        """Return the keys of all objects."""
        return sorted(path.name for path in (self.data_dir / "objects").iterdir())

    def incoming(self) -> list[str]:
        """Return the names of what has not arrived in full."""
        return sorted(path.name for path in (self.data_dir / "incoming").iterdir())

    def envelope(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is kept of an event in its pack."""
        pack = self.object(event["pack_key"])
        assert event["pack_key"] == f"pack-{hashlib.sha256(pack).hexdigest()}"
        end = event["pack_offset"] + event["pack_length"]
        envelope: dict[str, Any] = json.loads(pack[event["pack_offset"] : end])
        return envelope

    def signed_package(self, event: Mapping[str, Any]) -> bytes:
        """Return an event's signed package: in its pack, or an object of its own."""
        key: str = event["signed_package_key"]
        if key != event["pack_key"]:
            return self.object(key)
        jws: str = self.envelope(event)["signature"]["jws"]
        return jws.encode()

    def check_event(self, event: Mapping[str, Any]) -> None:
        """Make sure that an event's bytes are there, and are those that its hash is of."""
        envelope = self.envelope(event)
        statement = envelope["statement"]
        assert hashlib.sha256(rfc8785.dumps(statement)).hexdigest() == event["digest_hex"]
        assert envelope["hash"] == event["digest_hex"]
        if event["media_key"] is not None:
            digest_hex = hashlib.sha256(self.object(event["media_key"])).hexdigest()
            assert event["media_key"] == f"media-{digest_hex}"
            assert statement["media"]["sha256"] == digest_hex

    def check_batches(self) -> None:
        """Make sure that each batch has its leaves, all of them, and the root over them."""
        leaves: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for event in self.events():
            if event["batch_id"] is not None:
                leaves[event["batch_id"]].append(event)
        batches = self.rows("SELECT * FROM batches ORDER BY id")
        assert {batch["id"] for batch in batches} == set(leaves)
        for batch in batches:
            events = sorted(leaves[batch["id"]], key=lambda event: event["leaf_index"])
            assert [event["leaf_index"] for event in events] == list(range(batch["size"]))
            digests = [bytes.fromhex(event["digest_hex"]) for event in events]
            assert merkle.root(digests).hex() == batch["root_hex"]

    def ledger(self) -> list[dict[str, Any]]:
        """Return the ledger's entries, after making sure that they are one unbroken chain."""
        lines = (self.data_dir / "ledger.ndjson").read_bytes().splitlines()
        entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
        parent = "0x" + "0" * 64
        for number, entry in enumerate(entries, start=1):
            assert (entry["blockNumber"], entry["parentHash"]) == (number, parent)
            parent = entry["blockHash"]
            members = {name: entry[name] for name in entry if name != "blockHash"}
            assert parent == "0x" + hashlib.sha256(rfc8785.dumps(members)).hexdigest()
        return entries
