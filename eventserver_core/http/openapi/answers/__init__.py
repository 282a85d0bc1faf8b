"""What comes back, as types: they describe the answers, and the tests hold the answers to them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""SHA-256 in lower-case hex."""
ChainHash = Annotated[str, Field(pattern="^0x[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
