"""Tables for people; whoever wrote what stands in them, it is shown as it is."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from eventserver_core.cli.context import printable


def make_table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table whose cells are folded, never cut off."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def plain(text: str) -> Text:
    """Return text that can't be markup, and can't move the cursor or recolour the terminal."""
    return Text(printable(text).replace("\n", "\N{REPLACEMENT CHARACTER}"))
