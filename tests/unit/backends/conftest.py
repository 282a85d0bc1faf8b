"""What tests of the guard share."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """An event that hanging calls wait for; it is set when the test ends."""
    event = threading.Event()
    yield event
    event.set()
