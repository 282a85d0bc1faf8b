"""Tests on real processes."""

import pytest

# what these assert is shown in full, as a test's own assertions are
pytest.register_assert_rewrite(
    "tests.end_to_end.memory",
    "tests.end_to_end.stored",
    "tests.end_to_end.waiting",
)
