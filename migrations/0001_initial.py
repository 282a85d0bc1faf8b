"""Events, batches, anchor transactions, leases, revocations and used challenges."""

from peewee import (
    BigAutoField,
    BigIntegerField,
    BlobField,
    CharField,
    IntegerField,
    Model,
    TextField,
)


class Batch(Model):
    id = BigAutoField()
    state = CharField(max_length=16)
    size = IntegerField()
    root_hex = CharField(max_length=64)
    sealed_at = BigIntegerField()
    attempts = IntegerField(default=0)
    next_attempt_at = BigIntegerField()
    last_error = TextField(null=True)
    chain = CharField(max_length=32, null=True)
    network = CharField(max_length=64, null=True)
    chain_id = BigIntegerField(null=True)
    contract = CharField(max_length=64, null=True)
    transaction_hash = CharField(max_length=66, null=True)
    block_number = BigIntegerField(null=True)
    block_hash = CharField(max_length=66, null=True)
    parent_hash = CharField(max_length=66, null=True)
    block_time = BigIntegerField(null=True)
    confirmations = BigIntegerField(null=True)

    class Meta:
        table_name = "batches"


class Event(Model):
    id = BigAutoField()
    digest_hex = CharField(max_length=64, unique=True)
    event_id = CharField(max_length=36, unique=True)
    received_at = BigIntegerField()
    submitted_by = CharField(max_length=255)
    device = CharField(max_length=255, null=True)
    pack_key = CharField(max_length=128)
    pack_offset = BigIntegerField()
    pack_length = IntegerField()
    storage_location = CharField(max_length=512)
    media_key = CharField(max_length=128, null=True)
    media_type = CharField(max_length=64, null=True)
    media_size = BigIntegerField(null=True)
    signed_package_key = CharField(max_length=128, null=True)
    public_key = TextField(null=True)
    batch_id = BigIntegerField(null=True)
    leaf_index = IntegerField(null=True)

    class Meta:
        table_name = "events"


class AnchorTransaction(Model):
    id = BigAutoField()
    batch_id = BigIntegerField(index=True)
    root = BlobField()
    payload = BlobField()
    transaction_hash = CharField(max_length=66, null=True)
    made_at = BigIntegerField()

    class Meta:
        table_name = "anchor_transactions"


class Lease(Model):
    name = CharField(max_length=64, primary_key=True)
    holder = CharField(max_length=128)
    token = BigIntegerField()
    expires_at = BigIntegerField()

    class Meta:
        table_name = "leases"


class Revocation(Model):
    certificate_id = CharField(max_length=128, primary_key=True)
    revoked_at = BigIntegerField()
    reason = TextField()

    class Meta:
        table_name = "revocations"


class RedeemedChallenge(Model):
    challenge_key = CharField(max_length=128, primary_key=True)
    expires_at = BigIntegerField(index=True)

    class Meta:
        table_name = "redeemed_challenges"


TABLES = (Batch, Event, AnchorTransaction, Lease, Revocation, RedeemedChallenge)

# Partial indexes: what waits is a sliver of what is there, however large the table grows.
INDEXES = (
    "CREATE INDEX events_unsealed ON events (id, received_at) WHERE batch_id IS NULL",
    "CREATE UNIQUE INDEX events_leaf ON events (batch_id, leaf_index) WHERE batch_id IS NOT NULL",
    "CREATE INDEX batches_open ON batches (next_attempt_at) WHERE state <> 'confirmed'",
)


def up(migrator, db):
    db.bind(TABLES, bind_refs=False, bind_backrefs=False)
    db.create_tables(TABLES, safe=False)
    for statement in INDEXES:
        db.execute_sql(statement)


def down(migrator, db):
    db.bind(TABLES, bind_refs=False, bind_backrefs=False)
    db.drop_tables(TABLES)
