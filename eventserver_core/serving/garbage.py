"""When a server looks for garbage: after so many requests.

Python looks for it whenever so many more objects were made than have gone, which is what a large
batch does again and again while all that it makes is in use: it took a sixth of what a batch costs.
Most objects go by themselves; those that refer to each other in a circle wait here for some dozens
of requests, or some hundreds where they were still in use as somebody looked.
"""

from __future__ import annotations

import gc
from itertools import count

_EVERY = ((2048, 2), (256, 1), (32, 0))
"""After so many requests the objects of this age, and those that are younger, are looked through.

The oldest come first: a round of theirs has all others in it.
"""
_BACKSTOP = (100_000, 20, 20)
"""Python's own thresholds, for what one request may leave behind."""

_requests = count(1)


def begin() -> None:
    """Keep what was made by now for good: it is never looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_BACKSTOP)


def after_request() -> None:
    """Look for garbage if it is time to."""
    number = next(_requests)
    for requests, generation in _EVERY:
        if number % requests == 0:
            gc.collect(generation)
            return
