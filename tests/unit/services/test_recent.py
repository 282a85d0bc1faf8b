"""What is kept for whoever asks again, and what has to go."""

from __future__ import annotations

from eventserver_core.services.recent import Recent


def test_what_was_not_used_for_longest_goes_first() -> None:
    kept: Recent[str, int] = Recent(entries=2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert [kept.get(key) for key in "abc"] == [1, None, 3]


def test_so_many_bytes_are_kept_however_often_they_are_replaced() -> None:
    kept: Recent[str, bytes] = Recent(entries=100, size=10, weigh=len)
    for size in (9, 3, 4):
        kept.put("a", bytes(size))
    kept.put("b", bytes(6))
    assert [kept.get(key) for key in "ab"] == [bytes(4), bytes(6)]
    kept.put("c", bytes(5))
    assert [kept.get(key) for key in "abc"] == [None, None, bytes(5)]
    kept.put("d", bytes(11))
    assert [kept.get(key) for key in "cd"] == [None, None]
    kept.put("e", bytes(10))
    assert kept.get("e") == bytes(10)
