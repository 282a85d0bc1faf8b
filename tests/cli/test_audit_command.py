"""``eventserver audit``: what was done, and whether the trail of it holds."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from .conftest import Run


def issue(run: Run, subject: str) -> str:
    result = run("certificate", "issue", "--role", "relay", "--subject", subject)
    assert result.exit_code == 0, result.output
    return str(result.stdout.strip())


def test_what_the_command_line_does_is_in_it(run: Run) -> None:
    token = issue(run, "relay-1")
    jti = json.loads(run("certificate", "show", token).stdout)["jti"]
    run("certificate", "revoke", jti, "--reason", "lost")
    run("certificate", "revoke", jti)
    run("ca", "init")
    entries = [json.loads(line) for line in run("audit", "show", "--json").stdout.splitlines()]
    assert [(entry["action"], entry["actor"]) for entry in entries] == [
        ("certificate_issued", "command-line"),
        ("certificate_revoked", "command-line"),
        ("authority_made", "command-line"),
    ]
    assert entries[0]["details"]["certificateId"] == jti
    assert entries[1]["details"]["reason"] == "lost"
    assert token not in str(entries)


def test_it_is_shown_page_by_page(run: Run) -> None:
    for number in range(3):
        issue(run, f"relay-{number}")
    assert len(run("audit", "show").stdout.splitlines()) == 3
    assert len(run("audit", "show", "--after", "2").stdout.splitlines()) == 1


def test_a_name_cannot_move_the_cursor(run: Run) -> None:
    run("certificate", "revoke", "abc", "--reason", "\x1b[2J")
    assert "\x1b" not in run("audit", "show").stdout


def test_a_trail_that_holds_is_told_so(run: Run) -> None:
    issue(run, "relay-1")
    result = run("audit", "check")
    assert result.exit_code == 0
    assert "the trail holds" in result.stdout
    told = json.loads(run("audit", "check", "--json").stdout)
    assert (told["valid"], told["entries"], told["anchoredUpTo"]) == (True, 1, 0)


def test_the_worker_hands_the_head_in(run: Run) -> None:
    issue(run, "relay-1")
    assert run("worker", "--once").exit_code == 0
    told = json.loads(run("audit", "check", "--json").stdout)
    assert told["anchoredUpTo"] == 1
    assert len(told["anchoredEvent"]) == 64


def test_a_change_ends_with_status_1_and_names_the_entry(run: Run) -> None:
    for number in range(3):
        issue(run, f"relay-{number}")
    with sqlite3.connect(Path("data/eventserver.sqlite3")) as connection:
        connection.execute("UPDATE audit_entries SET target = 'relay-9' WHERE sequence = 2")
    connection.close()
    result = run("audit", "check")
    assert result.exit_code == 1
    assert "entry 2 was changed" in result.stdout
    assert "the trail was changed" in result.stdout
    assert json.loads(run("audit", "check", "--json").stdout)["valid"] is False


def test_an_anchoring_event_that_is_gone_is_told(run: Run) -> None:
    issue(run, "relay-1")
    assert run("worker", "--once").exit_code == 0
    with sqlite3.connect(Path("data/eventserver.sqlite3")) as connection:
        connection.execute("DELETE FROM events")
    connection.close()
    result = run("audit", "check")
    assert result.exit_code == 1
    assert "is on no record" in result.stdout
