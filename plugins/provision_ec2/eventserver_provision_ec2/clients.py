"""Requests to EC2: one client for each region, made when it is first needed, and never for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_provision_ec2.configuration import ATTEMPTS, Configuration
from eventserver_provision_ec2.faults import BACKEND, reported
from eventserver_provision_ec2.machines import Instance

PAGE_SIZE = 1000

_POOL_SIZE = 16
_CHECK_CONNECT_SECONDS = 0.6
_CHECK_READ_SECONDS = 1.2
"""Together with the above, less than the core waits for an answer to ``check``."""


class Deadline:
    """When a call of the backend has to be over.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """How many seconds are left, at least 0."""
        return max(self._end - time.monotonic(), 0.0)

    def require(self, seconds: float) -> None:
        """Make sure that there is time for something that may take this long.

        Raises:
            BackendUnavailableError: there isn't.
        """
        if self.remaining < seconds:
            raise BackendUnavailableError(
                BACKEND, "EC2 is too slow; the same call may be repeated, and succeed later"
            )


class Clients:
    """EC2 in every region. Safe for threads.

    Args:
        configuration: how it is reached.

    Raises:
        ConfigurationError: the files of the AWS tools can't be used.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._clients: dict[tuple[str, bool], Any] = {}
        self._lock = threading.Lock()
        try:
            self._session = boto3.session.Session()
        except BotoCoreError as ex:
            raise ConfigurationError(f"AWS_PROFILE and ~/.aws: {ex}") from ex

    def deadline(self) -> Deadline:
        """Return when a call that begins now has to be over."""
        return Deadline(self._configuration.call_limit)

    def instances(
        self, region: str, filters: Mapping[str, list[str]], deadline: Deadline
    ) -> Iterator[Instance]:
        """Return the instances that match, page by page."""
        wanted = [{"Name": name, "Values": values} for name, values in filters.items()]
        token: dict[str, str] = {}
        while True:
            answer = self.call(
                "describe_instances",
                "the machines can't be listed",
                region,
                deadline,
                Filters=wanted,
                MaxResults=PAGE_SIZE,
                **token,
            )
            for reservation in answer.get("Reservations", ()):
                yield from reservation.get("Instances", ())
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}

    def call(
        self, operation: str, what: str, region: str, deadline: Deadline, **parameters: Any
    ) -> Mapping[str, Any]:
        """Send one request while there is time for it.

        Args:
            operation: as boto3 names it.
            what: what is said to have failed.
            region: where.
            deadline: when it has to be over.
            parameters: as boto3 takes them.

        Raises:
            BackendUnavailableError: it failed, or came too late.
        """
        # what begins late and hangs twice is cut off by the core, and safe to repeat all the same
        deadline.require(self._configuration.connect_timeout + self._configuration.read_timeout)
        with reported(what, region):
            answer: Mapping[str, Any] = getattr(self._client(region), operation)(**parameters)
            return answer

    def check(self, region: str, filters: Mapping[str, list[str]]) -> None:
        """Ask a region something small, once and within two seconds.

        Raises:
            BackendUnavailableError: it doesn't answer, or refuses.
        """
        wanted = [{"Name": name, "Values": values} for name, values in filters.items()]
        with reported("EC2 can't be used", region):
            self._client(region, quick=True).describe_instances(Filters=wanted, MaxResults=5)

    def _client(self, region: str, *, quick: bool = False) -> Any:
        own = self._configuration
        # making one takes a tenth of a second, and the session is not for two threads at once
        with self._lock:
            if (region, quick) not in self._clients:
                self._clients[region, quick] = self._session.client(
                    "ec2",
                    region_name=region,
                    endpoint_url=own.endpoint,
                    config=Config(
                        connect_timeout=_CHECK_CONNECT_SECONDS if quick else own.connect_timeout,
                        read_timeout=_CHECK_READ_SECONDS if quick else own.read_timeout,
                        retries={
                            "mode": "standard",
                            "total_max_attempts": 1 if quick else ATTEMPTS,
                        },
                        max_pool_connections=_POOL_SIZE,
                    ),
                )
            return self._clients[region, quick]
