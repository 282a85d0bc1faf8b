"""What a relay does besides: it sends many events at once, enrols, and renews its certificates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus

from eventserver_client.answers import EnrolledCertificates, Receipt
from eventserver_client.batches import MEDIA_TYPE, Event, cut, line_of, results_in
from eventserver_client.client import Client, path_of
from eventserver_client.errors import EventServerError, RefusedError
from eventserver_client.reading import read
from eventserver_client.transport import post_bytes, post_json

BATCH_EVENTS = 500
BATCH_SIZE = 4 * 1024 * 1024


class RelayClient(Client):
    """Calls an EventServer as a relay does."""

    def submit_batch(self, events: Iterable[Event]) -> list[Receipt | EventServerError]:
        """Send many events in one request, which the server writes at once.

        Sending them again, or some of them, gets the same receipts.

        Args:
            events: packages, their JSON, or what devices signed; media only inside of them. The
                server takes 1000 and 16 MiB at once, unless it is set up otherwise.

        Returns:
            For each event, in order, its receipt or what sending it alone would have raised.

        Raises:
            EventServerError: the request failed as a whole; a ``RefusedError`` with status 413
                where it is too large.
            ValueError: an event is no JSON.
            TypeError: that is one event, and no list of them.
        """
        if isinstance(events, Mapping | bytes | str):
            raise TypeError("that is one event; put it into a list")
        return self._sent([line_of(event) for event in events])

    def submit_many(
        self,
        events: Iterable[Event],
        most_events: int = BATCH_EVENTS,
        most_bytes: int = BATCH_SIZE,
    ) -> Iterator[tuple[Event, Receipt | EventServerError]]:
        """Send any number of events, in as few requests as may be, while the results are read.

        Nothing is sent before the first result is asked for, and no more than a batch ahead.

        Args:
            events: as ``submit_batch`` takes them.
            most_events: in one request.
            most_bytes: of one request; a larger event has one of its own.

        Yields:
            Each event, in order, with its receipt or what sending it alone would have raised.

        Raises:
            EventServerError: a request failed as a whole, and nothing after it was sent.
            ValueError: an event is no JSON.
        """
        for batch in cut(events, most_events, most_bytes):
            found: list[Receipt | EventServerError]
            try:
                found = self._sent([line for _, line in batch])
            except RefusedError as ex:
                if len(batch) > 1 or ex.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                    raise
                found = [ex]  # the event itself is too large, and the next needn't be
            yield from zip((event for event, _ in batch), found, strict=True)

    def _sent(self, lines: list[bytes]) -> list[Receipt | EventServerError]:
        if not lines:
            return []
        content = post_bytes(b"\n".join(lines), MEDIA_TYPE)
        answer = self._transport.call("POST", path_of("events", "batch"), content=content)
        return results_in(answer, len(lines))

    def enroll(self, relay_id: str, token: str, csr_pem: str) -> EnrolledCertificates:
        """Trade a one-time token and a signing request for certificates.

        The token works once. So where the server may have taken it, though no answer or only
        that of a balancer came, this is not repeated, and an admin must make another token.

        Raises:
            AnswerLostError: the token may be used up.
        """
        answer = self._transport.call(
            "POST",
            path_of("relays", relay_id, "enroll"),
            wanted=(HTTPStatus.CREATED,),
            bearer=False,
            content=post_json({"token": token, "csr": csr_pem}),
            repeatable=False,
        )
        return read(EnrolledCertificates, answer.document())

    def renew(self, relay_id: str, csr_pem: str) -> EnrolledCertificates:
        """Get new certificates by the present one."""
        answer = self._transport.call(
            "POST",
            path_of("relays", relay_id, "certificate"),
            wanted=(HTTPStatus.CREATED,),
            content=post_json({"csr": csr_pem}),
        )
        return read(EnrolledCertificates, answer.document())
