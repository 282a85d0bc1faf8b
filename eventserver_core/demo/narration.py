"""What the demo prints: plain lines, with colour and a moving bar only where a person looks on."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_MAX_WIDTH = 100
_INDENT = "    "


class Narrator:
    """Tells what happens, step by step.

    Args:
        console: where to.
        problems: where to tell what went wrong.
    """

    def __init__(self, console: Console, problems: Console) -> None:
        self._console = console
        self._problems = problems
        self._number = 0
        self.step_title = ""
        unicode = console.encoding.lower().startswith("utf")
        self._mark = "✓" if unicode else "ok"

    def title(self, text: str, about: str) -> None:
        """Say what this is."""
        self._console.print(Text(text, "bold"))
        self._paragraph(about)

    def step(self, title: str, why: str = "") -> None:
        """Begin the next step."""
        self._number += 1
        self.step_title = title
        self._console.print()
        self._console.print(
            Text.assemble((f"{self._number:>2}", "bold cyan"), "  ", (title, "bold"))
        )
        if why:
            self._paragraph(why, _INDENT, "dim")

    def command(self, line: str) -> None:
        """Show a command as it could be typed."""
        self._line(self._console, Text.assemble(_INDENT, ("$ ", "dim"), (line, "cyan")))

    def held(self, text: str) -> None:
        """Say that something is as it should be."""
        self._marked(self._mark, "green", text)

    def noted(self, text: str) -> None:
        """Say something that is neither right nor wrong."""
        self._marked("-".ljust(len(self._mark)), "dim", text)

    @contextmanager
    def waiting(self, total: int) -> Iterator[Callable[[int, str], None]]:
        """Show a bar while something is waited for; yields what moves it on.

        Without a terminal one line says that it waits.
        """
        if not self._console.is_interactive:
            self._line(self._console, Text(f"{_INDENT}waiting ..."))
            yield lambda _done, _what: None
            return
        columns = (
            TextColumn(_INDENT[:-1]),
            SpinnerColumn("line"),
            BarColumn(30),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
        )
        try:
            with Progress(*columns, console=self._console, transient=True) as progress:
                task = progress.add_task("", total=total)
                yield lambda done, what: progress.update(task, completed=done, description=what)
        finally:
            # Ctrl-C while the bar is only just starting would leave the cursor hidden
            self._console.show_cursor()

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Sum up."""
        table = Table(*head, box=box.ROUNDED, header_style="bold")
        for row in rows:
            table.add_row(*row)
        self._console.print()
        self._console.print(table)

    def end(self, result: str, hints: Sequence[tuple[str, str]]) -> None:
        """Say how it ended, and what to do next: commands with what they are for."""
        self._console.print()
        self._console.print(Text(result, "bold green"))
        self._console.print()
        self._console.print("What next:")
        for command, what in hints:
            self._line(self._console, Text.assemble("  ", (command, "cyan")))
            self._paragraph(what, _INDENT + "  ")

    def failure(self, expected: str, found: str, log: str) -> None:
        """Say which step failed, and how."""
        console = self._problems
        where = f"Step {self._number} failed: {self.step_title}"
        console.print()
        console.print(Text(where, "bold red"))
        for name, text in (("expected", expected), ("came", found), ("log", log)):
            lines = text.splitlines() or [""]
            self._line(console, Text.assemble(f"  {name:<9} ", lines[0]))
            for line in lines[1:]:
                self._line(console, Text(" " * 12 + line))

    def interrupted(self) -> None:
        """Say that it was broken off."""
        self._problems.print()
        self._problems.print(Text(f"Broken off in step {self._number}: everything is stopped."))

    def _marked(self, mark: str, style: str, text: str) -> None:
        indent = " " * (len(_INDENT) + len(mark) + 1)
        body = self._fill(text, indent).removeprefix(indent)
        self._line(self._console, Text.assemble(_INDENT, (mark, style), " ", body))

    def _paragraph(self, text: str, indent: str = "", style: str = "") -> None:
        self._line(self._console, Text(self._fill(text, indent), style))

    def _fill(self, text: str, indent: str) -> str:
        return textwrap.fill(
            text,
            min(self._console.width, _MAX_WIDTH),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )

    @staticmethod
    def _line(console: Console, text: Text) -> None:
        # never broken: a path or a command must survive being copied
        console.print(text, soft_wrap=True)
