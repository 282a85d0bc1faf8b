"""The one place that sets structlog up: pretty or JSON lines, on standard error, no secrets."""

from __future__ import annotations

import json
import logging
import logging.config
import re
import sys
from collections.abc import Callable
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import FilteringBoundLogger, Processor

from eventserver_core.json_text import write_json

_SECRETS = re.compile(
    r"(?<=://)[^/\s:@\"']*:[^/\s\"']+(?=@)"  # user and password in an address
    r"|(?i:(?<=bearer )[\w.~+/=-]{16,})"
)
_RUN = re.compile(r"[\w.-]+")
_JWT_START = "eyJ"
_JWT_HEADER_SIZE = 11
_HIDDEN = "(hidden)"


def scrub(text: str) -> str:
    """Hide what looks like a token or a password, in time that grows with the text only."""
    if _JWT_START in text:
        text = _RUN.sub(_hide_token, text)
    if "://" in text or "bearer " in text.lower():
        text = _SECRETS.sub(_HIDDEN, text)
    return text


def _hide_token(run: re.Match[str]) -> str:
    """Cut a run of characters off where a JWT or a signed package begins in it."""
    parts = run[0].split(".")
    position = 0
    for number, part in enumerate(parts[:-2]):
        start = part.find(_JWT_START)
        if start >= 0 and len(part) - start >= _JWT_HEADER_SIZE and parts[number + 1]:
            return run[0][: position + start] + _HIDDEN
        position += len(part) + 1
    return run[0]


def get_logger() -> FilteringBoundLogger:
    """Return a logger; events are constant words in snake_case, the rest goes in keywords."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def bound_request_id() -> str | None:
    """Return the id of the HTTP request that is being answered, which every log line has."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return None if request_id is None else str(request_id)


def configure(level: str, format_: str) -> None:
    """Set logging up for this process, the standard library's loggers included.

    Args:
        level: the least severe level that is logged.
        format_: ``pretty`` for people, ``json`` for one JSON object a line.
    """
    # no line says which thread, process or line of code it is from, so none is looked up:
    # https://docs.python.org/3.11/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if format_ == "json":
        final: list[Processor] = [
            # never with the frames' local variables: they hold tokens, keys and what people wrote
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(_line, default=str),
        ]
    else:
        colors = sys.stderr.isatty()
        final = [
            structlog.dev.ConsoleRenderer(
                colors=colors, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": _ScrubbingFormatter,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        *final,
                    ],
                    "foreign_pre_chain": [structlog.stdlib.ExtraAdder(), *shared],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": level.upper()},
            "loggers": {
                # gunicorn's handlers would write lines of its own form
                "gunicorn.error": {"handlers": [], "propagate": True},
                # everett logs every value it reads, secrets too
                "everett": {"level": "WARNING"},
                "httpx": {"level": "WARNING"},
                "peewee": {"level": "WARNING"},
                # it tells of every retry, with addresses; plugins tell what came of it
                "urllib3": {"level": "ERROR"},
            },
        }
    )


def _line(event: Any, default: Callable[[Any], Any]) -> str:
    line = write_json(event, default)
    # some read a control character or a line's end in what looks like none
    return (
        line.decode()
        if line.isascii()
        else json.dumps(event, default=default, separators=(",", ":"))
    )


class _ScrubbingFormatter(structlog.stdlib.ProcessorFormatter):
    """The last stop before the stream: whatever slipped through, tracebacks too, is scrubbed."""

    def format(self, record: Any) -> str:
        return scrub(super().format(record))
