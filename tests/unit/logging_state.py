"""Logging is set up for a whole process; tests that do so leave it as they found it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def logging_put_back() -> Iterator[None]:
    """Leave logging as it was: what is set up is the whole process's."""
    loggers = [logging.getLogger(name) for name in (None, "gunicorn.error", "httpx", "peewee")]
    before = [(logger, logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        structlog.reset_defaults()
        for logger, level, handlers, propagate in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate = propagate
