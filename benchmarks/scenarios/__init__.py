"""The scenarios, a module each: its docstring says what it measures, ``run`` does it.

One more is one more file in here: a module with a docstring and ``run(stage)``, which returns the
rows of the table and the rounds behind them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Round, Row
from benchmarks.stage import Stage


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario found.

    Attributes:
        rows: for the table.
        rounds: as they were measured.
    """

    rows: Sequence[Row]
    rounds: Sequence[Round]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that is measured.

    Attributes:
        name: the module's, with hyphens.
        summary: the first line of its docstring.
        run: does it.
    """

    name: str
    summary: str
    run: Callable[[Stage], Outcome]


def scenarios() -> list[Scenario]:
    """Return all of them, in the order of their names."""
    found = []
    for module_info in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        summary = (module.__doc__ or "").partition("\n")[0]
        found.append(Scenario(module_info.name.replace("_", "-"), summary, module.run))
    return found
