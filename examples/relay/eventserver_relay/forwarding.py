"""Sends what was kept to the server, and decides what each of its answers means for an event."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from dataclasses import dataclass

from eventserver_client import (
    Client,
    EventServerError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
)

from eventserver_relay.log import log
from eventserver_relay.outbox import Answer, Entry, Outbox

RESERVED_SECONDS = 60.0
"""For so long only the connection that brought an event sends it; then anybody may."""

_EVENTS_FAULT = frozenset({400, 409, 413, 415, 422})
_RELAYS_FAULT = frozenset({401, 403, 404})
_LONGEST_PAUSE = 60.0
_LONGEST_DELAY = 3600.0
_FORGET_SECONDS = 3600.0
_IDLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Later:
    """No answer for good yet.

    Attributes:
        reason: a word for the log.
        everything: whether nothing else can be sent now either.
        asked: seconds that the server wants to be left alone for.
    """

    reason: str
    everything: bool
    asked: float | None = None


class Forwarder:
    """Empties the outbox, the oldest event first.

    Args:
        outbox: what there is to send.
        quick: a client that tries once, within a device's patience.
        patient: a client that tries once, within the network's.
    """

    def __init__(self, outbox: Outbox, quick: Client, patient: Client) -> None:
        self._outbox = outbox
        self._quick = quick
        self._patient = patient
        self._wake = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._failures = 0
        self._resume_at = 0.0
        self._forget_at = 0.0

    def is_paused(self) -> bool:
        """Tell whether the server is left alone for now."""
        return time.monotonic() < self._resume_at

    def wake(self) -> None:
        """Try again at once: something has changed."""
        self._resume_at = 0.0
        self._wake.set()

    def stop(self) -> None:
        """End ``run`` after the present event."""
        self._stopping = True
        self._wake.set()

    def forward_at_once(self, entry: Entry) -> Answer | None:
        """Send an event while its device waits.

        Returns:
            None where it is sent later.
        """
        found = Later("paused", False) if self.is_paused() else self._send(self._quick, entry)
        if isinstance(found, Answer):
            return found
        self._outbox.release(entry)
        self._wake.set()
        return None

    def run(self) -> None:
        """Send until told to stop."""
        while not self._stopping:
            self._wake.clear()
            try:
                self._tidy()
                idle = self.is_paused() or not self._send_oldest()
            except sqlite3.Error as ex:  # a full disk: what is kept stays kept
                log("outbox_failed", error=type(ex).__name__)
                idle = True
            if idle and not self._stopping:
                self._wake.wait(_IDLE_SECONDS)

    def _send_oldest(self) -> bool:
        """Send one event; tell whether there was one."""
        entry = self._outbox.oldest()
        if entry is None:
            return False
        found = self._send(self._patient, entry)
        if isinstance(found, Later) and not found.everything:
            # one event that the server stumbles over must not hold all others up
            self._outbox.put_off(entry, min(5 * 2.0 ** min(entry.tries, 20), _LONGEST_DELAY))
        return True

    def _send(self, client: Client, entry: Entry) -> Answer | Later:
        found = _submit(client, entry)
        if isinstance(found, Answer):
            self._outbox.settle(entry, found)
            with self._lock:
                self._failures, self._resume_at = 0, 0.0
            what = "event_forwarded" if found.status < 400 else "event_refused"
            code = found.document.get("code", "")
            log(what, id=entry.digest_hex, status=found.status, code=code)
        else:
            log("event_put_off", id=entry.digest_hex, reason=found.reason)
            if found.everything:
                self._pause(found.asked)
        return found

    def _pause(self, asked: float | None) -> None:
        with self._lock:
            self._failures += 1
            longest = min(2.0 ** min(self._failures - 1, 10), _LONGEST_PAUSE)
            # half of it by chance: relays that lost the server together come back apart
            backoff = random.uniform(longest / 2, longest)  # noqa: S311 - no secret
            pause = min(max(backoff, asked or 0.0), _LONGEST_DELAY)
            self._resume_at = time.monotonic() + pause

    def _tidy(self) -> None:
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + _FORGET_SECONDS
            if forgotten := self._outbox.forget():
                log("refused_events_forgotten", count=forgotten)


def _submit(client: Client, entry: Entry) -> Answer | Later:
    try:
        receipt = client.submit(entry.body)
    except RefusedError as ex:
        if _is_about_the_event(ex):
            return Answer(ex.status, ex.document)
        if ex.status in _RELAYS_FAULT:
            # the relay's own standing: an admin, or a renewal, may mend it
            log("relay_refused", status=ex.status, code=ex.code, requestId=ex.request_id)
            return Later(ex.code or str(ex.status), everything=True)
        return Later(ex.code or str(ex.status), everything=False)
    except (UnavailableError, RateLimitedError) as ex:
        return Later(type(ex).__name__, everything=True, asked=ex.retry_after)
    except EventServerError as ex:
        return Later(type(ex).__name__, everything=True)
    return Answer(201, receipt.answer)


def _is_about_the_event(error: RefusedError) -> bool:
    """Tell whether the server refused an event for what it is, and so for good."""
    if not error.code:
        return False  # something between us answered
    if error.status == 401:
        # a device's certificate or signature; the relay's own is "unauthenticated", "certificate_…"
        return error.code != "unauthenticated" and not error.code.startswith("certificate_")
    return error.status in _EVENTS_FAULT
