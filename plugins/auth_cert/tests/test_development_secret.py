"""The secret that is made where none was given."""

from __future__ import annotations

import logging
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from eventserver_auth_cert import CertificateAuth
from eventserver_auth_cert.development_secret import kept_secret

from eventserver_core.backends.auth import Role
from eventserver_core.errors import ConfigurationError

HOUR = timedelta(hours=1)
Make = Callable[..., CertificateAuth]

STARTER = """
import sys
from pathlib import Path
from eventserver_auth_cert.development_secret import kept_secret
print("ready", flush=True)
sys.stdin.readline()
print(kept_secret(Path(sys.argv[1])), flush=True)
"""


def test_in_development_a_missing_secret_is_made_and_kept(make_auth: Make, tmp_path: Path) -> None:
    token = make_auth().issue("relay-1", Role.RELAY, HOUR).token
    path = tmp_path / "data" / "keys" / "jwt_secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(bytes.fromhex(path.read_text())) == 32
    assert make_auth().authenticate(token).subject == "relay-1"
    assert [entry.name for entry in path.parent.iterdir()] == ["jwt_secret"]


def test_processes_that_start_at_once_get_one_secret(tmp_path: Path) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(tmp_path / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    try:
        for process in starters:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in starters:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        secrets = {process.communicate(timeout=60)[0] for process in starters}
    finally:
        for process in starters:
            process.kill()
            process.wait()
    (secret,) = secrets
    assert secret.strip() == kept_secret(tmp_path / "data")
    assert [entry.name for entry in (tmp_path / "data" / "keys").iterdir()] == ["jwt_secret"]


def test_making_it_is_logged_once_and_without_it(
    make_auth: Make, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    make_auth()
    make_auth()
    (record,) = caplog.records
    assert record.message == "jwt_secret_made"
    secret = (tmp_path / "data" / "keys" / "jwt_secret").read_text().strip()
    assert secret not in repr(vars(record))


def test_a_secret_that_was_given_is_the_one_that_counts(
    make_auth: Make, secret: str, tmp_path: Path
) -> None:
    token = make_auth(auth__jwt_secret=secret).issue("r", Role.RELAY, HOUR).token
    assert not (tmp_path / "data").exists()
    make_auth()
    assert make_auth(auth__jwt_secret=secret).authenticate(token).subject == "r"


def test_the_kept_secret_signs_and_not_a_previous_one(
    make_auth: Make, secret: str, tmp_path: Path
) -> None:
    token = make_auth(auth__previous_jwt_secrets=secret).issue("r", Role.RELAY, HOUR).token
    kept = kept_secret(tmp_path / "data")
    assert make_auth(auth__jwt_secret=kept).authenticate(token).subject == "r"


def test_production_does_not_fall_back_on_what_development_kept(make_auth: Make) -> None:
    make_auth()
    with pytest.raises(ConfigurationError):
        make_auth("production")


@pytest.mark.parametrize("content", [b"", b"too short\n", b"\xff" * 40, b"a" * 64])
def test_a_kept_file_that_is_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys" / "jwt_secret"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        kept_secret(tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_a_data_directory_that_cannot_be_written_is_a_matter_of_settings(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ConfigurationError) as caught:
        kept_secret(tmp_path / "data")
    assert "JWT_SECRET" in str(caught.value)
    assert "server.data_dir" in str(caught.value)
