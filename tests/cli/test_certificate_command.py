"""``eventserver certificate``: issue, show, revoke."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.demo.device import Device
from eventserver_core.domain.instant import now, parse_rfc3339

from .conftest import Run


def issue(run: Run, *arguments: object, **environ: str) -> str:
    """Issue a certificate, and return the token, which is all that is printed."""
    result = run("certificate", "issue", *arguments, **environ)
    assert result.exit_code == 0, result.output
    (token,) = result.stdout.splitlines()
    assert result.stdout == f"{token}\n"
    assert token.count(".") == 2
    assert token not in result.stderr
    return token


def show(run: Run, token: str) -> dict[str, Any]:
    result = run("certificate", "show", token)
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def lifetime(found: dict[str, Any]) -> timedelta:
    return parse_rfc3339(found["expiresAt"]) - parse_rfc3339(found["issuedAt"])


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("relay", timedelta(days=7)),
        ("admin", timedelta(days=90)),
    ],
)
def test_a_certificate_holds_as_long_as_its_role_needs(
    run: Run, role: str, expected: timedelta
) -> None:
    found = show(run, issue(run, "--role", role, "--subject", "someone"))
    assert (found["valid"], found["subject"], found["role"]) == (True, "someone", role)
    assert found["jti"]
    assert lifetime(found) == expected
    assert abs(parse_rfc3339(found["issuedAt"]) - now()) < timedelta(minutes=5)


def test_hours_can_be_given(run: Run) -> None:
    found = show(run, issue(run, "--role", "relay", "--subject", "relay-1", "--hours", "1.5"))
    assert lifetime(found) == timedelta(hours=1.5)


def test_a_device_gets_none_here(run: Run) -> None:
    result = run("certificate", "issue", "--role", "device", "--subject", "relay-1")
    assert result.exit_code == 2
    assert "'relay', 'admin'" in result.stderr


def test_nothing_but_the_certificate_is_on_standard_output(
    run_process: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_process(
        "certificate", "issue", "--role", "relay", "--subject", "relay-1",
        EVENTSERVER__LOGGING__FORMAT="json", EVENTSERVER__LOGGING__LEVEL="debug",
    )  # fmt: skip
    assert done.returncode == 0
    (token,) = done.stdout.splitlines()
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert "certificate_issued" in [record["event"] for record in records]
    assert token not in done.stderr
    shown = run_process("certificate", "show", token)
    assert json.loads(shown.stdout)["subject"] == "relay-1"


class TestPublicKeys:
    def test_a_key_is_bound(self, run: Run, home: Path) -> None:
        key = Device().public_key
        (home / "key.json").write_text(json.dumps(key))
        arguments = ("--role", "relay", "--subject", "r", "--public-key", "key.json")
        bound = show(run, issue(run, *arguments))["publicKey"]
        assert bound is not None
        assert {name: bound[name] for name in ("kty", "crv", "x", "y")} == {
            name: key[name] for name in ("kty", "crv", "x", "y")
        }

    def test_without_one_none_is_bound(self, run: Run) -> None:
        assert show(run, issue(run, "--role", "relay", "--subject", "r"))["publicKey"] is None

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "{",
            "null",
            "5",
            "[]",
            "{}",
            '{"kty":"oct","k":"AAAA"}',
            "-----BEGIN PUBLIC KEY-----",
        ],
    )
    def test_what_is_no_key_is_refused(self, run: Run, home: Path, content: str) -> None:
        (home / "key.json").write_text(content)
        result = run(
            "certificate", "issue", "--role", "relay", "--subject", "r", "--public-key", "key.json"
        )
        assert result.exit_code == 1
        assert result.stdout == ""
        assert "invalid_request: " in result.stderr
        assert isinstance(result.exception, SystemExit)

    def test_a_file_that_is_not_there_is_told(self, run: Run) -> None:
        result = run(
            "certificate", "issue", "--role", "relay", "--subject", "r", "--public-key", "gone.json"
        )
        assert result.exit_code == 2
        assert "gone.json" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--role", "king", "--subject", "r"),
        ("--subject", "r"),
        ("--role", "relay"),
        ("--role", "relay", "--subject", "r", "--hours", "0"),
        ("--role", "relay", "--subject", "r", "--hours", "-1"),
        ("--role", "relay", "--subject", "r", "--hours", "nan"),
        ("--role", "relay", "--subject", "r", "--hours", "inf"),
        ("--role", "relay", "--subject", "r", "--hours", "1e9"),
        ("--role", "relay", "--subject", "r", "--hours", "soon"),
    ],
)
def test_options_that_make_no_sense_are_refused(run: Run, arguments: tuple[str, ...]) -> None:
    result = run("certificate", "issue", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_a_subject_that_is_no_name_is_refused(run: Run) -> None:
    result = run("certificate", "issue", "--role", "relay", "--subject", "")
    assert result.exit_code == 1
    assert "the subject" in result.stderr


class TestShowing:
    @pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
    def test_what_is_no_certificate_is_told(self, run: Run, token: str) -> None:
        result = run("certificate", "show", token)
        assert result.exit_code == 1
        found = json.loads(result.stdout)
        assert found["valid"] is False
        assert found["code"] == "certificate_invalid"
        assert found["detail"]

    def test_a_certificate_of_another_server_is_told(
        self, run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = issue(run, "--role", "relay", "--subject", "r")
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        assert run("certificate", "show", token).exit_code == 1


class TestRevoking:
    def test_a_revoked_certificate_holds_no_longer(self, run: Run) -> None:
        token = issue(run, "--role", "relay", "--subject", "r")
        jti = show(run, token)["jti"]
        first = run("certificate", "revoke", jti, "--reason", "lost")
        assert (first.exit_code, first.stdout) == (0, "revoked\n")
        again = run("certificate", "revoke", jti)
        assert (again.exit_code, again.stdout) == (0, "it was revoked before\n")
        result = run("certificate", "show", token)
        assert result.exit_code == 1
        assert json.loads(result.stdout)["code"] == "certificate_revoked"

    def test_others_hold_on(self, run: Run) -> None:
        first, second = (issue(run, "--role", "relay", "--subject", "r") for _ in range(2))
        run("certificate", "revoke", show(run, first)["jti"])
        assert show(run, second)["valid"]


def test_what_is_no_certificates_id_is_not_called_revoked(run: Run) -> None:
    token = issue(run, "--role", "relay", "--subject", "relay-1")
    for wrong in (token, "", "not an id", "x" * 129):
        result = run("certificate", "revoke", wrong)
        assert result.exit_code == 1
        assert "certificate show TOKEN" in result.stderr
        assert token not in result.stderr
    assert show(run, token)["valid"]
