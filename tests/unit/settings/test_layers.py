"""Defaults, files and environment variables: which one wins, and what its text becomes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eventserver_core.errors import ConfigurationError
from eventserver_core.sections import (
    CORE_SECTIONS,
    BlockchainSettings,
    DatabaseSettings,
    LoggingSettings,
    PluginSettings,
    SecuritySettings,
    ServerSettings,
    StorageSettings,
)
from eventserver_core.settings import (
    Section,
    Settings,
    Sources,
    option,
    parse_bool,
)

from .conftest import Load, Write


def source_of(settings: Settings, name: str) -> str:
    """Return where a setting's value came from."""
    return next(o.source for o in settings.origins if f"{o.section}.{o.spec.key}" == name)


def test_with_nothing_set_the_defaults_of_the_contract_hold(load: Load) -> None:
    settings = load()
    server, storage = settings[ServerSettings], settings[StorageSettings]
    security, plugins = settings[SecuritySettings], settings[PluginSettings]
    assert settings.environment == "development"
    assert (server.port, server.workers) == (3000, 4)
    assert server.host == "0.0.0.0"  # noqa: S104
    assert server.data_dir == Path("data")
    assert (storage.region, storage.bucket) == ("us-east-1", "eventserver-storage")
    assert storage.max_file_size == 104857600
    assert (security.rate_limit_per_minute, security.pow_difficulty) == (100, 4)
    assert security.certificate_validity_hours == 24
    chosen = (plugins.auth, plugins.ratelimit, plugins.storage, plugins.chain, plugins.provisioning)
    assert chosen == ("cert", "memory", "filesystem", "ledger", "static")
    assert {origin.source for origin in settings.origins} == {"default"}


def test_each_layer_wins_over_the_one_before(load: Load, write: Write) -> None:
    default = write("default.toml", "[server]\nport = 1\nworkers = 1\nthreads = 1\n")
    own = write("production.toml", "[server]\nport = 2\nworkers = 2\n")
    settings = load(EVENTSERVER_ENVIRONMENT="production", EVENTSERVER__SERVER__PORT="3")
    server = settings[ServerSettings]
    assert (server.port, server.workers, server.threads, server.max_json_size) == (3, 2, 1, 2**24)
    assert source_of(settings, "server.port") == "EVENTSERVER__SERVER__PORT"
    assert source_of(settings, "server.workers") == str(own)
    assert source_of(settings, "server.threads") == str(default)
    assert source_of(settings, "server.max_json_size") == "default"


@pytest.mark.parametrize("suffix", ["yaml", "yml"])
def test_yaml_is_read_as_toml_is(load: Load, write: Write, suffix: str) -> None:
    write(f"default.{suffix}", "server:\n  port: 1\n  workers: 1\n")
    write("development.toml", "[server]\nport = 2\n")
    server = load()[ServerSettings]
    assert (server.port, server.workers) == (2, 1)


def test_the_file_of_another_environment_is_not_read(load: Load, write: Write) -> None:
    write("production.toml", "this is not TOML")
    write("staging.toml", "[server]\nport = 5\n")
    assert load(EVENTSERVER_ENVIRONMENT="staging")[ServerSettings].port == 5
    assert load()[ServerSettings].port == 3000


@pytest.mark.parametrize(
    ("variable", "section", "key"),
    [
        ("DATABASE_URL", DatabaseSettings, "url"),
        ("BLOCKCHAIN_RPC_URL", BlockchainSettings, "rpc_url"),
    ],
)
def test_an_established_name_works_as_it_is(
    load: Load, write: Write, variable: str, section: type[Section], key: str
) -> None:
    write("default.toml", f'[{section.name}]\n{key} = "from the file"\n')
    settings = load(**{variable: "from its own variable"})
    assert getattr(settings[section], key) == "from its own variable"
    assert source_of(settings, f"{section.name}.{key}") == variable
    prefixed = f"EVENTSERVER__{section.name.upper()}__{key.upper()}"
    both = load(**{variable: "from its own variable", prefixed: "from the prefixed one"})
    assert getattr(both[section], key) == "from the prefixed one"
    assert source_of(both, f"{section.name}.{key}") == prefixed


def test_jwt_secret_is_read_by_the_auth_plugin(config: Path) -> None:
    from eventserver_auth_cert import AuthSettings

    environ = {"JWT_SECRET": "from its own variable"}
    settings = Sources(config, environ).load([*CORE_SECTIONS, AuthSettings])
    assert settings[AuthSettings].jwt_secret == "from its own variable"
    assert source_of(settings, "auth.jwt_secret") == "JWT_SECRET"


def test_an_empty_variable_counts_as_unset(load: Load, write: Write) -> None:
    path = write("default.toml", '[server]\nport = 4000\n[database]\nurl = "sqlite:///file"\n')
    settings = load(EVENTSERVER__SERVER__PORT="", EVENTSERVER__DATABASE__URL="", DATABASE_URL="")
    assert settings[ServerSettings].port == 4000
    assert source_of(settings, "server.port") == str(path)
    assert settings[DatabaseSettings].url == "sqlite:///file"
    assert load(EVENTSERVER_ENVIRONMENT="").environment == "development"


def test_an_empty_prefixed_variable_leaves_the_established_one_alone(load: Load) -> None:
    settings = load(EVENTSERVER__DATABASE__URL="", DATABASE_URL="sqlite:///other")
    assert settings[DatabaseSettings].url == "sqlite:///other"
    assert source_of(settings, "database.url") == "DATABASE_URL"


def test_an_empty_value_in_a_file_counts_as_unset(load: Load, write: Write) -> None:
    write("default.toml", '[server]\nhost = "127.0.0.1"\n')
    write("development.toml", '[server]\nhost = ""\n')
    settings = load()
    assert settings[ServerSettings].host == "127.0.0.1"
    assert source_of(settings, "server.host").endswith("default.toml")


def test_an_empty_file_sets_nothing(load: Load, write: Write) -> None:
    write("default.toml", "")
    write("development.yaml", "# nothing yet\n")
    assert load()[ServerSettings].port == 3000


class Kinds(Section, name="kinds"):
    """A section with an option of each kind."""

    flag: bool = option("false", parser=parse_bool, expected="true or false", doc="A flag.")
    names: list[str] = option(
        "", parser=lambda text: text.split(",") if text else [], doc="Some names."
    )
    text: str = option("", doc="Some text.")
    number: int = option("0", parser=int, doc="A number.")


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("flag = true", True),
        ("flag = false", False),
        ('flag = "yes"', True),
        ('flag = "off"', False),
        ('names = ["a", "b"]', ["a", "b"]),
        ('names = ["a"]', ["a"]),
        ("names = []", []),
        ('names = "a,b"', ["a", "b"]),
        ("number = 12", 12),
        ('number = "12"', 12),
        ('text = "a = b # c"', "a = b # c"),
        ("text = 12", "12"),
        ("text = 2024-01-01T00:00:00Z", "2024-01-01 00:00:00+00:00"),
    ],
)
def test_a_toml_value_of_each_type_is_read(
    config: Path, write: Write, toml: str, expected: object
) -> None:
    write("default.toml", f"[kinds]\n{toml}\n")
    kinds = Sources(config, {}).load([Kinds])[Kinds]
    assert getattr(kinds, toml.split(" ")[0]) == expected


def test_a_list_is_written_with_commas_in_a_variable(load: Load) -> None:
    origins = "https://a.example, https://b.example,"
    settings = load(EVENTSERVER__SECURITY__ALLOWED_ORIGINS=origins)
    assert settings[SecuritySettings].allowed_origins == ["https://a.example", "https://b.example"]


def test_seconds_may_have_a_fraction(load: Load) -> None:
    assert load(EVENTSERVER__SERVER__READ_TIMEOUT="0.25")[ServerSettings].read_timeout == 0.25


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "pretty"),
        ({"EVENTSERVER_ENVIRONMENT": "production"}, "json"),
        ({"EVENTSERVER_ENVIRONMENT": "staging"}, "json"),
        ({"EVENTSERVER__LOGGING__FORMAT": "json"}, "json"),
        (
            {"EVENTSERVER_ENVIRONMENT": "production", "EVENTSERVER__LOGGING__FORMAT": "pretty"},
            "pretty",
        ),
    ],
)
def test_logs_are_pretty_in_development_and_json_elsewhere(
    load: Load, environ: dict[str, str], expected: str
) -> None:
    settings = load(**environ)
    assert settings[LoggingSettings].format_in(settings) == expected


def test_only_production_is_production(load: Load) -> None:
    assert load(EVENTSERVER_ENVIRONMENT="production").is_production
    assert not load(EVENTSERVER_ENVIRONMENT="staging").is_production
    assert not load().is_production


def test_the_folder_can_be_named_by_a_variable(config: Path, write: Write) -> None:
    write("default.toml", "[server]\nport = 1\n")
    settings = Sources(None, {"EVENTSERVER_CONFIG_DIR": str(config)}).load(CORE_SECTIONS)
    assert settings[ServerSettings].port == 1


def test_without_a_name_the_folder_config_is_read_if_it_is_there(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("default.toml", "[server]\nport = 1\n")
    monkeypatch.chdir(tmp_path)
    assert Sources(None, {}).load(CORE_SECTIONS)[ServerSettings].port == 1
    monkeypatch.chdir(tmp_path / "config")
    assert Sources(None, {}).load(CORE_SECTIONS)[ServerSettings].port == 3000


def test_without_other_variables_those_of_the_process_are_read(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "EVENTSERVER__SERVER__PORT", "1")
    assert Sources(config).load(CORE_SECTIONS)[ServerSettings].port == 1


def test_a_section_that_was_not_asked_for_is_not_there(config: Path) -> None:
    settings = Sources(config, {}).load([ServerSettings])
    with pytest.raises(KeyError):
        settings[StorageSettings]


def test_settings_cannot_be_changed(load: Load) -> None:
    server = load()[ServerSettings]
    with pytest.raises(AttributeError):
        server.port = 1  # type: ignore[misc]


def test_one_section_can_be_read_ahead_whatever_is_wrong(config: Path, write: Write) -> None:
    write("default.toml", '[server]\nport = "x"\n[plugins]\nchain = "evm"\ntime_limit = "x"\n')
    sources = Sources(config, {})
    chosen = sources.peek(PluginSettings)
    assert (chosen.chain, chosen.time_limit) == ("evm", 30)
    with pytest.raises(ConfigurationError) as caught:
        sources.load(CORE_SECTIONS)
    assert len(caught.value.faults) == 2
