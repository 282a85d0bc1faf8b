"""The worker's loop: hold the lease, do its other duties, seal, anchor, follow, start over."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.leases import HeldLease, LeaseRepository
from eventserver_core.errors import BackendUnavailableError, EventServerError, LeaseLostError
from eventserver_core.log import get_logger
from eventserver_core.metrics.definitions import WORKER_HOLDS_LEASE, WORKER_ROUND_AT
from eventserver_core.services.anchoring import AnchorBatches

LEASE_NAME = "anchoring"
_DUTY_PAUSE = timedelta(seconds=30)
Duty = Callable[[Callable[[], None]], None]
"""Gets what makes sure that the lease is still held, to be called before anything slow."""
_log = get_logger()


class Worker:
    """Anchors what was stored; any number may run, one at a time does the work.

    Args:
        anchoring: what is done under the lease.
        leases: where the lease is.
        certificates: where challenges that have ended are forgotten.
        poll_interval: how long to wait when there is nothing to do, in seconds.
        lease_duration: how long others wait for a worker that went silent.
        clock: tells the time.
        duties: what else is done under the lease, by its name in the log; what fails waits a
            while, and holds nothing else up.
    """

    def __init__(
        self,
        anchoring: AnchorBatches,
        leases: LeaseRepository,
        certificates: CertificateRepository,
        poll_interval: float,
        lease_duration: timedelta,
        clock: Callable[[], datetime],
        duties: Mapping[str, Duty] | None = None,
    ) -> None:
        self._duties = dict(duties or {})
        self._paused: dict[str, datetime] = {}
        self._anchoring = anchoring
        self._leases = leases
        self._certificates = certificates
        self._poll_interval = poll_interval
        self._lease_duration = lease_duration
        self._clock = clock
        self._stopping = threading.Event()
        self._held: HeldLease | None = None
        self._forget_at = clock()
        self.name = f"{socket.gethostname()[:64]}:{os.getpid()}:{secrets.token_hex(4)}"

    def stop(self) -> None:
        """End the loop after the step it is at."""
        self._stopping.set()

    def run(self) -> None:
        """Work until told to stop; a database that is away is waited for."""
        _log.info("worker_started", worker=self.name)
        while not self._stopping.is_set():
            WORKER_ROUND_AT.set(self._clock().timestamp())
            try:
                busy = self.run_once()
            except LeaseLostError:
                _log.warning("lease_lost", worker=self.name)
                self._held, busy = None, False
            except BackendUnavailableError as ex:
                _log.warning("worker_waits", error=str(ex))
                busy = False
            if not busy:
                self._stopping.wait(self._poll_interval)
        self._release()
        _log.info("worker_stopped", worker=self.name)

    def run_until_idle(self) -> None:
        """Do all that there is to do now, and let others have the lease.

        Raises:
            LeaseLostError: another worker has taken over.
            BackendUnavailableError: the database is away.
        """
        try:
            while self.run_once():
                pass
        finally:
            self._release()

    def run_once(self) -> bool:
        """Do what there is to do now.

        Returns:
            Whether a batch was sealed, so that more may be waiting.

        Raises:
            LeaseLostError: another worker has taken over.
            BackendUnavailableError: the database is away.
        """
        lease = self._hold()
        if lease is None:
            return False
        for name in self._duties:
            if self._stopping.is_set():
                return False
            self._do(name)
        lease = self._hold()
        if lease is None:
            return False
        sealed = self._anchoring.seal_batch(lease) is not None
        for batch in self._anchoring.due():
            lease = self._hold()
            if lease is None or self._stopping.is_set():
                return False
            self._anchoring.anchor_batch(lease, batch)
        self._forget()
        return sealed

    def _do(self, name: str) -> None:
        now = self._clock()
        if now < self._paused.get(name, now):
            return
        try:
            self._duties[name](self._require_lease)
        except LeaseLostError:
            if not self._stopping.is_set():
                raise
        except Exception as ex:  # noqa: BLE001 - one duty must never stop all others
            self._paused[name] = now + _DUTY_PAUSE
            _log.warning(
                "duty_failed",
                duty=name,
                retry_in_seconds=_DUTY_PAUSE.total_seconds(),
                error=str(ex),
                exc_info=None if isinstance(ex, EventServerError) else ex,
            )

    def _require_lease(self) -> None:
        if self._stopping.is_set() or self._hold() is None:
            raise LeaseLostError("the worker stops, or another one has the lease")

    def _forget(self) -> None:
        now = self._clock()
        if now >= self._forget_at:
            self._certificates.forget_expired(now - timedelta(hours=1))
            self._forget_at = now + timedelta(minutes=10)

    def _release(self) -> None:
        if self._held is None:
            return
        try:
            self._leases.release(self._held, self._clock())
        except BackendUnavailableError as ex:
            _log.warning("lease_not_released", error=str(ex))
        self._held = None

    def _hold(self) -> HeldLease | None:
        lease = self._leases.acquire(LEASE_NAME, self.name, self._lease_duration, self._clock())
        if lease is not None and lease != self._held:
            _log.info("lease_acquired", worker=self.name, token=lease.token)
        self._held = lease
        WORKER_HOLDS_LEASE.set(lease is not None)
        return lease
