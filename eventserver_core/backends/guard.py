"""Keeps a plugin's faults from becoming the core's.

A backend's call that raises something of its own, hangs, or answers with the wrong type becomes a
``BackendUnavailableError`` that names the plugin: the caller is told "later", the log says who, and
every call is counted and timed.
"""

from __future__ import annotations

import contextvars
import inspect
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from eventserver_core.backends import tracing
from eventserver_core.backends.auth import (
    Challenge,
    Credentials,
    IssuedCertificate,
    SignedPackage,
    SolvedChallenge,
)
from eventserver_core.backends.chain import (
    AccountStatus,
    AnchorReceipt,
    AnchorTransaction,
    DeployedContract,
)
from eventserver_core.backends.promptness import AnswersPromptly
from eventserver_core.backends.provisioning import Machine
from eventserver_core.backends.ratelimit import Dependency, RateDecision
from eventserver_core.backends.storage import StoredObject
from eventserver_core.errors import (
    BackendContractError,
    BackendUnavailableError,
    ConfigurationError,
    EventServerError,
)
from eventserver_core.metrics.definitions import BACKEND_CALLS, BACKEND_SECONDS

_MAX_THREADS = 64
_CHECK_SECONDS = 2.0
"""A backend that takes longer to say that it is well isn't."""

_NONE = type(None)
_ANSWERS: dict[tuple[str, str], tuple[type, ...]] = {
    ("auth", "authenticate"): (Credentials,),
    ("auth", "issue"): (IssuedCertificate,),
    ("auth", "make_challenge"): (Challenge,),
    ("auth", "check_solution"): (SolvedChallenge,),
    ("auth", "public_keys"): (Mapping,),
    ("auth", "check_signed_package"): (SignedPackage,),
    ("ratelimit", "hit"): (RateDecision,),
    ("ratelimit", "dependency"): (Dependency,),
    ("storage", "put"): (StoredObject,),
    ("storage", "stat"): (StoredObject, _NONE),
    ("storage", "retained_until"): (datetime, _NONE),
    ("chain", "prepare"): (AnchorTransaction,),
    ("chain", "find"): (AnchorReceipt, _NONE),
    ("chain", "account_status"): (AccountStatus,),
    ("chain", "deploy_contract"): (DeployedContract,),
    ("provisioning", "launch"): (Machine,),
    ("provisioning", "describe"): (Machine, _NONE),
    ("provisioning", "launched"): (Sequence,),
}
_ITEMS: dict[tuple[str, str], type] = {
    ("storage", "read"): bytes,
    ("storage", "list"): StoredObject,
}


class GuardedBackend:
    """Stands in for a backend, with the same methods.

    Args:
        role: the backend's role.
        name: the plugin's name.
        backend: the plugin's own object.
        time_limit: seconds that one call may take.
    """

    def __init__(self, role: str, name: str, backend: Any, time_limit: float) -> None:
        self._role = role
        self._name = name
        self._label = f"{role}={name}"
        self._backend = backend
        self._time_limit = time_limit
        self._threads = _DaemonThreads(self._label)
        self._prompt = self._prompt_methods()
        # isinstance() with an ability's Protocol asks __getattr__ in Python 3.11, and looks for
        # what is really there from 3.12 on
        for method in dir(backend):
            if not method.startswith("_") and callable(
                inspect.getattr_static(backend, method, None)
            ):
                self.__dict__[method] = self._guarded(method)

    def _prompt_methods(self) -> frozenset[str]:
        if not isinstance(self._backend, AnswersPromptly):
            return frozenset()
        named = list(self._backend.prompt_methods())
        if unknown := [name for name in named if not callable(getattr(self._backend, name, None))]:
            raise ConfigurationError(
                f"plugins.{self._role}: {self._name}.prompt_methods() names what it does not have: "
                f"{', '.join(unknown)}"
            )
        return frozenset(named)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return self._guarded(method)

    def _guarded(self, method: str) -> Callable[..., Any]:
        function = getattr(self._backend, method)
        expected = _ANSWERS.get((self._role, method), (object,))

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = self._call(method, lambda: function(*args, **kwargs), *expected)
            if (self._role, method) == ("storage", "upload"):
                return _GuardedUpload(answer, self._call)
            if (self._role, method) in _ITEMS:
                return self._items(method, answer, _ITEMS[self._role, method])
            return answer

        return call

    def _items(self, method: str, items: Any, expected: type) -> Iterator[Any]:
        iterator = self._call(method, lambda: iter(items), object, step=f"{method}.begin")
        end = _End()
        step = f"{method}.next"
        while True:
            item = self._call(method, lambda: next(iterator, end), expected, _End, step=step)
            if item is end:
                return
            yield item

    def _call(
        self, method: str, function: Callable[[], Any], *expected: type, step: str | None = None
    ) -> Any:
        """Call a backend's method, or a step of one, and count it by how it ended."""
        operation = step or method
        began = time.perf_counter()
        outcome = "unavailable"
        try:
            with tracing.recorded(f"{self._role} {operation}", {"eventserver.plugin": self._name}):
                answer = self._answer(method, function, *(expected or (object,)))
            outcome = "answered"
        except BackendContractError:
            outcome = "contract_broken"
            raise
        except _TimedOutError:
            outcome = "timed_out"
            raise
        except BackendUnavailableError:
            raise
        except EventServerError:
            outcome = "refused"
            raise
        else:
            return answer
        finally:
            seconds = time.perf_counter() - began
            BACKEND_CALLS.labels(self._role, self._name, operation, outcome).inc()
            BACKEND_SECONDS.labels(self._role, self._name, operation).observe(seconds)

    def _answer(self, method: str, function: Callable[[], Any], *expected: type) -> Any:
        limit = min(self._time_limit, _CHECK_SECONDS) if method == "check" else self._time_limit
        wait = _here if method in self._prompt else self._threads.outcome
        try:
            answer, raised = wait(function, limit)
        except TimeoutError as ex:
            raise _TimedOutError(self._label, f"{method} did not answer within {limit:g} s") from ex
        if raised is None:
            self._require(method, answer, *expected)
            return answer
        if isinstance(raised, EventServerError):
            try:
                raise raised
            finally:
                del raised  # a frame and an error that know each other outlive the request
        # whatever else a plugin raises, SystemExit too, the request must get an answer
        detail = f"{method} raised {type(raised).__name__}"
        raise BackendContractError(self._label, detail) from raised

    def _require(self, method: str, answer: object, *expected: type) -> None:
        if not isinstance(answer, expected):
            detail = f"{method} answered with {type(answer).__name__}"
            raise BackendContractError(self._label, detail)
        if (self._role, method) == ("auth", "identify_device"):
            self._require_identity(method, answer)

    def _require_identity(self, method: str, answer: object) -> None:
        match answer:
            case (str(), Mapping()):
                return
        raise BackendContractError(self._label, f"{method} answered with no subject and key")


class _TimedOutError(BackendUnavailableError):
    """A backend did not answer in time."""


class _End:
    """What follows the last item."""


class _GuardedUpload:
    """An upload whose every step is guarded."""

    def __init__(self, upload: Any, call: Callable[..., Any]) -> None:
        self._context = upload
        self._upload = upload
        self._call = call

    def __enter__(self) -> _GuardedUpload:
        # what is entered may be another object, as with contextlib.contextmanager
        self._upload = self._call("upload", lambda: self._context.__enter__(), step="upload.begin")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._call("upload", lambda: self._context.__exit__(*exc_info), step="upload.end")

    def write(self, chunk: bytes) -> None:
        self._call("upload.write", lambda: self._upload.write(chunk))

    def commit(self, key: str) -> StoredObject:
        stored: StoredObject = self._call(
            "upload.commit", lambda: self._upload.commit(key), StoredObject
        )
        return stored


_Outcome = tuple[Any, BaseException | None]
"""What a call answered, or what it raised."""


def _here(function: Callable[[], Any], limit: float) -> _Outcome:
    """Make a call in this thread, which nobody can give up.

    Raises:
        TimeoutError: it took longer, against its promise.
    """
    deadline = time.monotonic() + limit
    try:
        outcome = contextvars.copy_context().run(function), None
    except BaseException as ex:  # noqa: BLE001 - it belongs to whoever asked for the outcome
        if time.monotonic() <= deadline:
            return None, ex
    else:
        if time.monotonic() <= deadline:
            return outcome
    raise TimeoutError


class _DaemonThreads:
    """Threads that are reused, and that a hung call can't keep the process alive with.

    ``concurrent.futures`` joins its threads when the interpreter ends, so one call that never
    returns would hold a stopping server up.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0
        self._lock = threading.Lock()

    def outcome(self, function: Callable[[], Any], limit: float) -> _Outcome:
        """Make a call in another thread, and wait for it.

        Raises:
            TimeoutError: it takes longer; if it has not begun yet it never will.
        """
        future = self._run(function)
        try:
            raised = future.exception(limit)
        except TimeoutError:
            future.cancel()
            raise
        return (future.result(), None) if raised is None else (None, raised)

    def _run(self, function: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        self._jobs.put((future, lambda: context.run(function)))
        if not self._idle.acquire(blocking=False):
            with self._lock:
                if self._count < _MAX_THREADS:
                    self._count += 1
                    threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            future, function = self._jobs.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as ex:  # noqa: BLE001 - it belongs to whoever waits for the result
                    future.set_exception(ex)
            del future, function  # what it held is not to wait here for the next job
            self._idle.release()
