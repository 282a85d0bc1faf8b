"""The tables, as peewee has them; the migrations hold frozen copies of their own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from peewee import (
    BigAutoField,
    BigIntegerField,
    BlobField,
    CharField,
    CompositeKey,
    IntegerField,
    Model,
    TextField,
)

from eventserver_core.domain.instant import from_milliseconds, to_milliseconds


class MomentField(BigIntegerField):
    """A moment, as milliseconds since 1970: the same order and precision on every database."""

    def db_value(self, value: datetime | None) -> int | None:
        return None if value is None else to_milliseconds(value)

    def python_value(self, value: Any) -> datetime | None:
        return None if value is None else from_milliseconds(value)


class Batch(Model):
    """Events under one Merkle root. ``state`` is batched, anchored or confirmed."""

    id = BigAutoField()
    state = CharField(max_length=16)
    size = IntegerField()
    root_hex = CharField(max_length=64)
    sealed_at = MomentField()
    attempts = IntegerField(default=0)
    next_attempt_at = MomentField()
    last_error = TextField(null=True)
    chain = CharField(max_length=32, null=True)
    network = CharField(max_length=64, null=True)
    chain_id = BigIntegerField(null=True)
    contract = CharField(max_length=64, null=True)
    transaction_hash = CharField(max_length=66, null=True)
    block_number = BigIntegerField(null=True)
    block_hash = CharField(max_length=66, null=True)
    parent_hash = CharField(max_length=66, null=True)
    block_time = MomentField(null=True)
    confirmations = BigIntegerField(null=True)

    class Meta:
        table_name = "batches"


class Event(Model):
    """An event that is stored. Without a batch it waits to be sealed."""

    id = BigAutoField()
    digest_hex = CharField(max_length=64, unique=True)
    event_id = CharField(max_length=36, unique=True)
    received_at = MomentField()
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


class MerkleTile(Model):
    """A tile of a batch's tree (``domain.merkle``); batches of earlier releases have none."""

    batch_id = BigIntegerField()
    number = IntegerField()
    digests = BlobField()

    class Meta:
        table_name = "merkle_tiles"
        primary_key = CompositeKey("batch_id", "number")


class AnchorTransactionRow(Model):
    """A transaction, kept before it is published; a batch may have had several."""

    id = BigAutoField()
    batch_id = BigIntegerField(index=True)
    root = BlobField()
    payload = BlobField()
    transaction_hash = CharField(max_length=66, null=True)
    made_at = MomentField(index=True)

    class Meta:
        table_name = "anchor_transactions"


class LostAnchor(Model):
    """Where a batch was anchored until the chain took the block back."""

    id = BigAutoField()
    batch_id = BigIntegerField(index=True)
    chain = CharField(max_length=32)
    network = CharField(max_length=64)
    chain_id = BigIntegerField(null=True)
    contract = CharField(max_length=64, null=True)
    transaction_hash = CharField(max_length=66)
    block_number = BigIntegerField()
    block_hash = CharField(max_length=66)
    parent_hash = CharField(max_length=66, null=True)
    block_time = MomentField()
    lost_at = MomentField()

    class Meta:
        table_name = "lost_anchors"


class Lease(Model):
    """Who may work on something. ``token`` grows each time it changes hands."""

    name = CharField(max_length=64, primary_key=True)
    holder = CharField(max_length=128)
    token = BigIntegerField()
    expires_at = MomentField()

    class Meta:
        table_name = "leases"


class Revocation(Model):
    """A certificate that was taken back."""

    certificate_id = CharField(max_length=128, primary_key=True)
    revoked_at = MomentField()
    reason = TextField()

    class Meta:
        table_name = "revocations"


class RedeemedChallenge(Model):
    """A challenge that was used; forgotten once it has expired."""

    challenge_key = CharField(max_length=128, primary_key=True)
    expires_at = MomentField(index=True)

    class Meta:
        table_name = "redeemed_challenges"


class Admin(Model):
    """Somebody who may run the network; withdrawn ones stay, so that their keys can't return."""

    id = CharField(max_length=36, primary_key=True)
    name = CharField(max_length=64)
    public_key = TextField()
    thumbprint = CharField(max_length=64, unique=True)
    authorized_by = CharField(max_length=255)
    authorized_at = MomentField()
    withdrawn_at = MomentField(null=True)
    withdrawn_by = CharField(max_length=255, null=True)

    class Meta:
        table_name = "admins"


class Relay(Model):
    """A relay. ``state`` is one of those in ``domain.relay``; ended ones stay on record."""

    id = CharField(max_length=36, primary_key=True)
    state = CharField(max_length=16, index=True)
    region = CharField(max_length=64)
    instance_type = CharField(max_length=64, null=True)
    network_address = CharField(max_length=262, null=True)
    names = TextField(default="[]")
    public_key = TextField(null=True)
    machine_id = CharField(max_length=128, null=True)
    reason = TextField(null=True)
    idempotency_key = CharField(max_length=64, null=True, unique=True)
    created_at = MomentField()
    created_by = CharField(max_length=255)
    state_changed_at = MomentField()
    enrolled_at = MomentField(null=True)
    certificate_expires_at = MomentField(null=True)
    tls_serial = CharField(max_length=40, null=True)
    tls_expires_at = MomentField(null=True)
    next_look_at = MomentField(null=True, index=True)
    give_up_at = MomentField(null=True)

    class Meta:
        table_name = "relays"


class UnclaimedMachine(Model):
    """A machine that no relay claimed when it was seen first."""

    machine_id = CharField(max_length=128, primary_key=True)
    seen_at = MomentField()

    class Meta:
        table_name = "unclaimed_machines"


class EnrollmentToken(Model):
    """A token that lets a relay enrol, once; only its digest is kept."""

    digest = CharField(max_length=64, primary_key=True)
    relay_id = CharField(max_length=36, index=True)
    expires_at = MomentField(index=True)
    used_at = MomentField(null=True)

    class Meta:
        table_name = "enrollment_tokens"


class TlsCertificateRow(Model):
    """A relay's TLS certificate, by its serial number in hex."""

    serial = CharField(max_length=40, primary_key=True)
    relay_id = CharField(max_length=36, index=True)
    not_before = MomentField()
    not_after = MomentField(index=True)
    revoked_at = MomentField(null=True, index=True)
    reason = CharField(max_length=32, null=True)

    class Meta:
        table_name = "tls_certificates"


class AuditEntry(Model):
    """Something that somebody did; ``digest`` covers the entry and the one before it."""

    sequence = BigIntegerField(primary_key=True)
    at = MomentField()
    actor = CharField(max_length=255)
    role = CharField(max_length=16)
    action = CharField(max_length=64)
    target = CharField(max_length=255)
    details = TextField()
    request_id = CharField(max_length=128, null=True)
    previous_digest = CharField(max_length=64)
    digest = CharField(max_length=64)

    class Meta:
        table_name = "audit_entries"


class AuditHead(Model):
    """The last entry's number and digest: the one row that whoever appends must have."""

    id = IntegerField(primary_key=True)
    sequence = BigIntegerField()
    digest = CharField(max_length=64)

    class Meta:
        table_name = "audit_head"


class AuditCheckpoint(Model):
    """The event that says what the head was, and is anchored like any other."""

    sequence = BigIntegerField(primary_key=True)
    digest = CharField(max_length=64)
    event_hash = CharField(max_length=64)
    made_at = MomentField()

    class Meta:
        table_name = "audit_checkpoints"


class Label(Model):
    """One version of a label's definition; the highest is in force, unless it is deleted."""

    id = BigAutoField()
    label_id = CharField(max_length=64)
    version = IntegerField()
    definition = TextField(null=True)
    made_at = MomentField()
    made_by = CharField(max_length=255)

    class Meta:
        table_name = "labels"
        indexes = ((("label_id", "version"), True),)


MODELS = (
    Batch,
    Event,
    MerkleTile,
    AnchorTransactionRow,
    LostAnchor,
    Lease,
    Revocation,
    RedeemedChallenge,
    Admin,
    Relay,
    UnclaimedMachine,
    EnrollmentToken,
    TlsCertificateRow,
    AuditEntry,
    AuditHead,
    AuditCheckpoint,
    Label,
)
