"""What can be done after the demo, as commands that work where they are read."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def program() -> str:
    """Return how ``eventserver`` is called from the current directory."""
    installed = Path(sys.executable).with_name("eventserver")
    found = shutil.which("eventserver")
    if not installed.exists() or (found and Path(found).samefile(installed)):
        return "eventserver"
    here = Path.cwd()
    return str(installed.relative_to(here) if installed.is_relative_to(here) else installed)


def next_steps(evidence: Path, *, chain_is_gone: bool) -> list[tuple[str, str]]:
    """Return commands with what they are for.

    Args:
        evidence: the ZIP that the demo left.
        chain_is_gone: whether it was anchored on a chain that ended with the demo.
    """
    what = "check the evidence yourself, offline"
    if chain_is_gone:
        what = "check all of the evidence but the chain, which is gone: incomplete"
    steps = [(f"{program()} verify {evidence}", what)]
    if Path("examples", "serve.py").is_file():
        serve = "leave a server running, with a certificate and curl lines to try it"
        steps.append(("make serve", serve))
        steps.append(
            (
                "docs/proof-format.md",
                "what the evidence is, and how to check it without EventServer",
            )
        )
    else:
        steps.append((f"{program()} serve --with-worker", "leave a server running here"))
    return steps
