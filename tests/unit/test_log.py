"""The log: one JSON object a line where that is asked for, and never a secret."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import pytest
import structlog

from eventserver_core import log

from .logging_state import logging_put_back

Records = Callable[[], list[dict[str, Any]]]

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyZWxheS0xIn0.c2lnbmF0dXJl-_x"


def fail(message: str) -> None:
    raise ValueError(message)


def test_a_line_is_one_json_object_with_level_and_time(json_log: Records) -> None:
    log.get_logger().info("event_stored", event_hash="ab" * 32, size=5, tags=["a", "é"])
    (record,) = json_log()
    assert record["event"] == "event_stored"
    assert record["level"] == "info"
    assert record["timestamp"].endswith("Z")
    assert (record["size"], record["tags"]) == (5, ["a", "é"])


def test_a_line_is_ascii_whatever_is_in_it() -> None:
    # a terminal obeys the first, and what splits lines as Unicode has it stops at the others
    text, stream = "\x9b2J\x85\u2028\u2029é", io.StringIO()
    with logging_put_back(), redirect_stderr(stream):
        log.configure("info", "json")
        log.get_logger().info("event_stored", text=text)
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    assert json.loads(line)["text"] == text


def test_lines_of_libraries_look_the_same(json_log: Records) -> None:
    logging.getLogger("some.library").warning("two\nlines of %s", "text", extra={"size": 5})
    logging.getLogger("gunicorn.error").info("Booting")
    warning, booting = json_log()
    assert (warning["event"], warning["level"]) == ("two\nlines of text", "warning")
    assert warning["size"] == 5
    assert booting["event"] == "Booting"


def test_a_value_of_any_type_is_written(json_log: Records) -> None:
    log.get_logger().info("odd_values", content=b"\xff", kind=ValueError, lone="\ud800")
    (record,) = json_log()
    assert record["content"] == "b'\\xff'"
    assert "ValueError" in record["kind"]


def test_an_exception_is_one_line_too(json_log: Records) -> None:
    try:
        fail(f"the token was {TOKEN}")
    except ValueError:
        log.get_logger().exception("request_failed")
        logging.getLogger("some.library").exception("failed")
    ours, theirs = json_log()
    for record in (ours, theirs):
        assert "ValueError" in json.dumps(record["exception"])
        assert TOKEN not in json.dumps(record)


def test_what_is_bound_to_the_request_is_in_every_line(json_log: Records) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        log.get_logger().info("ours")
        logging.getLogger("some.library").info("theirs")
    log.get_logger().info("after")
    assert [record.get("request_id") for record in json_log()] == ["r-1", "r-1", None]


def test_quieter_levels_are_left_out() -> None:
    stream = io.StringIO()
    with logging_put_back():
        with redirect_stderr(stream):
            log.configure("warning", "json")
        log.get_logger().info("quiet")
        logging.getLogger("some.library").info("quiet")
        log.get_logger().warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_pretty_lines_have_no_colours_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with logging_put_back():
        with redirect_stderr(stream):
            log.configure("info", "pretty")
        log.get_logger().info("event_stored", size=5, token=TOKEN)
        try:
            fail(TOKEN)
        except ValueError:
            log.get_logger().exception("request_failed")
    said = stream.getvalue()
    assert "event_stored" in said
    assert "size=5" in said
    assert "Traceback" in said
    assert TOKEN not in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        (f"Bearer {TOKEN}", "Bearer (hidden)"),
        (f"token={TOKEN};", "token=(hidden);"),
        ("authorization: bearer abc.DEF-1~+/0=-x", "authorization: bearer (hidden)"),
        (f"a.b_{TOKEN} and {TOKEN}.", "a.b_(hidden) and (hidden)"),
        (f"[eyJ] eyJ.{TOKEN}", "[eyJ] eyJ.(hidden)"),
        ("eyJhbGciOiJIUzI1NiJ9 is half a token", "eyJhbGciOiJIUzI1NiJ9 is half a token"),
        ("postgresql://user:secret@host/x", "postgresql://(hidden)@host/x"),
        ("redis://:secret@127.0.0.1:6379", "redis://(hidden)@127.0.0.1:6379"),
        ("postgresql://user:s@cret@host/x", "postgresql://(hidden)@host/x"),
        ("https://host:8080/path", "https://host:8080/path"),
        ("see https://host/a:b@c", "see https://host/a:b@c"),
        ("mail someone@example.org at 12:30", "mail someone@example.org at 12:30"),
        ("the bearer of news", "the bearer of news"),
        ("ab" * 32, "ab" * 32),
        ("", ""),
    ],
)
def test_tokens_and_passwords_are_hidden_and_nothing_else(text: str, scrubbed: str) -> None:
    assert log.scrub(text) == scrubbed


def test_a_secret_in_a_keyword_is_hidden(json_log: Records) -> None:
    log.get_logger().info("called", headers={"authorization": f"Bearer {TOKEN}"}, token=TOKEN)
    (record,) = json_log()
    assert TOKEN not in json.dumps(record)
    assert record["token"] == "(hidden)"


@pytest.mark.parametrize(
    "part", ["eyJ", "eyJ.", "eyJaaaaaaaa.", "://", "a:", "://a:", "bearer ", "@"]
)
def test_scrubbing_takes_time_that_grows_with_the_text_only(part: str) -> None:
    # whoever sends such a text must not hold the server up: 1000 times as long, not 1000² as slow
    text = "://" + part * (2_000_000 // len(part))
    before = time.process_time()
    log.scrub(text)
    assert time.process_time() - before < 20
