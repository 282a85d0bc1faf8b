"""Backends that do whatever a test wants of them, behind the guard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventserver_core.backends.guard import GuardedBackend
from eventserver_core.backends.storage import StoredObject

KEY = "media-" + "0" * 64
STORED = StoredObject(KEY, 1, "nowhere")
PATIENCE = 60.0


class Plugin:
    """A backend whose methods are given as keywords."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        vars(self).update(methods)


def guard(role: str = "storage", time_limit: float = PATIENCE, **methods: Any) -> GuardedBackend:
    return GuardedBackend(role, "odd", Plugin(**methods), time_limit)


def raising(error: BaseException) -> Callable[..., Any]:
    def method(*_args: object, **_kwargs: object) -> Any:
        raise error

    return method


def answering(answer: object) -> Callable[..., Any]:
    return lambda *_args, **_kwargs: answer
