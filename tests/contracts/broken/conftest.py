"""Makes whole suites fast enough to be run many times over."""

from __future__ import annotations

import os

import pytest

SLOW = {"test_an_upload_takes_little_memory"}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be synced: what these backends break can be seen without a power cut."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what takes long and has nothing to catch."""
    items[:] = [item for item in items if item.name not in SLOW or not _is_in_vain(item)]


def _is_in_vain(item: pytest.Item) -> bool:
    catches: frozenset[str] = getattr(getattr(item, "cls", None), "catches", frozenset())
    return bool(catches) and item.name not in catches
