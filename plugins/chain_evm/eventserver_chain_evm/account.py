"""The account's key: from the environment, a file, or an encrypted keystore."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from eth_account.signers.local import LocalAccount

from eventserver_chain_evm.settings import EvmSettings
from eventserver_core.errors import ConfigurationError
from eventserver_core.sections import BlockchainSettings
from eventserver_core.settings import Settings

_MAX_FILE: Final = 65536
_KEY: Final = "blockchain.account_key"
_KEY_FILE: Final = "blockchain.account_key_file"
_PASSWORD_FILE: Final = "evm.account_password_file"  # noqa: S105 - a setting's name
_HEX_DIGITS: Final = 64

_DEVELOPMENT_CHAINS: Final = (1337, 31337)
_DEVELOPMENT_ACCOUNTS: Final = frozenset(
    {
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
        "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
        "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
        "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
        "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
        "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
        "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
    }
)
"""Accounts of every development node; whatever they get on a real chain is gone at once."""


def load_account(settings: Settings) -> LocalAccount | None:
    """Return the account that the settings name; None where they name none.

    Raises:
        ConfigurationError: they name one, and it can't be used. No message has a part of a key or
            a password.
    """
    chain = settings[BlockchainSettings]
    if chain.account_key and chain.account_key_file:
        raise ConfigurationError(f"{_KEY} and {_KEY_FILE} are both set; keep one")
    if chain.account_key:
        account = _from_hex(_KEY, chain.account_key)
    elif chain.account_key_file:
        account = _from_file(Path(chain.account_key_file), settings[EvmSettings])
    else:
        return None
    is_known = str(account.address) in _DEVELOPMENT_ACCOUNTS
    if settings.is_production and is_known and chain.chain_id not in _DEVELOPMENT_CHAINS:
        raise ConfigurationError(
            f"{_KEY if chain.account_key else _KEY_FILE}: everybody knows the key of "
            f"{account.address}, which development nodes bring; use one of your own"
        )
    return account


def _from_hex(setting: str, text: str) -> LocalAccount:
    digits = text.strip().removeprefix("0x")
    try:
        if len(digits) == _HEX_DIGITS:
            account: LocalAccount = Account.from_key(bytes.fromhex(digits))
            return account
    except Exception:  # noqa: BLE001, S110 - what is said below is all that may be said of a key
        pass
    # raised here, outside the handler: the exception's own words might quote the key
    raise ConfigurationError(f"{setting}: expected a private key as 64 hex digits")


def _from_file(path: Path, options: EvmSettings) -> LocalAccount:
    content, is_open = _read(_KEY_FILE, path)
    if content.lstrip().startswith("{"):
        return _from_keystore(path, content, options)
    if is_open:
        raise ConfigurationError(_open_to_others(_KEY_FILE, path))
    return _from_hex(f"{_KEY_FILE}: {path}", content)


def _from_keystore(path: Path, content: str, options: EvmSettings) -> LocalAccount:
    if options.account_password and options.account_password_file:
        raise ConfigurationError(f"evm.account_password and {_PASSWORD_FILE} are both set")
    password = options.account_password
    if options.account_password_file:
        text, is_open = _read(_PASSWORD_FILE, Path(options.account_password_file))
        if is_open:
            raise ConfigurationError(
                _open_to_others(_PASSWORD_FILE, Path(options.account_password_file))
            )
        password = text.rstrip("\r\n")
    if not password:
        raise ConfigurationError(
            f"{_KEY_FILE}: {path} is an encrypted keystore; set evm.account_password or "
            f"{_PASSWORD_FILE}"
        )
    account: LocalAccount | None = None
    try:
        keystore: dict[str, Any] = json.loads(content)
        account = Account.from_key(Account.decrypt(keystore, password))
    except Exception:  # noqa: BLE001, S110 - as above
        pass
    if account is None:
        raise ConfigurationError(
            f"{_KEY_FILE}: {path} is no keystore of version 3, or the password is another"
        )
    return account


def _read(setting: str, path: Path) -> tuple[str, bool]:
    """Return a file's text, and whether everybody on this machine can get at it."""
    try:
        if not path.is_file():
            raise ConfigurationError(f"{setting}: {path}: there is no such file")
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            return file.read(_MAX_FILE).decode("utf-8", "replace"), bool(mode & stat.S_IRWXO)
    except OSError as ex:
        raise ConfigurationError(f"{setting}: {path}: cannot be read: {ex.strerror}") from ex


def _open_to_others(setting: str, path: Path) -> str:
    return (
        f"{setting}: {path}: everybody on this machine can get at this secret; "
        f"run: chmod 600 {path}"
    )
