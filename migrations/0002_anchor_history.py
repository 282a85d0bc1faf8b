"""What a reorganisation undid is kept, and the transactions of the last day are found fast."""

from peewee import BigAutoField, BigIntegerField, CharField, Model


class LostAnchor(Model):
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
    block_time = BigIntegerField()
    lost_at = BigIntegerField()

    class Meta:
        table_name = "lost_anchors"


def up(migrator, db):
    db.bind([LostAnchor], bind_refs=False, bind_backrefs=False)
    db.create_tables([LostAnchor], safe=False)
    db.execute_sql("CREATE INDEX anchor_transactions_made_at ON anchor_transactions (made_at)")


def down(migrator, db):
    db.execute_sql("DROP INDEX anchor_transactions_made_at")
    db.bind([LostAnchor], bind_refs=False, bind_backrefs=False)
    db.drop_tables([LostAnchor])
