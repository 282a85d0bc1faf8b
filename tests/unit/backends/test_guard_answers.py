"""Answers of the wrong type, and streams that break off in the middle."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from eventserver_core.backends.storage import StoredObject
from eventserver_core.errors import (
    BackendContractError,
    BackendUnavailableError,
    ObjectNotFoundError,
)

from .odd_plugins import KEY, PATIENCE, STORED, answering, guard, raising


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("role", "method", "answer"),
        [
            ("auth", "authenticate", None),
            ("auth", "authenticate", "relay-1"),
            ("auth", "issue", "token"),
            ("auth", "public_keys", ["key"]),
            ("auth", "make_challenge", {}),
            ("auth", "check_solution", True),
            ("auth", "identify_device", "device:1"),
            ("auth", "identify_device", ("device:1",)),
            ("auth", "identify_device", ("device:1", "key")),
            ("auth", "identify_device", (1, {})),
            ("auth", "identify_device", None),
            ("auth", "check_signed_package", b"{}"),
            ("ratelimit", "hit", True),
            ("storage", "put", None),
            ("storage", "stat", KEY),
            ("chain", "prepare", b"raw"),
            ("chain", "find", {}),
            ("provisioning", "launch", None),
            ("provisioning", "describe", "i-1"),
        ],
    )
    def test_an_answer_of_another_type_is_refused(
        self, role: str, method: str, answer: object
    ) -> None:
        guarded = guard(role, **{method: answering(answer)})
        with pytest.raises(BackendContractError) as caught:
            getattr(guarded, method)("an argument")
        assert str(caught.value).startswith(f"{role}=odd: {method} answered with ")

    @pytest.mark.parametrize(
        ("role", "method", "answer"),
        [
            ("storage", "stat", None),
            ("chain", "find", None),
            ("provisioning", "describe", None),
            ("auth", "identify_device", ("device:1", {"kty": "EC"})),
            ("auth", "public_keys", {"keys": []}),
            ("storage", "put", STORED),
        ],
    )
    def test_an_answer_that_the_protocol_allows_is_passed_on(
        self, role: str, method: str, answer: object
    ) -> None:
        assert getattr(guard(role, **{method: answering(answer)}), method)() is answer

    def test_arguments_arrive_as_they_were_given(self) -> None:
        seen: list[object] = []

        def put(*args: object, **kwargs: object) -> StoredObject:
            seen.extend([args, kwargs])
            return STORED

        guard(put=put).put(KEY, content=b"x")
        assert seen == [(KEY,), {"content": b"x"}]

    def test_a_method_that_is_not_there_is_not_there(self) -> None:
        guarded = guard(put=answering(STORED))
        assert not hasattr(guarded, "issue")
        with pytest.raises(AttributeError, match="issue"):
            guarded.issue()


class TestReading:
    def test_what_is_read_arrives(self) -> None:
        guarded = guard(read=lambda key, offset=0: iter([b"a", b"b", key.encode(), bytes(offset)]))
        assert list(guarded.read("k", 1)) == [b"a", b"b", b"k", b"\0"]

    def test_an_object_is_looked_up_before_the_first_chunk(self) -> None:
        guarded = guard(read=raising(ObjectNotFoundError("none")))
        with pytest.raises(ObjectNotFoundError):
            guarded.read(KEY)

    def test_a_failure_between_two_chunks_is_told(self) -> None:
        def read(_key: str) -> Iterator[bytes]:
            yield b"first"
            raise ConnectionResetError("gone")

        chunks = guard(read=read).read(KEY)
        assert next(chunks) == b"first"
        with pytest.raises(BackendContractError, match="read raised ConnectionResetError"):
            next(chunks)

    def test_our_own_error_between_two_chunks_passes_through(self) -> None:
        def read(_key: str) -> Iterator[bytes]:
            yield b"first"
            raise BackendUnavailableError("storage=odd", "cut short")

        chunks = guard(read=read).read(KEY)
        assert next(chunks) == b"first"
        with pytest.raises(BackendUnavailableError, match="cut short"):
            next(chunks)

    def test_a_chunk_that_never_comes_is_given_up(self, released: threading.Event) -> None:
        def read(_key: str) -> Iterator[bytes]:
            yield b"first"
            released.wait()

        chunks = guard(time_limit=2, read=read).read(KEY)
        assert next(chunks) == b"first"
        with pytest.raises(BackendUnavailableError, match="read did not answer within"):
            next(chunks)

    @pytest.mark.parametrize(
        ("method", "answer", "said"),
        [
            ("read", 5, "read raised TypeError"),
            ("read", ["text"], "read answered with str"),
            ("read", "text", "read answered with str"),
            ("list", [KEY], "list answered with str"),
            ("list", None, "list raised TypeError"),
        ],
    )
    def test_what_is_no_stream_of_the_right_things_is_refused(
        self, method: str, answer: object, said: str
    ) -> None:
        guarded = guard(**{method: answering(answer)})
        with pytest.raises(BackendContractError, match=said):
            list(getattr(guarded, method)(KEY))

    def test_reading_can_be_broken_off(self) -> None:
        closed = threading.Event()

        def read(_key: str) -> Iterator[bytes]:
            try:
                yield b"first"
                yield b"second"
            finally:
                closed.set()

        chunks = guard(read=read).read(KEY)
        assert next(chunks) == b"first"
        del chunks
        assert closed.wait(PATIENCE)
