"""The rows: models, queries and migrations. peewee stays in here and in ``migrations/``."""
