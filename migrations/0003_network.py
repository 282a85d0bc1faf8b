"""Admins, relays and their certificates, the audit trail, labels."""

from peewee import (
    BigAutoField,
    BigIntegerField,
    CharField,
    IntegerField,
    Model,
    TextField,
)


class Admin(Model):
    id = CharField(max_length=36, primary_key=True)
    name = CharField(max_length=64)
    public_key = TextField()
    thumbprint = CharField(max_length=64, unique=True)
    authorized_by = CharField(max_length=255)
    authorized_at = BigIntegerField()
    withdrawn_at = BigIntegerField(null=True)
    withdrawn_by = CharField(max_length=255, null=True)

    class Meta:
        table_name = "admins"


class Relay(Model):
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
    created_at = BigIntegerField()
    created_by = CharField(max_length=255)
    state_changed_at = BigIntegerField()
    enrolled_at = BigIntegerField(null=True)
    certificate_expires_at = BigIntegerField(null=True)
    tls_serial = CharField(max_length=40, null=True)
    tls_expires_at = BigIntegerField(null=True)
    next_look_at = BigIntegerField(null=True, index=True)
    give_up_at = BigIntegerField(null=True)

    class Meta:
        table_name = "relays"


class UnclaimedMachine(Model):
    machine_id = CharField(max_length=128, primary_key=True)
    seen_at = BigIntegerField()

    class Meta:
        table_name = "unclaimed_machines"


class EnrollmentToken(Model):
    digest = CharField(max_length=64, primary_key=True)
    relay_id = CharField(max_length=36, index=True)
    expires_at = BigIntegerField(index=True)
    used_at = BigIntegerField(null=True)

    class Meta:
        table_name = "enrollment_tokens"


class TlsCertificateRow(Model):
    serial = CharField(max_length=40, primary_key=True)
    relay_id = CharField(max_length=36, index=True)
    not_before = BigIntegerField()
    not_after = BigIntegerField(index=True)
    revoked_at = BigIntegerField(null=True, index=True)
    reason = CharField(max_length=32, null=True)

    class Meta:
        table_name = "tls_certificates"


class AuditEntry(Model):
    sequence = BigIntegerField(primary_key=True)
    at = BigIntegerField()
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
    id = IntegerField(primary_key=True)
    sequence = BigIntegerField()
    digest = CharField(max_length=64)

    class Meta:
        table_name = "audit_head"


class AuditCheckpoint(Model):
    sequence = BigIntegerField(primary_key=True)
    digest = CharField(max_length=64)
    event_hash = CharField(max_length=64)
    made_at = BigIntegerField()

    class Meta:
        table_name = "audit_checkpoints"


class Label(Model):
    id = BigAutoField()
    label_id = CharField(max_length=64)
    version = IntegerField()
    definition = TextField(null=True)
    made_at = BigIntegerField()
    made_by = CharField(max_length=255)

    class Meta:
        table_name = "labels"
        indexes = ((("label_id", "version"), True),)


TABLES = (
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


def up(migrator, db):
    db.bind(TABLES, bind_refs=False, bind_backrefs=False)
    db.create_tables(TABLES, safe=False)
    AuditHead.insert(id=1, sequence=0, digest="0" * 64).execute()


def down(migrator, db):
    db.bind(TABLES, bind_refs=False, bind_backrefs=False)
    db.drop_tables(TABLES)
