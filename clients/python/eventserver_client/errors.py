"""What can go wrong, by what a caller does about it.

::

    EventServerError
    ├── RefusedError            never: the same request is refused again
    ├── RateLimitedError        slower: after ``retry_after`` seconds
    ├── UnavailableError        later: it was tried until the deadline
    │   └── AnswerLostError     it may have been done: look before asking again
    ├── NotYetError             what was waited for hasn't happened
    ├── UntrustedServerError    the server's TLS certificate doesn't hold
    └── ProtocolError           the answer is none that EventServer gives
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class EventServerError(Exception):
    """A call that didn't succeed."""


class RefusedError(EventServerError):
    """The server answered, and the same request would be answered so again.

    Attributes:
        status: the HTTP status.
        code: the stable word for the reason; empty where something between answered.
        detail: the reason in words.
        request_id: under which the server logged it.
        errors: what is at fault in a package, each with ``pointer`` and ``detail``.
        document: the problem details (RFC 9457) as they came.
    """

    def __init__(
        self,
        status: int,
        code: str = "",
        detail: str = "",
        request_id: str = "",
        errors: Sequence[Mapping[str, Any]] = (),
        document: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" if code else f"{status}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.errors = tuple(errors)
        self.document = dict(document or {})


class RateLimitedError(EventServerError):
    """Too many calls (429), and waiting for the next would pass the deadline.

    Attributes:
        retry_after: seconds until the server would take another; None where it didn't say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnavailableError(EventServerError):
    """The server can't be reached, or can't take it now (503, 408, 504), as long as was tried.

    Attributes:
        retry_after: seconds after which the server asked to be tried again; None where it
            didn't.
        status: the HTTP status; None where there was no answer.
    """

    def __init__(
        self, message: str, retry_after: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class AnswerLostError(UnavailableError):
    """The request may have been done: its answer was lost, and it can't safely be repeated."""


class NotYetError(EventServerError):
    """What was waited for hasn't happened in time, or can't happen any more."""


class UntrustedServerError(EventServerError):
    """The server's TLS certificate doesn't hold, and trying again won't change that."""


class ProtocolError(EventServerError):
    """The answer is none that EventServer gives: too large, a redirect, or a member missing."""
