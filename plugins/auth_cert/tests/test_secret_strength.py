"""Secrets that somebody could guess."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest

from eventserver_core.settings.strength import weakness


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "short",
        "0123456789abcdef0123456789abcde",
        "changeme-changeme-changeme-changeme",
        "please-change-me-please-change-me!",
        "CHANGE_ME_TO_A_LONG_RANDOM_STRING",
        "example-9f86d081884c7d659a2feaa0c55ad015",
        "your-256-bit-secret-your-256-bit-secret",
        "your_jwt_secret_key_here_at_least_32_chars",
        "<paste the output of openssl rand here>",
        "${JWT_SECRET}${JWT_SECRET}${JWT_SECRET}",
        "secretsecretsecretsecretsecretsecret",
        "my-super-secret-jwt-key-for-testing-only",
        "super_secret_key_that_is_at_least_32_bytes_long!!",
        "a" * 32,
        "0" * 64,
        " " * 40,
        "ab" * 20,
        "0123456789abcdef" * 4,
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "1234567890123456789012345678901234567",
        "--------------------------------password",
    ],
)
def test_a_text_that_was_copied_or_typed_is_weak(secret: str) -> None:
    assert weakness(secret)


def test_random_bytes_are_not_weak_however_they_are_written() -> None:
    for number in range(3000):
        content = sha256(str(number).encode()).digest()
        for text in (
            content.hex(),
            content.hex().upper(),
            content.hex()[:32],
            base64.b64encode(content).decode(),
            base64.urlsafe_b64encode(content).decode(),
        ):
            assert weakness(text) is None


def test_what_counts_is_bytes_and_not_characters() -> None:
    assert weakness("жщ" * 7 + "ж") == "shorter than 32 bytes"
    assert weakness("жщ" * 8) == "a pattern"


def test_a_secret_that_is_not_unicode_is_measured_too() -> None:
    assert weakness("\udcff\udc80") == "shorter than 32 bytes"
