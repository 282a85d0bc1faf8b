"""Garbage is looked for after so many requests, whatever Python's own thresholds say."""

from __future__ import annotations

import gc
import weakref

import pytest

from eventserver_core.serving.garbage import after_request

pytestmark = pytest.mark.usefixtures("no_garbage_collection")


class Circle:
    """Refers to itself, so that it goes only where somebody looks for it."""

    def __init__(self) -> None:
        self.itself = self


def circle() -> weakref.ref[Circle]:
    return weakref.ref(Circle())


def test_what_a_request_left_behind_is_gone_some_requests_later() -> None:
    left = circle()
    assert left() is not None
    for _ in range(32):
        after_request()
    assert left() is None


@pytest.mark.parametrize(("generation", "requests"), [(0, 256), (1, 2048)])
def test_what_was_in_use_for_longer_takes_longer(generation: int, requests: int) -> None:
    held = Circle()
    left = weakref.ref(held)
    gc.collect(generation)  # it survives, and is of an older generation from now on
    del held
    for _ in range(requests):
        after_request()
    assert left() is None
