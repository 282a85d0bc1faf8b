"""A method that is promised to come back is called where its caller is; the rest stays guarded."""

from __future__ import annotations

import threading
import time

import pytest
import structlog

from eventserver_core.errors import BackendContractError, BackendUnavailableError

from .odd_plugins import guard, raising


def test_it_is_called_in_its_callers_thread_and_the_others_are_not() -> None:
    guarded = guard(
        prompt_methods=lambda: ["publish"], publish=threading.get_ident, find=threading.get_ident
    )
    assert guarded.publish() == threading.get_ident()
    assert guarded.find() != threading.get_ident()


@pytest.mark.parametrize("error", [ValueError(), SystemExit(1)], ids=lambda e: type(e).__name__)
def test_what_it_raises_still_names_the_plugin(error: BaseException) -> None:
    guarded = guard(prompt_methods=lambda: ["put"], put=raising(error))
    with pytest.raises(BackendContractError, match=f"put raised {type(error).__name__}"):
        guarded.put()


def test_one_that_breaks_the_promise_is_reported_as_one_that_did_not_answer() -> None:
    guarded = guard(prompt_methods=lambda: ["stat"], stat=lambda: time.sleep(0.01), time_limit=1e-6)
    with pytest.raises(BackendUnavailableError, match="stat did not answer within"):
        guarded.stat()


def test_what_it_binds_stays_with_it() -> None:
    def publish() -> None:
        structlog.contextvars.bind_contextvars(request_id="the plugin's own")

    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        guard(prompt_methods=lambda: ["publish"], publish=publish).publish()
        assert structlog.contextvars.get_contextvars()["request_id"] == "r-1"
