"""Queries on labels, whose versions are added and never changed."""

from __future__ import annotations

import json
from typing import Any

from peewee import fn

from eventserver_core.db.connection import Database
from eventserver_core.db.models import Label
from eventserver_core.domain.labels import LabelVersion, read_definition


class LabelRepository:
    """Every version of every label."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def versions(self) -> list[LabelVersion]:
        """Return all there are, label by label in the order of their numbers."""
        query = Label.select().order_by(Label.label_id, Label.version)
        with self._database.session() as database:
            return [_version(row) for row in query.execute(database)]

    def in_force(self) -> list[LabelVersion]:
        """Return each label's last version, unless it was deleted, by their ids."""
        last = Label.select(Label.label_id, fn.MAX(Label.version).alias("number"))
        last = last.group_by(Label.label_id).alias("last")
        joined = (Label.label_id == last.c.label_id) & (Label.version == last.c.number)
        query = Label.select().join(last, on=joined).where(Label.definition.is_null(False))
        with self._database.session() as database:
            found = [_version(row) for row in query.execute(database)]
        # databases sort text by rules of their own
        return sorted(found, key=lambda version: version.label_id)

    def history(self, label_id: str) -> list[LabelVersion]:
        """Return a label's versions in the order of their numbers."""
        query = Label.select().where(Label.label_id == label_id).order_by(Label.version)
        with self._database.session() as database:
            return [_version(row) for row in query.execute(database)]

    def last(self, label_id: str) -> LabelVersion | None:
        """Return a label's last version."""
        query = Label.select().where(Label.label_id == label_id).order_by(Label.version.desc())
        with self._database.session() as database:
            row = query.first(database)
        return None if row is None else _version(row)

    def add(self, version: LabelVersion) -> bool:
        """Insert a version, unless the label has one with this number.

        Returns:
            Whether it was inserted.
        """
        definition = version.definition
        query = Label.insert(
            label_id=version.label_id,
            version=version.version,
            definition=None if definition is None else definition.canonical(),
            made_at=version.made_at,
            made_by=version.made_by,
        )
        with self._database.transaction() as database:
            return bool(query.on_conflict_ignore().as_rowcount().execute(database))


def _version(row: Any) -> LabelVersion:
    definition = None if row.definition is None else read_definition(json.loads(row.definition))
    return LabelVersion(row.label_id, row.version, definition, row.made_at, row.made_by)
