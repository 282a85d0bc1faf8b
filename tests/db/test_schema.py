"""The migrations make the very tables that the models describe."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.enrollment import EnrollmentRepository
from eventserver_core.db.event_rows import NewSignature
from eventserver_core.db.events import EventRepository
from eventserver_core.db.labels import LabelRepository
from eventserver_core.db.leases import HeldLease, LeaseRepository
from eventserver_core.db.models import MODELS

from .network_rows import DIGEST, append_many, credentials, fill_network, relay_id
from .rows import NOW, ONLY_POSTGRESQL, fill, fill_by_sql, new_event, receipt, transaction

GROWING = r"(events|batches|anchor_transactions|merkle_tiles)"
"""Tables that have rows enough in these tests to tell how they are read."""
PARTIAL = {"events_unsealed", "events_leaf", "batches_open"}
"""Indexes that only the migrations make: peewee has no way to declare them on a model."""


@pytest.fixture
def from_models(new_url: Callable[[], str]) -> Any:
    """A database with the tables as peewee makes them of the models."""
    database = Database(new_url(), Path("unused"))
    with database.session() as peewee, peewee.bind_ctx(list(MODELS)):
        peewee.create_tables(list(MODELS))
    yield database
    database.close()


def columns(database: Database, table: str) -> dict[str, tuple[object, ...]]:
    with database.session() as peewee:
        found = peewee.get_columns(table)
    return {c.name: (c.full_type or c.data_type, c.null, c.primary_key) for c in found}


def indexes(database: Database, table: str) -> set[tuple[object, ...]]:
    with database.session() as peewee:
        return {
            (tuple(index.columns), index.unique)
            for index in peewee.get_indexes(table)
            if index.name not in PARTIAL
        }


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_columns_agree(database: Database, from_models: Database, model: Any) -> None:
    table = model._meta.table_name
    assert columns(database, table)
    assert columns(database, table) == columns(from_models, table)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_indexes_agree(database: Database, from_models: Database, model: Any) -> None:
    table = model._meta.table_name
    assert indexes(database, table) == indexes(from_models, table)


def test_there_is_no_table_without_a_model(database: Database) -> None:
    with database.session() as peewee:
        made = set(peewee.get_tables())
    assert made == {model._meta.table_name for model in MODELS} | {"schema_migration"}


Queries = list[tuple[str, tuple[object, ...]]]


def test_no_query_reads_a_whole_table(database: Database, queries: Queries) -> None:
    ask_about_events(database)
    ask_the_network(database)
    if database.is_sqlite:  # of so few rows PostgreSQL merges two indexes; see the next test
        BatchRepository(database).other_transactions(1, NOW)
    asked = [query for query in queries if query[0].split()[0] in ("SELECT", "UPDATE", "DELETE")]
    assert len(asked) > 40
    for sql, parameters in asked:
        assert not whole_tables(database, sql, parameters), sql


@ONLY_POSTGRESQL
def test_where_there_are_many_rows_postgresql_finds_their_indexes_by_itself(
    database: Database, lease: HeldLease, queries: Queries
) -> None:
    """What it plans by what it knows of the tables, not by what it is told to avoid."""
    batches = BatchRepository(database)
    fill_by_sql(database, 8000)
    for _ in range(50):
        assert batches.seal(lease, 160, NOW) is not None
    with database.session() as peewee:
        peewee.execute_sql(
            "INSERT INTO batches (state, size, root_hex, sealed_at, attempts, next_attempt_at)"
            " SELECT 'confirmed', 1, '', 0, 0, 0 FROM generate_series(1, 5000)"
        )
        peewee.execute_sql(
            "INSERT INTO anchor_transactions (batch_id, root, payload, made_at)"
            " SELECT id, '', '', 0 FROM batches"
        )
        peewee.execute_sql(
            "INSERT INTO merkle_tiles (batch_id, number, digests)"
            " SELECT id, 0, '' FROM batches ON CONFLICT DO NOTHING"
        )
        peewee.execute_sql("UPDATE batches SET state = 'confirmed'")
        peewee.execute_sql("ANALYZE")
    queries.clear()
    ask_about_events(database)
    batches.other_transactions(1, NOW)
    asked = [query for query in queries if query[0].split()[0] in ("SELECT", "UPDATE", "DELETE")]
    assert len(asked) > 20
    for sql, parameters in asked:
        with database.session() as peewee:
            steps = [row[0] for row in peewee.execute_sql(f"EXPLAIN {sql}", parameters).fetchall()]
        whole = [step for step in steps if re.search(rf"Seq Scan on {GROWING}\b", step)]
        assert not whole, sql


def ask_about_events(database: Database) -> None:
    """Ask every query that comes with each event, each batch, or whoever verifies."""
    events, batches = EventRepository(database), BatchRepository(database)
    leases, certificates = LeaseRepository(database), CertificateRepository(database)
    lease = leases.acquire("anchoring", "worker-1", timedelta(hours=1), NOW)
    assert lease is not None
    fill(events, 3)
    batch = batches.seal(lease, 2, NOW)
    assert batch is not None
    batches.unsealed(10)
    batches.leaves(batch.id)
    assert batches.tiles(batch.id, [0])
    batches.waiting_batches()
    batches.add_transaction(lease, batch.id, transaction(batch.root_hex), NOW)
    batches.transactions(batch.id)
    batches.postpone(lease, batch.id, "an error", NOW)
    assert batches.due(NOW)
    batches.backlog()
    batches.record_receipt(lease, batch.id, receipt(batch.root_hex), NOW, NOW)
    batches.record_loss(lease, batch.id, NOW)
    batches.losses(batch.id)
    assert events.state(new_event(0).digest_hex) is not None
    events.find(new_event(0).digest_hex)
    events.find_by_id(new_event(0).event_id)
    events.attach_signature(NewSignature(new_event(0).digest_hex, "device:1", "jws-1", "{}"))
    certificates.revoke("c-1", "lost", NOW)
    for role in Role:
        certificates.standing(credentials(relay_id(0), role))
    certificates.redeem("challenge", NOW)
    certificates.forget_expired(NOW)
    leases.release(lease, NOW)


def ask_the_network(database: Database) -> None:
    """Ask every query on what grows with the network; relays and admins stay few."""
    fill_network(database)
    entries, enrollment = AuditRepository(database), EnrollmentRepository(database)
    append_many(entries, 3)
    with entries.held():
        entries.head()
    assert entries.find(2) is not None
    assert list(entries.all_entries(1))
    assert entries.checkpoints()
    assert enrollment.find_token(DIGEST) is not None
    enrollment.use_tokens(relay_id(0), NOW)
    enrollment.forget(NOW)
    enrollment.live_of(relay_id(0), NOW)
    assert enrollment.find_certificate("01") is not None
    enrollment.revoke("01", "unspecified", NOW)
    enrollment.revoke_all_of(relay_id(0), "unspecified", NOW)
    assert enrollment.revoked(NOW)
    # all there are is what versions() and in_force() are asked for, once in a while
    labels = LabelRepository(database)
    assert labels.last("title") is not None
    assert labels.history("title")


def whole_tables(database: Database, sql: str, parameters: tuple[object, ...]) -> list[str]:
    """Return the steps of a query that go through all rows of a table that grows."""
    table = (
        r"(events|batches|t1|anchor_transactions|lost_anchors|redeemed_challenges|revocations"
        r"|audit_entries|tls_certificates|enrollment_tokens|labels|merkle_tiles)"
    )
    with database.session() as peewee:
        if database.is_sqlite:
            plan = peewee.execute_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
            return [step for *_, step in plan if re.search(f"SCAN {table}$", step)]
        # so few rows are read fastest all at once: ask what it does where it must not
        peewee.execute_sql("SET enable_seqscan = off")
        plan = [step for (step,) in peewee.execute_sql(f"EXPLAIN {sql}", parameters).fetchall()]
    found = []
    for step, detail in itertools.pairwise([*plan, ""]):
        scan = re.search(rf"Scan (using (?P<index>\w+) )?on {table}\b", step)
        by_index = "Index Cond" in detail or "Bitmap" in step
        if scan and not by_index and scan["index"] not in PARTIAL:
            found.append(step)
    return found
