"""The worker's other loop: follows launched relays, under a lease of its own.

Apart from anchoring, since a cloud takes its time to answer, and events don't wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from eventserver_core.db.leases import LeaseRepository
from eventserver_core.errors import EventServerError, LeaseLostError
from eventserver_core.log import get_logger
from eventserver_core.services.provisioning import FollowRelays

LEASE_NAME = "relays"
_PAUSE_AFTER_FAILURE = 30.0
_log = get_logger()


class RelayWorker:
    """Follows relays; any number may run, one at a time does the work.

    Args:
        follow: what is done under the lease.
        leases: where the lease is.
        name: the worker's, for the lease and the log.
        poll_interval: how long to wait between two looks, in seconds.
        lease_duration: how long others wait for a worker that went silent.
        clock: tells the time.
    """

    def __init__(
        self,
        follow: FollowRelays,
        leases: LeaseRepository,
        name: str,
        poll_interval: float,
        lease_duration: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._follow = follow
        self._leases = leases
        self._name = name
        self._poll_interval = poll_interval
        self._lease_duration = lease_duration
        self._clock = clock
        self._stopping = threading.Event()

    def start(self) -> None:
        """Run in a thread of its own, which a provider that hangs can't keep the process for."""
        threading.Thread(target=self.run, name="relays", daemon=True).start()

    def stop(self) -> None:
        """End the loop after the step it is at."""
        self._stopping.set()

    def run(self) -> None:
        """Work until told to stop; whatever is away is waited for."""
        while not self._stopping.is_set():
            pause = self._poll_interval
            try:
                self.run_once()
            except LeaseLostError:
                _log.debug("relays_followed_elsewhere", worker=self._name)
            except Exception as ex:  # noqa: BLE001 - it must go on, and is told
                pause = max(pause, _PAUSE_AFTER_FAILURE)
                _log.warning(
                    "following_relays_failed",
                    retry_in_seconds=pause,
                    error=str(ex),
                    exc_info=None if isinstance(ex, EventServerError) else ex,
                )
            self._stopping.wait(pause)
        self._release()

    def run_once(self) -> None:
        """Do what there is to do now, if nobody else does it.

        Raises:
            LeaseLostError: another worker has the lease.
            BackendUnavailableError: the database is away.
        """
        self._require_lease()
        self._follow.run(self._require_lease)

    def _require_lease(self) -> None:
        held = self._leases.acquire(LEASE_NAME, self._name, self._lease_duration, self._clock())
        if held is None or self._stopping.is_set():
            raise LeaseLostError("another worker follows the relays, or this one stops")

    def _release(self) -> None:
        try:
            held = self._leases.acquire(LEASE_NAME, self._name, self._lease_duration, self._clock())
            if held is not None:
                self._leases.release(held, self._clock())
        except EventServerError as ex:
            _log.warning("lease_not_released", error=str(ex))
