"""Sends what was kept to the server, and decides what each of its answers means for an event."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from eventserver_client import (
    EventServerError,
    RateLimitedError,
    Receipt,
    RefusedError,
    RelayClient,
    UnavailableError,
)

from eventserver_relay.log import log
from eventserver_relay.outbox import Answer, Entry, Outbox

RESERVED_SECONDS = 60.0
"""For so long only the connection that brought an event sends it; then anybody may."""

NOT_ACTIVE = "relay_not_active"
"""The server's word to a relay that it hasn't looked at yet, or not approved."""

_EVENTS_FAULT = frozenset({400, 409, 413, 415, 422})
_RELAYS_FAULT = frozenset({401, 403, 404})
_TIMED_OUT = frozenset({408, 504})
_BATCH_EVENTS = 500
_BATCH_BYTES = 4 * 1024 * 1024
_NO_BATCHES = frozenset({404, 405})
"""What a server answers that is older than batches."""
_NO_BATCHES_SECONDS = 600.0
_LONGEST_PAUSE = 60.0
_NOT_ACTIVE_PAUSE = 5.0
_NOT_ACTIVE_TRIES = 360
"""A launched relay becomes active within minutes; after half an hour it is one like any other."""
_LONGEST_ASKED = 86400.0
"""What is asked for beyond it is a mistake, and would end the relay."""
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
        refused: whether the server doesn't take this relay's word now.
    """

    reason: str
    everything: bool
    asked: float | None = None
    refused: bool = False


class Forwarder:
    """Empties the outbox, the oldest events first: one, then two at once, then four, and so on.

    Where sending several fails, it begins with one again: that shows whether it was the number
    that failed, brings the server the least that it can't take yet, and gets past every limit.

    Args:
        outbox: what there is to send.
        quick: a client that tries once, within a device's patience.
        patient: a client that tries once, within the network's.

    Attributes:
        refusal: the code with which the server last refused the relay itself; empty once it
            answers for an event.
    """

    def __init__(self, outbox: Outbox, quick: RelayClient, patient: RelayClient) -> None:
        self._outbox = outbox
        self._quick = quick
        self._patient = patient
        self._wake = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._failures = 0
        self._resume_at = 0.0  # by the relay's own patience
        self._asked_until = 0.0  # by the server's word
        self._at_once = 1
        self._one_by_one_until = 0.0
        self._forget_at = 0.0
        self.refusal = ""

    def pause_left(self) -> float:
        """Return for how many seconds more the server is left alone."""
        return max(0.0, self._resume_at - time.monotonic(), self._asked_until - time.monotonic())

    def wake(self) -> None:
        """Try again at once, as far as the server allows: something has changed."""
        self._resume_at = 0.0
        self._wake.set()

    def stop(self) -> None:
        """End ``run`` after what is being sent."""
        self._stopping = True
        self._wake.set()

    def forward_at_once(self, entry: Entry) -> Answer | None:
        """Send an event while its device waits.

        Returns:
            None where it is sent later.
        """
        if not self.pause_left():
            found = _submit(self._quick, entry)
            self._conclude([(entry, found)], keeps_refused=False)
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
                idle = self.pause_left() > 0 or not self._send_oldest()
            except sqlite3.Error as ex:  # a full disk: what is kept stays kept
                log("outbox_failed", error=type(ex).__name__)
                idle = True
            if idle and not self._stopping:
                self._wake.wait(_IDLE_SECONDS)

    def _send_oldest(self) -> bool:
        """Send what has waited longest; tell whether there was anything."""
        most = 1 if time.monotonic() < self._one_by_one_until else self._at_once
        entries = self._outbox.oldest(most, _BATCH_BYTES)
        if len(entries) > 1:
            found = self._send_batch(entries)
        else:
            found = [(entry, _submit(self._patient, entry)) for entry in entries]
        self._conclude(found, keeps_refused=True)
        if any(isinstance(fate, Answer) for _, fate in found):
            self._at_once = min(2 * self._at_once, _BATCH_EVENTS)
        for entry, fate in found:
            if isinstance(fate, Later) and not fate.everything:
                # one event that the server stumbles over must not hold all others up
                self._outbox.put_off(entry, min(5 * 2.0 ** min(entry.tries, 20), _LONGEST_DELAY))
        return bool(entries)

    def _send_batch(self, entries: Sequence[Entry]) -> list[tuple[Entry, Answer | Later]]:
        """Send events in one request; return what became of each, or nothing if it failed whole."""
        try:
            results = self._patient.submit_batch([entry.body for entry in entries])
        except EventServerError as ex:
            status = getattr(ex, "status", None)
            log("batch_put_off", events=len(entries), reason=type(ex).__name__, status=status)
            if not isinstance(ex, RateLimitedError):  # the same again is what it waits for
                self._at_once = 1
            if status in _NO_BATCHES:
                self._one_by_one_until = time.monotonic() + _NO_BATCHES_SECONDS
            elif isinstance(fate := _fate(ex), Later) and fate.everything:
                self._pause(fate)
            return []
        return list(zip(entries, map(_fate, results), strict=True))

    def _conclude(self, found: Sequence[tuple[Entry, Answer | Later]], keeps_refused: bool) -> None:
        """Write down what became of events; leave the server alone if one of them says so."""
        if answers := [(entry, fate) for entry, fate in found if isinstance(fate, Answer)]:
            self._outbox.settle(answers, keeps_refused)
            with self._lock:
                self._failures, self._resume_at, self.refusal = 0, 0.0, ""
        for entry, fate in found:
            if isinstance(fate, Answer):
                what = "event_forwarded" if fate.status < 400 else "event_refused"
                code = fate.document.get("code", "")
                log(what, id=entry.digest_hex, status=fate.status, code=code)
            else:
                log("event_put_off", id=entry.digest_hex, reason=fate.reason)
        pauses = [fate for _, fate in found if isinstance(fate, Later) and fate.everything]
        if pauses:
            self._pause(pauses[0])

    def _pause(self, why: Later) -> None:
        with self._lock:
            self._failures += 1
            if why.refused:
                self.refusal = why.reason
            soon = why.reason == NOT_ACTIVE and self._failures <= _NOT_ACTIVE_TRIES
            longest = _NOT_ACTIVE_PAUSE if soon else _LONGEST_PAUSE
            longest = min(2.0 ** min(self._failures - 1, 10), longest)
            # half of it by chance: relays that lost the server together come back apart
            backoff = random.uniform(longest / 2, longest)  # noqa: S311 - no secret
            self._resume_at = time.monotonic() + backoff
            if why.asked is not None:
                until = time.monotonic() + min(why.asked, _LONGEST_ASKED)
                self._asked_until = max(self._asked_until, until)

    def _tidy(self) -> None:
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + _FORGET_SECONDS
            self._outbox.forget()


def _submit(client: RelayClient, entry: Entry) -> Answer | Later:
    try:
        return _fate(client.submit(entry.body))
    except EventServerError as ex:
        return _fate(ex)


def _fate(said: Receipt | EventServerError) -> Answer | Later:
    """Return what becomes of an event by what the server said."""
    if isinstance(said, Receipt):
        return Answer(201, said.answer)
    if isinstance(said, RefusedError):
        if _is_about_the_event(said):
            return Answer(said.status, said.document)
        code = said.code or str(said.status)
        if said.status in _RELAYS_FAULT:
            # the relay's own standing: an admin, or a renewal, may mend it
            log("relay_refused", status=said.status, code=said.code, requestId=said.request_id)
            return Later(code, everything=True, refused=said.status != 404)
        return Later(code, everything=False)
    reason = type(said).__name__
    if isinstance(said, RateLimitedError):
        return Later(reason, everything=True, asked=said.retry_after)
    if isinstance(said, UnavailableError):
        # that time was too short may be this one event's fault
        everything = said.status not in _TIMED_OUT or said.retry_after is not None
        return Later(reason, everything, said.retry_after)
    return Later(reason, everything=True)


def _is_about_the_event(error: RefusedError) -> bool:
    """Tell whether the server refused an event for what it is, and so for good."""
    if not error.code:
        return False  # something between us answered
    if error.status == 401:
        # a device's certificate or signature; the relay's own is "unauthenticated", "certificate_…"
        return error.code != "unauthenticated" and not error.code.startswith("certificate_")
    return error.status in _EVENTS_FAULT
