"""The compose file: valid, hardened, without a secret of its own, and true to the settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.sections import DatabaseSettings, ServerSettings
from eventserver_core.settings.layers import variable_name
from eventserver_core.wiring import Configuration, Services
from tests.deploy.files import (
    AUTHORITY,
    DEPLOY,
    IMAGE,
    OWN_ROLES,
    PINNED,
    compose,
    made_environment,
    read,
    secret_names,
)

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
JOBS = {"migrate", "seaweedfs-setup", "anvil-account"}
BY_HAND = {"authority"}
POSTGRESQL_CONNECTIONS = 100 - 3
"""What PostgreSQL has by default, without those kept for its administrator."""


@pytest.fixture(scope="module")
def configurations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Configuration]:
    """Return what each of our own services reads."""
    filled = compose(made_environment(tmp_path_factory.mktemp("env")))["services"]
    empty = tmp_path_factory.mktemp("config")
    return {role: read(filled[role]["environment"], empty) for role in OWN_ROLES}


def test_it_is_a_compose_file() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert PINNED.fullmatch(image), image
    assert (image == IMAGE) == (name in OWN_ROLES)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - JOBS - BY_HAND))
def test_what_keeps_running_is_watched_over(name: str) -> None:
    if name == "worker":
        assert SERVICES[name]["healthcheck"] == {"disable": True}
    elif name != "api":  # the image has a check for it
        assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted(JOBS))
def test_a_job_ends(name: str) -> None:
    assert SERVICES[name]["restart"].startswith("on-failure:")


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_what_is_run_by_hand_is_run_once_and_not_with_the_others(name: str) -> None:
    assert SERVICES[name]["restart"] == "no"
    assert SERVICES[name]["profiles"] == [name]
    assert f" run --rm -T {name} > " in (DEPLOY / "README.md").read_text("utf-8")


def test_only_the_proxy_can_be_reached_and_only_from_this_machine() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert SERVICES["proxy"]["ports"][0].startswith("${PUBLISHED_ADDRESS:-127.0.0.1}:")
    assert compose()["networks"]["parts"] == {"internal": True}


def test_no_secret_has_a_default(configurations: dict[str, Configuration]) -> None:
    content = (DEPLOY / "compose.yaml").read_text("utf-8")
    for name, kind in re.findall(r"\$\{(\w*(?:PASSWORD|PASSPHRASE|SECRET|KEY)\w*)(:\?)?", content):
        assert kind, f"{name} may be left out"
    for role, configuration in configurations.items():
        for name in secret_names(configuration.settings):
            value = SERVICES[role]["environment"].get(name)
            assert value is None or re.search(r"\$\{\w+:\?", value), f"{role}: {name}"


def test_every_setting_is_known_and_production_accepts_it(
    configurations: dict[str, Configuration],
) -> None:
    for role, configuration in configurations.items():
        assert configuration.settings.is_production, role
        chosen = configuration.plugins.chosen
        assert (chosen["storage"], chosen["chain"], chosen["ratelimit"]) == ("s3", "evm", "redis")


def test_what_is_told_to_a_process_is_all_that_it_needs(
    configurations: dict[str, Configuration],
) -> None:
    worker = Services(configurations["worker"])
    assert worker.worker().name
    assert worker.storage  # it refuses keys that are none
    assert Services(configurations["api"]).auth  # the same for a secret


def test_what_instances_must_share_is_the_same_for_all() -> None:
    for name in (
        "DATABASE_URL",
        "BLOCKCHAIN_RPC_URL",
        "EVENTSERVER__BLOCKCHAIN__CHAIN_ID",
        "EVENTSERVER__STORAGE__ENDPOINT",
        "EVENTSERVER__STORAGE__BUCKET",
        "EVENTSERVER__SERVER__PUBLIC_URL",
    ):
        assert SERVICES["api"]["environment"][name] == SERVICES["worker"]["environment"][name]


def test_only_workers_hold_the_accounts_key() -> None:
    name = variable_name("blockchain", "account_key")
    holding = {role for role in OWN_ROLES if name in SERVICES[role]["environment"]}
    assert holding == {"worker"}


def test_a_worker_holds_no_signing_key_and_no_issuing_key_and_can_reach_storage() -> None:
    worker = SERVICES["worker"]
    told = set(worker["environment"])
    assert not {"JWT_SECRET", variable_name("ca", "passphrase")} & told
    assert worker["volumes"] == [f"authority-root:{AUTHORITY}:ro"]
    assert {variable_name("s3", "access_key"), variable_name("s3", "secret_key")} <= told
    assert set(worker["networks"]) & set(SERVICES["seaweedfs"]["networks"])
    # who launches machines would take these for its own
    assert not [name for name in told if name.startswith("AWS_")]


def test_instances_read_the_authority_and_cannot_change_it() -> None:
    assert SERVICES["api"]["volumes"] == [f"authority:{AUTHORITY}:ro"]
    assert f"authority:{AUTHORITY}" in SERVICES["authority"]["volumes"]
    holding = {
        role
        for role in OWN_ROLES
        if variable_name("ca", "passphrase") in SERVICES[role]["environment"]
    }
    assert holding == {"api", "authority"}


def test_an_instance_has_the_time_to_drain(configurations: dict[str, Configuration]) -> None:
    server = configurations["api"].settings[ServerSettings]
    assert server.drain_delay > 0
    grace = int(SERVICES["api"]["stop_grace_period"].removesuffix("s"))
    assert grace > server.drain_delay + server.graceful_timeout


def test_the_database_has_connections_for_all(configurations: dict[str, Configuration]) -> None:
    wanted = 0
    for role in ("api", "worker"):
        settings = configurations[role].settings
        processes = settings[ServerSettings].workers if role == "api" else 1
        replicas = SERVICES[role]["deploy"]["replicas"]
        wanted += replicas * processes * settings[DatabaseSettings].max_connections
    assert wanted <= POSTGRESQL_CONNECTIONS


def test_the_schema_is_there_before_anything_starts() -> None:
    done = {"condition": "service_completed_successfully"}
    for role in ("api", "worker"):
        assert SERVICES[role]["depends_on"]["migrate"] == done
    assert SERVICES["migrate"]["depends_on"]["postgresql"] == {"condition": "service_healthy"}


def test_the_bucket_is_the_one_that_is_made() -> None:
    bucket = SERVICES["api"]["environment"]["EVENTSERVER__STORAGE__BUCKET"]
    assert f"s3.bucket.create -name {bucket}'" in SERVICES["seaweedfs-setup"]["command"][0]
    assert f"Write:{bucket}" in SERVICES["seaweedfs"]["command"][0]


def test_the_proxy_is_believed_and_believes_nobody(
    configurations: dict[str, Configuration],
) -> None:
    server = configurations["api"].settings[ServerSettings]
    (trusted,) = server.trusted_proxies
    (front,) = compose()["networks"]["front"]["ipam"]["config"]
    assert front["subnet"] == f"${{FRONT_NETWORK:-{trusted}}}"
    page = (DEPLOY / "compose" / "nginx.conf").read_text("utf-8")
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in page
    assert f"server api:{server.port} resolve" in page


def test_secrets_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    made = made_environment(tmp_path)
    path = tmp_path / ".env"
    assert path.stat().st_mode & 0o777 == 0o600
    secrets = [value for name, value in made.items() if re.search("PASS|SECRET|KEY", name)]
    assert len(set(secrets)) == len(secrets) >= 7
    before = path.read_bytes()
    again = subprocess.run(["sh", str(tmp_path / "make-env.sh")], capture_output=True, check=False)
    assert again.returncode == 1
    assert path.read_bytes() == before
    ignored = (DEPLOY / ".gitignore").read_text("utf-8").splitlines()
    assert ".env" in ignored
