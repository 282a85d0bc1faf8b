"""Sending many events in at once."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import Any

import falcon

from eventserver_core.backends.auth import Credentials
from eventserver_core.domain.canonical import count_values, parse_ijson
from eventserver_core.domain.package import EventPackage
from eventserver_core.errors import (
    BackendContractError,
    BackendUnavailableError,
    ContentTooLargeError,
    EventServerError,
    InvalidInputError,
    UnsupportedMediaError,
)
from eventserver_core.http.access import BATCH_SENDERS, Resource, caller, charge
from eventserver_core.http.body import Body
from eventserver_core.http.errors import RETRY_AFTER_SECONDS, problem_of
from eventserver_core.http.middleware.tag_request import tag
from eventserver_core.http.openapi.answers.events import BatchAnswer, SignedEvent
from eventserver_core.http.openapi.operation import NDJSON, Answer, Operation, RequestBody
from eventserver_core.http.resources.events import (
    EXAMPLES,
    SIGNED,
    is_slow,
    receipt_document,
    signed_package_in,
)
from eventserver_core.services.identity import Identities
from eventserver_core.services.ingest import IngestEvents
from eventserver_core.services.submission import Outcome, Submission

MAX_VALUES = 400_000
"""How many members and elements the lines may have together, as ``canonical`` counts them."""

MAX_FAULTS = 5
"""How many faults of a line are told: a small batch could otherwise have an answer of any size."""

_READ_SIZE = 64 * 1024
_SPACE = b" \t\r"


class EventBatchesResource(Resource):
    """``POST /api/v1/events/batch``: many events, one a line, by one write."""

    access = {"POST": BATCH_SENDERS}
    describes = {
        "POST": Operation(
            id="sendEventBatch",
            summary="Send many events, one a line",
            tag="events",
            details="Each line is what the body of a single event would be, and its result what "
            "that would have been answered; one bad line never sinks the others. The same batch "
            "again, or a part of it, gives the first answers. Empty lines are skipped. 503 is for "
            "the batch as a whole: send it again.",
            body=RequestBody({NDJSON: SignedEvent | EventPackage}, EXAMPLES),
            answers={200: Answer("What became of each line, in order.", BatchAnswer)},
        )
    }

    def __init__(
        self,
        ingest: IngestEvents,
        identities: Identities,
        *,
        max_events: int,
        max_size: int,
        max_json_size: int,
        request_timeout: float,
    ) -> None:
        self._ingest = ingest
        self._identities = identities
        self._max_events = max_events
        self._max_size = max_size
        self._max_json_size = max_json_size
        self._request_timeout = request_timeout

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        submitter = caller(req)
        try:
            lines = list(self._documents(req))
        except EventServerError:
            charge(req, 1)  # what can't be read is counted, too
            raise
        charge(req, max(1, len(lines)))
        if not lines:
            raise InvalidInputError("the batch has no events; send one a line")
        if is_slow(req):
            self._identities.require_standing(submitter)
        outcomes = self._ingest.ingest_batch(
            [self._checked(document, submitter) for _, document in lines]
        )
        request_id = tag(req, resp)
        resp.media = {
            "results": [
                {"line": number, **_result(outcome, request_id)}
                for (number, _), outcome in zip(lines, outcomes, strict=True)
            ]
        }
        if any(isinstance(outcome, BackendUnavailableError) for outcome in outcomes):
            resp.set_header("Retry-After", str(RETRY_AFTER_SECONDS))

    def _documents(self, req: falcon.Request) -> Iterator[tuple[int, Any]]:
        """Read a batch as it comes; yield each line's number and its JSON, or why it has none."""
        if (req.content_type or "").partition(";")[0].strip().lower() != NDJSON:
            raise UnsupportedMediaError(f"send {NDJSON}")
        values = 0
        for number, line in enumerate(_lines(Body(req, self._max_size, self._request_timeout)), 1):
            values += count_values(line)
            document = self._parsed(line) if line.strip(_SPACE) else None
            values += _signed_values(document)
            if number > self._max_events:
                raise ContentTooLargeError(
                    f"more than the {self._max_events} lines taken in one batch; send several"
                )
            if values > MAX_VALUES:
                raise ContentTooLargeError(
                    f"more than {MAX_VALUES} members and elements in one batch; send several"
                )
            if line.strip(_SPACE):
                yield number, document

    def _parsed(self, line: bytes) -> Any:
        if len(line) > self._max_json_size:
            return ContentTooLargeError(f"a line is larger than {self._max_json_size} bytes taken")
        try:
            return parse_ijson(line)
        except EventServerError as ex:
            return _without_burden(ex)

    def _checked(self, document: Any, submitter: Credentials) -> Submission | Exception:
        if isinstance(document, Exception):
            return document
        try:
            jws = signed_package_in(document)
            if jws is None:
                return self._ingest.check_package(document, submitter)
            signed = self._identities.check_signed_package(jws, submitter)
            return self._ingest.check_signed(jws, signed, submitter)
        except BackendContractError as ex:
            return ex  # what this line does to a plugin, the others need not
        except BackendUnavailableError:
            raise  # who signed can't be looked up now: no line fares better
        except EventServerError as ex:
            return _without_burden(ex)
        except Exception as ex:  # noqa: BLE001 - one line must not sink the others
            return ex


def _lines(body: Body) -> Iterator[bytes]:
    """Return the lines of a body as they come, without their line feeds."""
    rest = bytearray()
    while chunk := body.read(_READ_SIZE):
        head, *lines = chunk.split(b"\n")
        rest += head
        for line in lines:
            yield bytes(rest)
            rest = bytearray(line)
    if rest:
        yield bytes(rest)


def _signed_values(document: Any) -> int:
    """Return how many members and elements a signed package has at most, in its base64."""
    jws = document.get(SIGNED) if isinstance(document, dict) else None
    claims = jws.split(".", 2)[1] if isinstance(jws, str) and jws.count(".") == 2 else ""
    try:
        return count_values(urlsafe_b64decode(claims + "=="))
    except ValueError:
        return 0  # whatever it is, it is no JWS


def _without_burden(ex: EventServerError) -> EventServerError:
    """Return an error with as few faults as are told.

    Its traceback goes, which would keep the line and all that was made of it until the answer.
    """
    if isinstance(ex, InvalidInputError):
        del ex.faults[MAX_FAULTS:]
    ex.__cause__ = ex.__context__ = None
    return ex.with_traceback(None)


def _result(outcome: Outcome, request_id: str) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        problem = problem_of(outcome, request_id)
        # it was logged; what led to it would keep the whole batch
        outcome.with_traceback(None).__cause__ = outcome.__context__ = None
        return {"status": problem["status"], "problem": problem}
    return {"status": 201 if outcome.created else 200, "receipt": receipt_document(outcome)}
