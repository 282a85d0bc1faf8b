"""No secret is in a message, an origin or a repr, wherever it was set."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventserver_core.errors import ConfigurationError
from eventserver_core.sections import CORE_SECTIONS, BlockchainSettings, DatabaseSettings
from eventserver_core.settings import Section, Settings, Sources, option

from .conftest import Load, Write

CANARY = "c4n4ry-Kq7Zx9"


class Secretive(Section, name="secretive"):
    """A section with secrets."""

    key: str = option("", secret=True, environment_variable="SECRETIVE_KEY", doc="A secret.")
    number: int = option("0", parser=int, secret=True, expected="a number", doc="Another.")
    keys: list[str] = option(
        "", parser=lambda text: text.split(",") if text else [], secret=True, doc="More of them."
    )


def everything_said(settings: Settings, section: type[Section]) -> str:
    """Return all that settings say of themselves."""
    return repr([settings.origins, settings[section], str(settings[section]), vars(settings)])


def test_a_secret_is_hidden_in_origins_and_reprs(config: Path, write: Write) -> None:
    write("default.toml", f"[secretive]\nkeys = ['{CANARY}', 'b']\n")
    environ = {"SECRETIVE_KEY": CANARY, "EVENTSERVER__SECRETIVE__NUMBER": "424242"}
    settings = Sources(config, environ).load([Secretive])
    assert settings[Secretive].key == CANARY
    assert settings[Secretive].keys == [CANARY, "b"]
    said = everything_said(settings, Secretive)
    assert CANARY not in said
    assert "424242" not in said
    assert repr(settings[Secretive]) == ("Secretive(key=(hidden), number=(hidden), keys=(hidden))")
    assert [origin.shown for origin in settings.origins] == ["(hidden)"] * 3


def test_a_secret_that_is_not_set_is_shown_as_such(config: Path) -> None:
    settings = Sources(config, {}).load([Secretive])
    assert next(o.shown for o in settings.origins if o.spec.key == "key") == ""


def test_a_bad_secret_is_not_quoted(config: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sources(config, {"EVENTSERVER__SECRETIVE__NUMBER": CANARY}).load([Secretive])
    assert caught.value.faults == [
        "secretive.number (from EVENTSERVER__SECRETIVE__NUMBER): expected a number"
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("default.toml", f"[secretive]\nkey = {CANARY}\n"),
        ("default.toml", f"[secretive]\nkey = '{CANARY}\n"),
        ("default.toml", f"[secretive]\nkey = '{CANARY}' '{CANARY}'\n"),
        ("default.toml", f"[secretive]\nkey = {{a = '{CANARY}'}}\n"),
        ("default.toml", f"secretive = '{CANARY}'\n"),
        ("default.yaml", f"secretive:\n  key: '{CANARY}\n"),
        ("default.yaml", f"secretive:\n  key: *{CANARY}\n"),
        ("default.yaml", f"secretive:\n  key: !{CANARY} x\n"),
        ("default.yaml", f"secretive:\n  key: {CANARY}: x\n"),
        ("default.yaml", f"secretive:\n  key: [{CANARY}\n"),
        ("default.yaml", f"secretive: {CANARY}\n"),
        ("default.yaml", f"{CANARY}\n"),
        ("default.yaml", f"secretive:\n  key: @{CANARY}\n"),
    ],
)
def test_a_broken_file_is_told_without_what_stands_in_it(
    config: Path, write: Write, name: str, text: str
) -> None:
    path = write(name, text)
    with pytest.raises(ConfigurationError) as caught:
        Sources(config, {}).load([Secretive])
    (fault,) = caught.value.faults
    assert str(path) in fault
    assert CANARY not in fault


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            f"postgresql://someone:{CANARY}@db.example/events",
            "postgresql://someone:(hidden)@db.example/events",
        ),
        (
            f"postgresql://someone:{CANARY}/@x@db.example/e",
            "postgresql://someone:(hidden)@db.example/e",
        ),
        (
            f"postgresql://db.example/events?user=someone&password={CANARY}&sslmode=require",
            "postgresql://db.example/events?user=someone&password=(hidden)&sslmode=require",
        ),
        ("sqlite:///data/events.sqlite3", "sqlite:///data/events.sqlite3"),
        ("postgresql://db.example:5432/events", "postgresql://db.example:5432/events"),
    ],
)
def test_a_password_in_an_address_is_hidden(load: Load, url: str, shown: str) -> None:
    settings = load(DATABASE_URL=url)
    assert settings[DatabaseSettings].url == url
    assert next(o.shown for o in settings.origins if o.spec.key == "url") == shown
    assert CANARY not in everything_said(settings, DatabaseSettings)


@pytest.mark.parametrize(
    "text",
    [
        "postgres//me:S3CRET@h/x",
        "postgresql:/me:S3CRET@h/x",
        "host=h user=me password=S3CRET dbname=x",
        ":S3CRET@h:6379",
    ],
)
def test_what_is_meant_as_an_address_and_is_none_is_hidden(load: Load, text: str) -> None:
    settings = load(DATABASE_URL=text)
    assert "S3CRET" not in repr(settings[DatabaseSettings])
    assert all("S3CRET" not in origin.shown for origin in settings.origins)


def test_a_nodes_address_is_hidden_for_it_may_hold_a_key(load: Load) -> None:
    settings = load(BLOCKCHAIN_RPC_URL=f"https://mainnet.example/v3/{CANARY}")
    assert CANARY in settings[BlockchainSettings].rpc_url
    assert CANARY not in everything_said(settings, BlockchainSettings)


def test_the_keys_that_hold_secrets_are_marked_as_such() -> None:
    from eventserver_auth_cert import AuthSettings

    secret = {
        f"{section.name}.{spec.key}"
        for section in (*CORE_SECTIONS, AuthSettings)
        for spec in section.options()
        if spec.secret
    }
    assert secret == {
        "auth.jwt_secret",
        "auth.previous_jwt_secrets",
        "blockchain.account_key",
        "blockchain.rpc_url",
        "ca.passphrase",
    }
