"""Rows by SQL: a database that has grown, without the years that it would take.

They look like real ones: digests, ids, packs of some hundred events, a photo with every fourth,
batches that were sealed and confirmed. The events of some batches, spread over all of it, wait
instead: a worker seals and anchors them, so that they can be proven.
"""

from __future__ import annotations

import threading
import time

import psycopg

from benchmarks.stage import Stage, wait_until

BATCH_SIZE = 1024
"""The default of ``anchoring.batch_max_events``: the worker makes the same batches."""

_EVENTS = """
INSERT INTO events (id, digest_hex, event_id, received_at, submitted_by, pack_key, pack_offset,
                    pack_length, storage_location, media_key, media_type, media_size, batch_id,
                    leaf_index)
SELECT i, digest, md5(digest)::uuid::text, %(now)s - (%(total)s - i) * 10,
       'relay-' || i %% 50, pack, i %% 200 * 700, 690, 's3://eventserver-storage/' || pack,
       CASE WHEN i %% 4 = 0 THEN 'media-' || digest END,
       CASE WHEN i %% 4 = 0 THEN 'image/jpeg' END,
       CASE WHEN i %% 4 = 0 THEN 48213 END,
       CASE WHEN batch %% %(stride)s <> 0 THEN batch END,
       CASE WHEN batch %% %(stride)s <> 0 THEN (i - 1) %% %(size)s END
FROM (SELECT i, (i - 1) / %(size)s + 1 AS batch,
             encode(sha256(convert_to(%(salt)s || i, 'UTF8')), 'hex') AS digest,
             'pack-' || encode(sha256(convert_to(%(salt)s || i / 200, 'UTF8')), 'hex') AS pack
      FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS i) AS made
"""
_BATCHES = """
INSERT INTO batches (id, state, size, root_hex, sealed_at, attempts, next_attempt_at, chain,
                     network, transaction_hash, block_number, block_hash, parent_hash, block_time,
                     confirmations)
SELECT i, 'confirmed', %(size)s, hash, %(now)s, 0, %(now)s, 'ledger', 'local', hash, i, hash, hash,
       %(now)s, 1
FROM (SELECT i, encode(sha256(convert_to(%(salt)s || 'batch' || i, 'UTF8')), 'hex') AS hash
      FROM generate_series(1, %(batches)s::bigint) AS i) AS made
WHERE i %% %(stride)s <> 0
"""
_DONE = """
SELECT NOT EXISTS (SELECT FROM events WHERE batch_id IS NULL)
       AND NOT EXISTS (SELECT FROM batches WHERE state <> 'confirmed')
"""
_WRITERS = 2


def make_confirmed(stage: Stage, name: str, database: str, batches: int, real: int) -> list[str]:
    """Fill an empty database with batches that are confirmed.

    Args:
        stage: runs the worker.
        name: what the worker's log is called, and what no other database's digests come from.
        database: its address.
        batches: how many, of 1,024 events each.
        real: how many of them can be proven.

    Returns:
        The hashes of all events of the real ones.
    """
    _fill(database, name, batches * BATCH_SIZE, stride=batches // real)
    with stage.run(f"{name}-worker", database, ("worker",)):
        wait_until(database, _DONE)
    _vacuum(database)
    with psycopg.connect(database) as connection:
        # whatever the worker sealed has a number beyond those that were made
        question = "SELECT digest_hex FROM events WHERE batch_id > %s"
        return [digest_hex for (digest_hex,) in connection.execute(question, [batches])]


def make_waiting(name: str, database: str, count: int) -> None:
    """Fill an empty database with events that wait to be sealed."""
    _fill(database, name, count, stride=1)


def _fill(database: str, salt: str, total: int, stride: int) -> None:
    """Make rows; those of every ``stride``-th batch wait."""
    values = {
        "now": int(time.time() * 1000),
        "total": total,
        "size": BATCH_SIZE,
        "stride": stride,
        "salt": salt,
        "batches": -(-total // BATCH_SIZE),
    }
    with psycopg.connect(database, autocommit=True) as connection:
        # an index that is made last costs a fraction of one that grows with each row
        rows = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes "
            "WHERE tablename = 'events' AND indexname <> 'events_pkey'"
        ).fetchall()
        for index, _ in rows:
            connection.execute(f'DROP INDEX "{index}"'.encode())
        connection.execute(_BATCHES, values)
        share = -(-total // _WRITERS)
        parts = [
            values | {"first": first, "last": min(first + share - 1, total)}
            for first in range(1, total + 1, share)
        ]
        writers = [threading.Thread(target=_insert, args=(database, part)) for part in parts]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        connection.execute("SET maintenance_work_mem = '512MB'")
        for _, definition in rows:
            connection.execute(definition.encode())
        connection.execute("SELECT setval('events_id_seq', %(total)s)", values)
        connection.execute("SELECT setval('batches_id_seq', %(batches)s)", values)
    _vacuum(database)


def _insert(database: str, values: dict[str, object]) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(_EVENTS, values)


def _vacuum(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) events")
        connection.execute("VACUUM (ANALYZE) batches")
        connection.execute("CHECKPOINT")
