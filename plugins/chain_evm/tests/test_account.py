"""The account's key: from the environment, a file or a keystore, and never in any message."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eventserver_chain_evm.account import _DEVELOPMENT_ACCOUNTS, Account, load_account

from eventserver_core.errors import ConfigurationError
from eventserver_core.settings import Settings
from eventserver_core.testing.parts.anvil import ACCOUNT_KEYS

PASSWORD = "correct horse battery staple"


@pytest.fixture
def key() -> str:
    return os.urandom(32).hex()


@pytest.fixture
def load(make_settings: Callable[..., Settings]) -> Callable[..., str | None]:
    """Return a function that returns the address of the account that settings name."""

    def load(environment: str = "development", **keys: object) -> str | None:
        account = load_account(make_settings(environment, **keys))
        return None if account is None else str(account.address)

    return load


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file for its owner's eyes, or as it is told."""

    def write(content: str, name: str = "key", mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.write_text(content, "utf-8")
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def keystore(key: str) -> str:
    """Return an encrypted keystore, made quickly and so not well."""
    return json.dumps(Account.encrypt("0x" + key, PASSWORD, kdf="pbkdf2", iterations=16))


def address(key: str) -> str:
    return str(Account.from_key("0x" + key).address)


def test_no_key_is_no_account(load: Callable[..., str | None]) -> None:
    assert load() is None


@pytest.mark.parametrize("form", ["{}", "0x{}", " {} \n"])
def test_a_key_is_hex_with_or_without_its_prefix(
    load: Callable[..., str | None], write: Callable[..., Path], key: str, form: str
) -> None:
    text = form.format(key)
    assert load(blockchain__account_key=text) == address(key)
    assert load(blockchain__account_key_file=write(text)) == address(key)
    assert load(blockchain__account_key_file=write(text.upper().replace("X", "x"))) == address(key)


@pytest.mark.parametrize("give", ["setting", "file"])
def test_a_keystore_is_decrypted_with_its_password(
    load: Callable[..., str | None],
    write: Callable[..., Path],
    key: str,
    keystore: str,
    give: str,
) -> None:
    path = write(keystore, mode=0o644)  # it is encrypted, so everybody may have it
    password = (
        {"evm__account_password": PASSWORD}
        if give == "setting"
        else {"evm__account_password_file": write(PASSWORD + "\n", "password")}
    )
    assert load(blockchain__account_key_file=path, **password) == address(key)


def test_a_keystore_made_by_scrypt_is_decrypted_too(
    load: Callable[..., str | None], write: Callable[..., Path], key: str
) -> None:
    keystore = json.dumps(Account.encrypt("0x" + key, PASSWORD, kdf="scrypt", iterations=2))
    keys = {"blockchain__account_key_file": write(keystore), "evm__account_password": PASSWORD}
    assert load(**keys) == address(key)


@pytest.mark.parametrize(
    "text",
    ["", "0x", "hello", "00" * 32, "ff" * 32, "ab" * 31, "ab" * 33, "0x" + "zz" * 32, "é" * 64],
)
def test_what_is_no_key_is_refused_without_quoting_it(
    load: Callable[..., str | None], write: Callable[..., Path], text: str
) -> None:
    attempts: list[dict[str, Any]] = [{"blockchain__account_key_file": write(text)}]
    attempts += [{"blockchain__account_key": text}] if text else []
    for keys in attempts:
        with pytest.raises(ConfigurationError, match="expected a private key") as caught:
            load(**keys)
        assert len(text) < 8 or text not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ({}, "set evm.account_password or evm.account_password_file"),
        ({"evm__account_password": "hunter22"}, "or the password is another"),
    ],
)
def test_a_keystore_with_the_wrong_password_is_refused(
    load: Callable[..., str | None],
    write: Callable[..., Path],
    keystore: str,
    password: dict[str, str],
    words: str,
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        load(blockchain__account_key_file=write(keystore), **password)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "{}", '{"version": 3, "crypto": {}}', '{"version": 1}'])
def test_what_is_no_keystore_is_refused(
    load: Callable[..., str | None], write: Callable[..., Path], content: str
) -> None:
    with pytest.raises(ConfigurationError, match="no keystore of version 3"):
        load(blockchain__account_key_file=write(content), evm__account_password=PASSWORD)


def test_files_that_are_absent_or_open_to_others_are_refused(
    load: Callable[..., str | None],
    write: Callable[..., Path],
    tmp_path: Path,
    key: str,
    keystore: str,
) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load(blockchain__account_key_file=tmp_path / "absent")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(blockchain__account_key_file="/proc/self/mem")
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load(blockchain__account_key_file=write(key, mode=0o604))
    keys = {"blockchain__account_key_file": write(keystore)}
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load(**keys, evm__account_password_file=write(PASSWORD, "password", mode=0o644))
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load(**keys, evm__account_password_file=tmp_path / "absent")


def test_two_keys_or_two_passwords_are_one_too_many(
    load: Callable[..., str | None], write: Callable[..., Path], key: str, keystore: str
) -> None:
    with pytest.raises(ConfigurationError, match="are both set"):
        load(blockchain__account_key=key, blockchain__account_key_file=write(key))
    with pytest.raises(ConfigurationError, match="are both set"):
        load(
            blockchain__account_key_file=write(keystore),
            evm__account_password=PASSWORD,
            evm__account_password_file=write(PASSWORD, "password"),
        )


@pytest.mark.parametrize("key", ACCOUNT_KEYS)
def test_a_development_nodes_key_is_refused_in_production(
    load: Callable[..., str | None], key: str
) -> None:
    assert load(blockchain__account_key=key) in _DEVELOPMENT_ACCOUNTS
    with pytest.raises(ConfigurationError, match="everybody knows the key"):
        load("production", blockchain__account_key=key)
    with pytest.raises(ConfigurationError, match="everybody knows the key"):
        load("production", blockchain__account_key=key, blockchain__chain_id=1)
    load("production", blockchain__account_key=key, blockchain__chain_id=31337)


def test_the_development_accounts_are_those_of_the_usual_words() -> None:
    Account.enable_unaudited_hdwallet_features()
    words = " ".join(["test"] * 11 + ["junk"])
    paths = (f"m/44'/60'/0'/0/{number}" for number in range(10))
    assert {
        str(Account.from_mnemonic(words, account_path=path).address) for path in paths
    } == _DEVELOPMENT_ACCOUNTS
