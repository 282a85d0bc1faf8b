"""One JSON object a line on standard error; never a token, a certificate or what an event says."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime


def log(event: str, **members: object) -> None:
    """Write a line.

    Args:
        event: what happened, in the past tense.
        members: what else there is to know.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"timestamp": now, "event": event, **members}, default=str)
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
