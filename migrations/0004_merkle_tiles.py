"""The inner nodes of large trees are kept, so that a path needs few of a batch's leaves."""

from peewee import BigIntegerField, BlobField, CompositeKey, IntegerField, Model


class MerkleTile(Model):
    batch_id = BigIntegerField()
    number = IntegerField()
    digests = BlobField()

    class Meta:
        table_name = "merkle_tiles"
        primary_key = CompositeKey("batch_id", "number")


def up(migrator, db):
    db.bind([MerkleTile], bind_refs=False, bind_backrefs=False)
    db.create_tables([MerkleTile], safe=False)


def down(migrator, db):
    db.bind([MerkleTile], bind_refs=False, bind_backrefs=False)
    db.drop_tables([MerkleTile])
