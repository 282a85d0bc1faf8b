"""Faults that are not the caller's: a plugin's, the configuration's, and our own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import falcon.testing
import pytest
from structlog.testing import capture_logs

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    CHALLENGE,
    EVENTS,
    SOLUTION,
    Answer,
    Client,
    Headers,
    assert_problem,
    bearer,
    certificate,
    post_event,
    post_signed,
    replace_backend,
    subject_of,
)


@contextmanager
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def raises(_self: object = None, *_args: object, **_kwargs: object) -> Any:
    raise RuntimeError("in /srv/secret/plugin.py: token=s3cr3t-t0ken")


def refuses(*_args: object, **_kwargs: object) -> Any:
    raise BackendUnavailableError("storage=faulty", "disk full at /srv/secret/disk")


def answers_wrongly(*_args: object, **_kwargs: object) -> Any:
    return {"ok": True}


class TestPluginsThatFail:
    """A plugin's fault is a 503 that says "later", and the log says whose it was."""

    def hanging(self, released: threading.Event) -> Callable[..., Any]:
        def hang(*_args: object, **_kwargs: object) -> None:
            released.wait(60)

        return hang

    def assert_later(self, answer: Answer, lines: list[Any], role: str, said: str) -> None:
        problem = assert_problem(answer, 503, "backend_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert problem["detail"].startswith(f"{role} is not available now")
        assert "faulty" not in answer.text
        assert "secret" not in answer.text
        (line,) = (line for line in lines if line["event"] == "backend_unavailable")
        assert line["log_level"] == "error"
        assert line["error"].startswith(f"{role}=faulty: ")
        assert said in line["error"]

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (raises, "put raised RuntimeError"),
            (refuses, "disk full"),
            (answers_wrongly, "put answered with"),
            (None, "put did not answer within 0.2 s"),
        ],
        ids=["raises", "refuses", "wrong type", "hangs"],
    )
    def test_storage_that_fails_is_told_from_a_bad_request(
        self, services: Services, fault: Callable[..., Any] | None, said: str
    ) -> None:
        released = threading.Event()
        replace_backend(services, "storage", 0.2, put=fault or self.hanging(released))
        client = falcon.testing.TestClient(services.application())
        relay = bearer(certificate(services, Role.RELAY, "relay-1"))
        with logged() as lines:
            answer = post_event(client, relay, make_package())
        released.set()
        self.assert_later(answer, lines, "storage", said)
        assert services.batches.backlog().waiting == 0

    @pytest.mark.parametrize(
        ("role", "method", "call"),
        [
            ("auth", "authenticate", "event"),
            ("auth", "make_challenge", "challenge"),
            ("auth", "check_solution", "solution"),
            ("auth", "identify_device", "solution"),
            ("auth", "issue", "solution"),
            ("auth", "check_signed_package", "signed"),
            ("ratelimit", "hit", "event"),
            ("ratelimit", "hit", "challenge"),
            ("storage", "upload", "form"),
        ],
    )
    @pytest.mark.parametrize("fault", [raises, answers_wrongly], ids=["raises", "wrong type"])
    def test_every_backend_that_a_request_needs(
        self,
        services: Services,
        role: str,
        method: str,
        call: str,
        fault: Callable[..., Any],
        device: Device,
    ) -> None:
        token = certificate(services, Role.DEVICE, subject_of(device), device.public_key)
        solved = device.solve(self.challenge(services))
        replace_backend(services, role, 5, **{method: fault})
        services.__dict__.pop("identities", None)
        client = falcon.testing.TestClient(services.application())
        headers = bearer(token)
        form = b'--B\r\nContent-Disposition: form-data; name="media"\r\n\r\nx\r\n--B--'
        multipart = {"Content-Type": "multipart/form-data; boundary=B"}
        calls: dict[str, Callable[[], Answer]] = {
            "event": lambda: post_event(client, headers, make_package()),
            "signed": lambda: post_signed(client, headers, device.sign(make_package())),
            "form": lambda: client.simulate_post(EVENTS, body=form, headers=headers | multipart),
            "challenge": lambda: client.simulate_post(CHALLENGE),
            "solution": lambda: client.simulate_post(SOLUTION, json=solved),
        }
        with logged() as lines:
            answer = calls[call]()
        said = f"{method} raised" if fault is raises else f"{method} answered with"
        if (method, fault) == ("upload", answers_wrongly):
            said = "upload raised"  # a dict is no context manager
        self.assert_later(answer, lines, role, said)

    @staticmethod
    def challenge(services: Services) -> dict[str, Any]:
        client = falcon.testing.TestClient(services.application())
        return client.simulate_post(CHALLENGE).json  # type: ignore[no-any-return]


class TestWhatNeverStarts:
    def test_a_misspelt_setting_is_named(self, make_services: Callable[..., Services]) -> None:
        with pytest.raises(ConfigurationError, match="EVENTSERVER__SERVER__PROT"):
            make_services(EVENTSERVER__SERVER__PROT="3000")

    @pytest.mark.parametrize("secret", ["", "hunter2", "changeme" * 8, "a" * 64])
    def test_a_weak_secret_in_production_is_named_and_not_shown(
        self, make_services: Callable[..., Services], secret: str
    ) -> None:
        services = make_services(EVENTSERVER_ENVIRONMENT="production", JWT_SECRET=secret)
        with pytest.raises(ConfigurationError) as caught:
            services.application()
        assert "auth.jwt_secret" in str(caught.value)
        assert not secret or secret not in str(caught.value)

    def test_a_proxy_that_is_no_address_is_named(
        self, make_services: Callable[..., Services]
    ) -> None:
        with pytest.raises(ConfigurationError, match=r"server\.trusted_proxies"):
            make_services(EVENTSERVER__SERVER__TRUSTED_PROXIES="10.0.0.1, proxy.example")

    def test_a_plugin_that_is_not_there_is_named(
        self, make_services: Callable[..., Services]
    ) -> None:
        with pytest.raises(ConfigurationError, match=r"plugins\.storage = s4"):
            make_services(EVENTSERVER__PLUGINS__STORAGE="s4")


class TestFaultsOfOurs:
    @pytest.mark.parametrize("raised", [RuntimeError, KeyError, AssertionError, RecursionError])
    def test_500_tells_nothing_but_where_to_look(
        self,
        client: Client,
        relay: Headers,
        services: Services,
        monkeypatch: pytest.MonkeyPatch,
        raised: type[Exception],
    ) -> None:
        def stored(*_args: object) -> None:
            raise raised("/srv/secret/path s3cr3t-t0ken")

        monkeypatch.setattr(services.events, "stored", stored)
        with logged() as lines:
            answer = post_event(client, relay, make_package())
        problem = assert_problem(answer, 500, "internal_error")
        assert set(problem) == {"type", "title", "status", "detail", "code", "requestId"}
        assert "s3cr3t" not in answer.text
        assert raised.__name__ not in answer.text
        assert "retry-after" not in answer.headers
        (line,) = (line for line in lines if line["event"] == "unexpected_error")
        assert isinstance(line["exc_info"], raised)
