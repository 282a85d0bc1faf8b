"""What all tests share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

MEDIA = Path(__file__).parent / "media"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own environment out of the tests."""
    import os

    names = {"DATABASE_URL", "JWT_SECRET", "BLOCKCHAIN_RPC_URL"}
    for name in list(os.environ):
        if name.startswith("EVENTSERVER") or name in names:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_request_from_before() -> None:
    """Forget what an earlier test's request bound to the log lines of this thread."""
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """Keep Python from looking for garbage by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def photo() -> Path:
    """A photo, a real JPEG."""
    return MEDIA / "photo.jpg"


@pytest.fixture(scope="session")
def clip() -> Path:
    """A video, a real MP4."""
    return MEDIA / "clip.mp4"
