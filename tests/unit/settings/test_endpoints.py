"""Addresses of services, as deployers write them."""

from __future__ import annotations

import pytest

from eventserver_core.settings.endpoints import is_loopback, parse_endpoint


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8333", "https://s3.example/", "https://[::1]:9000", "http://a"]
)
def test_a_scheme_a_host_and_a_port_are_taken(text: str) -> None:
    assert parse_endpoint(text).geturl() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3.example",
        "ftp://s3.example",
        "https://",
        "https://s3.example:0",
        "https://s3.example:99999",
        "https://[::1",
        "https://user:word@s3.example",
        "https://s3.example/bucket",
        "https://s3.example?",
        "https://s3.example#",
        "https://s3 .example",
        "https://bücher.example",
    ],
)
def test_anything_more_or_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected http://host:port"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_what_is_this_machine(host: str, here: bool) -> None:
    assert is_loopback(host) is here
