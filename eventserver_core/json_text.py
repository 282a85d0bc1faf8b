"""JSON as it is written where nothing hashes it: answers, rows on their way, log lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def write_json(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """Write JSON, without spaces, in UTF-8.

    Args:
        value: dicts whose names are text, lists, text, numbers that are finite, booleans and None.
        default: makes something of what it doesn't take.
    """
    try:
        return orjson.dumps(value, default, _OPTIONS)
    except TypeError:
        # integers beyond 64 bits, as amounts in wei are, lone surrogates, names that aren't text
        return json.dumps(value, default=default, separators=(",", ":")).encode("ascii")
