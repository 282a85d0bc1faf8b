"""Whether a secret is one that somebody could guess.

Randomness can't be seen; what can be seen is that a text was copied from an example or typed.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

MIN_BYTES: Final = 32
"""An HS256 key has at least as many bits as the hash's output (RFC 7518, section 3.2)."""

_MIN_OWN_CHARACTERS: Final = 16

_EXAMPLES: Final = (
    "changeme",
    "change-me",
    "change_me",
    "change this",
    "example",
    "replace",
    "placeholder",
    "insecure",
    "your-",
    "your_",
)
_PLACEHOLDER: Final = re.compile(r"<[^<>]*>|(\$\{\w+\})+")
# Each has a letter that hex digits don't have, so that no random hex is made shorter by them.
_WORDS: Final = re.compile(
    "eventserver|production|development|characters|password|testing|signing|please|secret|string"
    "|random|server|super|token|bytes|least|event|local|hmac|sha256|hs256|this|that|test|only|very"
    "|long|must|with|more|than|jwt|key|for|the|and|not|use|bit|dev|my|is|at|in|to|of|or|on"
)


def weakness(secret: str) -> str | None:
    """Return what is wrong with a secret, to stand after "it is"; None where nothing is seen."""
    if len(secret.encode("utf-8", "surrogatepass")) < MIN_BYTES:
        return f"shorter than {MIN_BYTES} bytes"
    lower = secret.lower()
    if any(mark in lower for mark in _EXAMPLES) or _PLACEHOLDER.fullmatch(secret):
        return "from an example"
    if _repeats(secret) or _counts(secret):
        return "a pattern"
    if len(re.sub(r"[\W_]", "", _WORDS.sub("", lower))) < _MIN_OWN_CHARACTERS:
        return "made of common words"
    return None


def _repeats(text: str) -> bool:
    return any(text[n:] == text[:-n] for n in range(1, len(text) // 2 + 1))


def _counts(text: str) -> bool:
    """Tell whether most characters are the neighbours of the one before, as in abcabc or 1234."""
    near = sum(abs(ord(a) - ord(b)) <= 1 for a, b in itertools.pairwise(text))
    return near * 4 >= len(text) * 3
