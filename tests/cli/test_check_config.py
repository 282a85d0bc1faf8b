"""``eventserver check-config``: what is set, where it came from, and who can be reached."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.testing.parts import Anvil, PostgreSQL

from .conftest import Run

CANARY = "c4n4ry-Kq7Zx9-0123456789abcdefghijklmnop"


def settings_of(stdout: str) -> dict[str, dict[str, Any]]:
    return {setting["name"]: setting for setting in json.loads(stdout)["settings"]}


def test_on_the_defaults_all_is_well(run: Run) -> None:
    result = run("check-config")
    assert result.exit_code == 0
    assert "environment: development" in result.stdout
    for name in ("server.port", "plugins.auth", "auth.issuer", "anchoring.batch_max_age"):
        assert name in result.stdout
    for backend in ("storage", "blockchain", "database", "auth", "ratelimit", "provisioning"):
        assert backend in result.stdout


def test_each_value_is_shown_with_its_source(run: Run, home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "default.toml").write_text("[server]\nworkers = 2\n")
    result = run("check-config", "--json", EVENTSERVER__SERVER__PORT="4000")
    assert result.exit_code == 0
    found = settings_of(result.stdout)
    assert found["server.port"] == {
        "name": "server.port",
        "value": "4000",
        "source": "EVENTSERVER__SERVER__PORT",
    }
    assert found["server.workers"]["value"] == "2"
    assert found["server.workers"]["source"] == "config/default.toml"
    assert found["server.threads"]["source"] == "default"
    assert found["auth.issuer"]["source"] == "default"
    backends = json.loads(result.stdout)["backends"]
    assert len(backends) == 6
    assert all(backend["reachable"] and backend["detail"] is None for backend in backends)


def test_the_folder_can_be_given(run: Run, tmp_path: Path) -> None:
    (tmp_path / "default.toml").write_text("[server]\nworkers = 2\n")
    result = run("--config-dir", tmp_path, "check-config", "--json")
    assert settings_of(result.stdout)["server.workers"]["source"] == f"{tmp_path}/default.toml"


@pytest.mark.parametrize("arguments", [("check-config",), ("check-config", "--json")])
def test_secrets_are_never_shown(run: Run, home: Path, arguments: tuple[str, ...]) -> None:
    (home / "config").mkdir()
    (home / "config" / "default.toml").write_text(
        f'[auth]\nprevious_jwt_secrets = ["{CANARY}-old"]\n'
        f'[blockchain]\naccount_key = "{CANARY}"\nrpc_url = "https://node.example/{CANARY}"\n'
        f'[redis]\nurl = "redis://:{CANARY}@127.0.0.1"\n'
    )
    result = run(*arguments, JWT_SECRET=CANARY)
    assert result.exit_code == 0
    assert CANARY not in result.output
    assert "(hidden)" in result.stdout


def test_the_flag_does_what_the_command_does(run: Run) -> None:
    flag, command = run("--check-config"), run("check-config")
    assert flag.exit_code == 0
    assert flag.stdout == command.stdout
    assert run("--check-config", EVENTSERVER__SERVER__PORT="x").exit_code == 78


FAULTY = {
    "EVENTSERVER__SERVER__PORT": "x",
    "EVENTSERVER__SERVER__PROT": "1",
    "EVENTSERVER__PLUGINS__CHAIN": "nonesuch",
}


def test_faults_are_told_all_at_once_and_nothing_else_happens(run: Run, home: Path) -> None:
    for arguments in (("check-config",), ("--check-config",)):
        result = run(*arguments, **FAULTY)
        assert result.exit_code == 78
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert lines[0] == "The settings are at fault:"
        assert len(lines) == 4
        for said in ("plugins.chain = nonesuch", "server.port (from", "server.prot"):
            assert any(line.startswith("  - ") and said in line for line in lines)
    assert list(home.iterdir()) == []


def test_faults_are_told_in_json_too(run: Run, home: Path) -> None:
    result = run("check-config", "--json", **FAULTY)
    assert result.exit_code == 78
    found = json.loads(result.stdout)
    assert len(found["faults"]) == 3
    assert found["backends"] == []
    assert settings_of(result.stdout)["server.port"]["source"] == "EVENTSERVER__SERVER__PORT"
    assert settings_of(result.stdout)["server.workers"]["value"] == "4"
    assert list(home.iterdir()) == []


def test_what_the_parts_find_wrong_is_told_together_with_the_rest(run: Run) -> None:
    result = run(
        "check-config",
        "--json",
        EVENTSERVER_ENVIRONMENT="production",
        DATABASE_URL="mysql://somewhere",
        EVENTSERVER__PLUGINS__STORAGE="s3",
        EVENTSERVER__S3__KEY_FILE="/nonesuch",
        EVENTSERVER__PLUGINS__RATELIMIT="redis",
        EVENTSERVER__REDIS__URL="not-an-address",
        EVENTSERVER__LOGGING__LEVEL="loud",
    )
    assert result.exit_code == 78
    faults = json.loads(result.stdout)["faults"]
    for said in ("JWT_SECRET", "database.url", "redis.url", "logging.level", "s3"):
        assert [fault for fault in faults if said in fault], said
    assert len(set(faults)) == len(faults)


def test_what_keeps_a_server_from_starting_is_told_here_too(run: Run) -> None:
    environ = {
        "EVENTSERVER_ENVIRONMENT": "production",
        "JWT_SECRET": CANARY,
        "EVENTSERVER__SERVER__PUBLIC_URL": "http://events.example.org",
    }
    result = run("check-config", "--json", **environ)
    assert result.exit_code == 78
    assert "server.public_url" in json.loads(result.stdout)["faults"][0]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("prod", "production"), ("prodution", "production"), ("stagin", "staging")],
)
def test_a_misspelt_environment_is_refused(run: Run, home: Path, name: str, meant: str) -> None:
    """It would take the secrets and the addresses of a first try."""
    (home / "config").mkdir()
    (home / "config" / "staging.toml").write_text("[server]\nport = 4000\n")
    environ = {"EVENTSERVER_ENVIRONMENT": name, "JWT_SECRET": CANARY}
    result = run("check-config", "--json", **environ)
    assert result.exit_code == 78
    (fault,) = json.loads(result.stdout)["faults"]
    assert fault.startswith(f"EVENTSERVER_ENVIRONMENT: {name} has no file of its own in config")
    assert fault.endswith(f"did you mean {meant}?")
    assert run("migrate", "status", **environ).exit_code == 78


def test_an_environment_without_a_file_is_doubted(run: Run) -> None:
    environ = {"EVENTSERVER_ENVIRONMENT": "qa", "JWT_SECRET": CANARY}
    (warning,) = json.loads(run("check-config", "--json", **environ).stdout)["warnings"]
    assert warning.startswith("EVENTSERVER_ENVIRONMENT: qa has no file of its own in config")
    told = run("check-config", **environ)
    assert f"warning: {warning}" in told.stderr


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("BLOCKCHAIN_RPC_ULR", "BLOCKCHAIN_RPC_URL"),
        ("JWT_SECERT", "JWT_SECRET"),
    ],
)
def test_a_misspelt_variable_is_refused(run: Run, name: str, meant: str) -> None:
    """Or a server would run on SQLite, or on the ledger, without a word."""
    result = run("check-config", "--json", **{name: "postgresql://nowhere.invalid/none"})
    assert result.exit_code == 78
    assert (
        f"{name}: nobody reads this; did you mean {meant}?" in json.loads(result.stdout)["faults"]
    )


@pytest.mark.parametrize("name", ["DATABASE", "PGDATABASE", "MY_DATABASE_URL_BACKUP", "SECRET"])
def test_a_variable_of_somebody_elses_is_let_through(run: Run, name: str) -> None:
    assert run("check-config", "--json", **{name: "x"}).exit_code == 0


@pytest.mark.parametrize("name", ["development", "production", "staging"])
def test_an_environment_that_means_something_is_not_doubted(
    run: Run, home: Path, name: str
) -> None:
    (home / "config").mkdir()
    (home / "config" / "staging.yaml").write_text("server: {port: 4000}\n")
    environ = {"EVENTSERVER_ENVIRONMENT": name, "JWT_SECRET": CANARY}
    assert json.loads(run("check-config", "--json", **environ).stdout)["warnings"] == []


def test_a_bucket_beside_a_file_of_rows_is_doubted_in_production(run: Run) -> None:
    environ = {
        "EVENTSERVER_ENVIRONMENT": "production",
        "JWT_SECRET": CANARY,
        "EVENTSERVER__PLUGINS__STORAGE": "s3",
        "EVENTSERVER__STORAGE__ENDPOINT": "http://127.0.0.1:9",
        "EVENTSERVER__S3__ACCESS_KEY": "wCN5iP0mQ1sV",
        "EVENTSERVER__S3__SECRET_KEY": "Zq8vTb3LwXk2Rj6NyHc9MfPd",
    }
    (warning,) = json.loads(run("check-config", "--json", **environ).stdout)["warnings"]
    assert warning.startswith("database.url: not set")
    with_rows = environ | {"DATABASE_URL": "postgresql://a@127.0.0.1:9/b"}
    assert json.loads(run("check-config", "--json", **with_rows).stdout)["warnings"] == []


def test_a_worker_needs_no_signing_key_and_migrations_need_the_database_only(run: Run) -> None:
    production = {"EVENTSERVER_ENVIRONMENT": "production"}
    assert run("check-config", **production).exit_code == 78
    for process, names in (
        ("worker", {"database", "storage", "blockchain", "provisioning"}),
        ("migrate", {"database"}),
    ):
        result = run("check-config", "--for", process, "--json", **production)
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert {backend["name"] for backend in found["backends"]} == names
        assert all(backend["reachable"] for backend in found["backends"])


def test_a_worker_needs_its_accounts_key(run: Run, anvil: Anvil) -> None:
    environ = {
        "EVENTSERVER__PLUGINS__CHAIN": "evm",
        "BLOCKCHAIN_RPC_URL": anvil.url,
        "EVENTSERVER__BLOCKCHAIN__CHAIN_ID": str(anvil.chain_id),
    }
    assert run("check-config", "--for", "api", **environ).exit_code == 0
    result = run("check-config", "--for", "worker", **environ)
    assert result.exit_code == 78
    assert "blockchain.account_key" in result.stderr


def test_the_certificate_authority_is_told_in_one_line(run: Run, home: Path) -> None:
    found = json.loads(run("check-config", "--json").stdout)["certificateAuthority"]
    assert (found["state"], found["endsAt"]) == ("none", None)
    assert "eventserver ca init" in found["detail"]
    passphrase = {"EVENTSERVER__CA__PASSPHRASE": CANARY}
    assert run("ca", "init", **passphrase).exit_code == 0
    told = run("check-config", **passphrase)
    (line,) = [x for x in told.stdout.splitlines() if x.startswith("certificate authority:")]
    found = json.loads(run("check-config", "--json", **passphrase).stdout)["certificateAuthority"]
    assert found["state"] == "usable"
    assert line == f"certificate authority: ends at {found['endsAt']}"
    other = json.loads(run("check-config", "--json", EVENTSERVER__CA__PASSPHRASE="no").stdout)
    assert other["certificateAuthority"]["state"] == "unusable"
    assert "cannot be decrypted" in other["certificateAuthority"]["detail"]


@pytest.mark.parametrize(
    ("name", "environ", "said"),
    [
        ("database", {"DATABASE_URL": "postgresql://a:b@127.0.0.1:9/c"}, "refused"),
        (
            "storage",
            {
                "EVENTSERVER__PLUGINS__STORAGE": "s3",
                "EVENTSERVER__STORAGE__ENDPOINT": "http://127.0.0.1:9",
                "EVENTSERVER__S3__ACCESS_KEY": "a",
                "EVENTSERVER__S3__SECRET_KEY": "b",
            },
            "storage.endpoint",
        ),
        (
            "blockchain",
            {"EVENTSERVER__PLUGINS__CHAIN": "evm", "BLOCKCHAIN_RPC_URL": "http://127.0.0.1:9"},
            "is its address right",
        ),
        (
            "ratelimit",
            {
                "EVENTSERVER__PLUGINS__RATELIMIT": "redis",
                "EVENTSERVER__REDIS__URL": "redis://127.0.0.1:9",
            },
            "redis.url",
        ),
    ],
)
def test_what_is_wrong_with_a_part_is_one_line_that_says_what_to_try(
    run: Run, name: str, environ: dict[str, str], said: str
) -> None:
    result = run("check-config", "--json", **environ)
    assert result.exit_code == 1
    answers = {b["name"]: b for b in json.loads(result.stdout)["backends"]}
    assert [n for n, b in answers.items() if not b["reachable"]] == [name]
    detail = answers[name]["detail"]
    assert said in detail, detail
    assert "\n" not in detail


def test_a_backend_that_finds_its_settings_wrong_is_a_fault_of_the_settings(run: Run) -> None:
    result = run("check-config", EVENTSERVER_ENVIRONMENT="production")
    assert result.exit_code == 78
    assert "JWT_SECRET" in result.stderr


def test_a_backend_that_cannot_be_reached_is_told(run: Run, home: Path) -> None:
    assert run("check-config").exit_code == 0
    (home / "data" / "ledger.ndjson").write_text("this is no ledger\n" * 100)
    result = run("check-config", "--json")
    assert result.exit_code == 1
    answers = {b["name"]: b for b in json.loads(result.stdout)["backends"]}
    assert not answers["blockchain"]["reachable"]
    assert "altered" in answers["blockchain"]["detail"]
    assert answers["storage"]["reachable"]
    pretty = run("check-config")
    assert pretty.exit_code == 1
    assert "altered" in pretty.stdout
    assert "server.port" in pretty.stdout


def test_a_backend_that_cannot_even_be_made_is_told_with_the_settings(run: Run, home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "objects").write_text("a file where a folder belongs")
    result = run("check-config", "--json")
    assert result.exit_code == 1
    assert "server.port" in settings_of(result.stdout)
    backends = json.loads(result.stdout)["backends"]
    assert {backend["name"]: backend["reachable"] for backend in backends} == {
        "storage": False,
        "blockchain": True,
        "database": True,
        "auth": True,
        "ratelimit": True,
        "provisioning": True,
    }
    pretty = run("check-config")
    assert pretty.exit_code == 1
    assert "server.port" in pretty.stdout
    assert "storage=filesystem" in pretty.stdout


def test_what_is_set_is_shown_as_it_is(run: Run) -> None:
    result = run(
        "check-config",
        EVENTSERVER__SERVER__HOST="[fe80::1]",
        EVENTSERVER__STORAGE__BUCKET="[/red]",
        EVENTSERVER__STORAGE__REGION="a\x1b[31mb",
    )
    assert result.exit_code == 0
    assert "[fe80::1]" in result.stdout
    assert "[/red]" in result.stdout
    assert "\x1b" not in result.stdout
    assert "a\N{REPLACEMENT CHARACTER}[31mb" in result.stdout


def test_on_a_narrow_screen_nothing_is_cut_off(run: Run) -> None:
    result = run("check-config", COLUMNS="40", EVENTSERVER__STORAGE__BUCKET="b" * 200)
    assert result.stdout.count("b" * 8) >= 10
    assert result.stdout.count("b") >= 200
    assert "…" not in result.stdout


@pytest.mark.parametrize(("environ", "status"), [({}, 0), ({"EVENTSERVER__SERVER__PORT": "x"}, 78)])
def test_a_script_can_trust_the_exit_status(
    run_process: Callable[..., subprocess.CompletedProcess[str]],
    environ: dict[str, str],
    status: int,
) -> None:
    done = run_process("check-config", "--json", **environ)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    if status == 0:
        assert settings_of(done.stdout)


def test_a_database_without_its_schema_is_said_so(run: Run, postgresql: PostgreSQL) -> None:
    url = postgresql.create_database("check_config")
    before = run("check-config", "--json", DATABASE_URL=url)
    (database,) = [b for b in json.loads(before.stdout)["backends"] if b["name"] == "database"]
    assert (before.exit_code, database["reachable"]) == (1, False)
    assert "eventserver migrate up" in database["detail"]
    assert run("migrate", "up", DATABASE_URL=url).exit_code == 0
    assert run("check-config", DATABASE_URL=url).exit_code == 0
