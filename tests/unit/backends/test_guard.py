"""Whatever a plugin does, its caller gets an answer or an error that names the plugin."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from inspect import getattr_static
from typing import Any

import pytest
import structlog

from eventserver_core.backends import guard as guard_module
from eventserver_core.backends.auth import (
    AuthBackend,
    ChallengesDevices,
    ChecksSignedPackages,
    IssuesCertificates,
)
from eventserver_core.backends.guard import GuardedBackend
from eventserver_core.backends.ratelimit import RateLimiter
from eventserver_core.backends.storage import StorageBackend, StoredObject
from eventserver_core.errors import (
    BackendContractError,
    BackendUnavailableError,
    EventServerError,
    InvalidInputError,
    ObjectNotFoundError,
)
from eventserver_core.log import get_logger

from .odd_plugins import KEY, PATIENCE, STORED, answering, guard, raising


class TestRaising:
    @pytest.mark.parametrize(
        "error",
        [
            ValueError("secret detail"),
            KeyError("x"),
            OSError(5, "I/O error"),
            TimeoutError("the plugin's own"),
            StopIteration(),
            RecursionError(),
            MemoryError(),
            SystemExit(1),
            KeyboardInterrupt(),
            GeneratorExit(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_anything_raised_becomes_an_error_that_names_the_plugin(
        self, error: BaseException
    ) -> None:
        guarded = guard(put=raising(error))
        with pytest.raises(BackendContractError) as caught:
            guarded.put(KEY, b"x")
        assert str(caught.value) == f"storage=odd: put raised {type(error).__name__}"
        assert caught.value.backend == "storage=odd"
        assert caught.value.__cause__ is error
        assert isinstance(caught.value, BackendUnavailableError)

    @pytest.mark.parametrize(
        "error",
        [
            ObjectNotFoundError("no such object"),
            InvalidInputError("no such key"),
            BackendUnavailableError("storage=odd", "down"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_our_own_errors_pass_through(self, error: EventServerError) -> None:
        guarded = guard(put=raising(error))
        with pytest.raises(type(error)) as caught:
            guarded.put(KEY, b"x")
        assert caught.value is error

    def test_the_next_call_is_answered_as_if_nothing_had_been(self) -> None:
        answers: Iterator[Any] = iter([ValueError(), SystemExit(1), None])

        def put(_key: str, _content: bytes) -> StoredObject:
            error = next(answers)
            if error is not None:
                raise error
            return STORED

        guarded = guard(put=put)
        for _ in range(2):
            with pytest.raises(BackendContractError):
                guarded.put(KEY, b"x")
        assert guarded.put(KEY, b"x") is STORED


class TestHanging:
    def test_a_call_that_hangs_is_given_up(self, released: threading.Event) -> None:
        guarded = guard(time_limit=0.02, check=released.wait)
        with pytest.raises(BackendUnavailableError) as caught:
            guarded.check()
        assert str(caught.value) == "storage=odd: check did not answer within 0.02 s"
        assert not isinstance(caught.value, BackendContractError)

    def test_a_check_is_given_up_sooner_than_other_calls(
        self, released: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guard_module, "_CHECK_SECONDS", 0.02)
        guarded = guard(check=released.wait, stat=answering(STORED))
        with pytest.raises(BackendUnavailableError, match="check did not answer within"):
            guarded.check()
        assert guarded.stat(KEY) is STORED

    def test_others_are_served_while_one_hangs(self, released: threading.Event) -> None:
        guarded = guard(stat=answering(STORED), check=released.wait)
        with ThreadPoolExecutor() as callers:
            hanging = [callers.submit(guarded.check) for _ in range(10)]
            assert guarded.stat(KEY) is STORED
            assert not any(future.done() for future in hanging)
            released.set()

    def test_its_threads_do_not_keep_the_process_alive(self, released: threading.Event) -> None:
        guarded = guard(time_limit=0.02, check=released.wait)
        with pytest.raises(BackendUnavailableError):
            guarded.check()
        threads = [thread for thread in threading.enumerate() if thread.name == "storage=odd"]
        assert threads
        assert all(thread.daemon for thread in threads)

    def test_a_process_with_a_hanging_call_ends(self) -> None:
        source = """
import threading
from eventserver_core.backends.guard import GuardedBackend
from eventserver_core.errors import BackendUnavailableError

class Plugin:
    def check(self):
        threading.Event().wait()

try:
    GuardedBackend("storage", "odd", Plugin(), 0.02).check()
except BackendUnavailableError:
    print("given up")
"""
        done = subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, timeout=PATIENCE
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "given up\n", "")

    def test_a_call_that_was_given_up_in_the_queue_is_never_made(
        self, released: threading.Event
    ) -> None:
        made: list[str] = []

        def stat(key: str) -> StoredObject:
            made.append(key)
            return STORED

        guarded = guard(time_limit=0.5, check=released.wait, stat=stat)

        def given_up(call: Callable[[], Any]) -> bool:
            try:
                call()
            except BackendUnavailableError:
                return True
            return False

        with ThreadPoolExecutor(64) as callers:
            # as many as there are threads: whatever comes next has to wait for one of them
            hanging = [callers.submit(given_up, guarded.check) for _ in range(64)]
            assert all(future.result(PATIENCE) for future in hanging)
        assert given_up(lambda: guarded.stat("too late"))
        released.set()
        deadline = time.monotonic() + PATIENCE
        while given_up(lambda: guarded.stat("in time")):
            assert time.monotonic() < deadline
        assert "in time" in made
        assert "too late" not in made


class TestContext:
    def test_the_request_id_is_in_the_plugins_log_lines(
        self, json_log: Callable[[], list[dict[str, Any]]]
    ) -> None:
        def check() -> None:
            get_logger().info("bucket_checked")

        with structlog.contextvars.bound_contextvars(request_id="r-1"):
            guard(check=check).check()
        (record,) = json_log()
        assert (record["event"], record["request_id"]) == ("bucket_checked", "r-1")

    def test_what_a_plugin_binds_stays_with_it(
        self, json_log: Callable[[], list[dict[str, Any]]]
    ) -> None:
        def check() -> None:
            structlog.contextvars.bind_contextvars(request_id="the plugin's own")

        with structlog.contextvars.bound_contextvars(request_id="r-1"):
            guarded = guard(check=check)
            guarded.check()
            get_logger().info("went_on")
        assert json_log()[-1]["request_id"] == "r-1"


class Doorman:
    """An auth backend with one ability."""

    def authenticate(self, token: str) -> Any: ...

    def check(self) -> None: ...

    def issue(
        self, subject: str, role: object, lifetime: timedelta, public_key: Any = None
    ) -> Any: ...

    def public_keys(self) -> Mapping[str, Any]: ...


class TestAbilities:
    def test_a_guarded_backend_has_the_abilities_of_its_backend_and_no_others(self) -> None:
        guarded = GuardedBackend("auth", "door", Doorman(), PATIENCE)
        assert isinstance(guarded, AuthBackend)
        assert isinstance(guarded, IssuesCertificates)
        assert not isinstance(guarded, ChallengesDevices)
        assert not isinstance(guarded, ChecksSignedPackages)
        assert not isinstance(guarded, StorageBackend | RateLimiter)

    def test_an_ability_is_seen_without_asking_for_it(self) -> None:
        # isinstance() does so from Python 3.12 on
        guarded = GuardedBackend("auth", "door", Doorman(), PATIENCE)
        assert callable(getattr_static(guarded, "issue"))
        with pytest.raises(AttributeError):
            getattr_static(guarded, "make_challenge")


class TestManyAtOnce:
    def test_every_caller_gets_its_own_answer(self) -> None:
        guarded = guard(stat=lambda key: StoredObject(key, len(key), "here"))
        keys = [f"{number}" for number in range(500)]
        with ThreadPoolExecutor(100) as callers:
            answers = list(callers.map(guarded.stat, keys))
        assert [answer.key for answer in answers] == keys

    def test_there_are_never_more_than_64_threads(self) -> None:
        busy, most, lock = 0, 0, threading.Lock()
        full = threading.Event()

        def publish() -> None:
            nonlocal busy, most
            with lock:
                busy += 1
                most = max(most, busy)
                if busy == 64:
                    full.set()
            full.wait(PATIENCE)
            with lock:
                busy -= 1

        guarded = guard(publish=publish)
        with ThreadPoolExecutor(200) as callers:
            list(callers.map(lambda _: guarded.publish(), range(200)))
        assert most == 64

    def test_threads_are_used_again(self) -> None:
        names: set[int | None] = set()
        guarded = guard(publish=lambda: names.add(threading.get_native_id()))
        for _ in range(500):
            guarded.publish()
        assert len(names) <= 64

    def test_what_a_call_held_is_let_go_when_it_ends(self) -> None:
        class Content:
            """What a plugin was given; large, as a rule."""

        content, gone = Content(), threading.Event()
        weakref.finalize(content, gone.set)
        guard(put=answering(STORED)).put(KEY, content)
        del content
        assert gone.wait(PATIENCE)
