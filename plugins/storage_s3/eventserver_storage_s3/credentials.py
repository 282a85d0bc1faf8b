"""Whose account is used: the settings', else a credentials file's, else the machine's."""

from __future__ import annotations

import configparser

from minio.credentials.credentials import Credentials
from minio.credentials.providers import (
    AWSConfigProvider,
    ChainedProvider,
    IamAwsProvider,
    Provider,
    StaticProvider,
)
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

_METADATA_TIMEOUT = Timeout(connect=1, read=2)


class CredentialsError(Exception):
    """No place has credentials; the message says what to do."""


def make_provider(access_key: str, secret_key: str, session_token: str) -> Provider:
    """Return what gives credentials; without keys, whatever is found first at each moment."""
    if access_key:
        return StaticProvider(access_key, secret_key, session_token or None)
    # a machine that isn't in a cloud has nobody who answers: it must not take long to find out
    client = PoolManager(timeout=_METADATA_TIMEOUT, retries=Retry(total=1, redirect=False))
    return _FoundCredentials([AWSConfigProvider(), IamAwsProvider(http_client=client)])


class _FoundCredentials(Provider):
    """The first credentials that are found; kept while they last."""

    def __init__(self, providers: list[Provider]) -> None:
        self._chain = ChainedProvider([_Quiet(provider) for provider in providers])

    def retrieve(self) -> Credentials:
        try:
            return self._chain.retrieve()
        except ValueError as ex:
            raise CredentialsError(
                "no credentials were found; set s3.access_key and s3.secret_key "
                "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), name a file in "
                "AWS_SHARED_CREDENTIALS_FILE, or give the machine a role"
            ) from ex


class _Quiet(Provider):
    """Makes every way to have no credentials the one that a chain goes on from."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def retrieve(self) -> Credentials:
        try:
            return self._provider.retrieve()
        except (HTTPError, OSError, KeyError, configparser.Error) as ex:
            # what the file or the service said may have a key in it, so only its kind is told
            raise ValueError(type(ex).__name__) from None
