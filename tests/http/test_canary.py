"""No token, key or word of an event is ever in the log or in an error, however things fail.

Everything runs as a server logs it in production, JSON lines, at the level that says the most.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    CHALLENGE,
    EVENTS,
    SOLUTION,
    Answer,
    Client,
    Part,
    bearer,
    certificate,
    enroll,
    post_event,
    post_form,
    post_signed,
    private_key,
    replace_backend,
    seconds,
)

PHOTO = Path(__file__).parents[1] / "media" / "photo.jpg"
SECRET = "mQ4vXz81LwNc7TgYb2RkHs6PfJd0UoEa"
WORD = "whistleblower-told-us-of-the-dump"
NAME = "balcony-of-mrs-kowalski.jpg"
PERSON = "Ngozi Kowalski-Haddad"
PASSWORD = "hunter2-at-the-database"


@pytest.fixture
def services(make_services: Callable[..., Services]) -> Services:
    return make_services(JWT_SECRET=SECRET)


class Witness:
    """A device whose every word is a canary, and what it and others send.

    Args:
        services: the server's.
    """

    def __init__(self, services: Services) -> None:
        self.device = Device()
        self.client = falcon.testing.TestClient(services.application())
        self.relay = certificate(services, Role.RELAY, "relay-1")
        self.admin = certificate(services, Role.ADMIN, "admin-1")
        self.private: dict[str, Any] = dict(private_key(self.device).as_dict(private=True))
        self.token = enroll(self.client, self.device).json["token"]
        self.signed: list[str] = []

    def package(self, **members: Any) -> dict[str, Any]:
        annotation = {"labelId": "note", "value": WORD}
        package = make_package(PHOTO, annotations=[annotation])
        package["media"]["name"] = NAME
        package["metadata"]["createdBy"] = PERSON
        return package | members

    def sign(self, package: Any, **claims: Any) -> str:
        self.signed.append(self.device.sign(package, certificate=self.token, **claims))
        return self.signed[-1]

    def canaries(self) -> list[str]:
        """Return what nobody else should ever read, and what would give it away."""
        tokens = [self.relay, self.admin, self.token, *self.signed]
        parts = [part for token in tokens for part in token.split(".")[1:]]
        data = base64.b64encode(PHOTO.read_bytes()).decode()
        spelt = [SECRET, WORD, NAME, PERSON, PASSWORD, self.private["d"], data[:60]]
        # whoever cuts a token short still shows most of it
        return [*spelt, *(part[:40] for part in parts)]


def assert_silent(witness: Witness, lines: list[str], answers: list[Answer]) -> None:
    """Make sure that no canary is in a line of the log or in an error."""
    errors = [answer.text for answer in answers if answer.status_code >= 400]
    headers = [str(answer.headers) for answer in answers]
    for canary in witness.canaries():
        told = [text[:2000] for text in lines + errors + headers if canary in text]
        assert not told, canary
    for line in lines:
        assert json.loads(line)["event"]


def test_reading_the_settings_tells_no_secret(
    log_lines: Callable[[], list[str]], make_services: Callable[..., Services]
) -> None:
    services = make_services(
        JWT_SECRET=SECRET, EVENTSERVER__BLOCKCHAIN__ACCOUNT_KEY=f"0x{PASSWORD}"
    )
    witness = Witness(services)
    assert log_lines()
    assert_silent(witness, log_lines(), [])


def test_the_whole_flow_says_nothing(
    services: Services, log_lines: Callable[[], list[str]], anchor_all: Callable[[], None]
) -> None:
    witness = Witness(services)
    client, relay = witness.client, bearer(witness.relay)
    own = bearer(witness.token)
    package = witness.package()
    media = {name: v for name, v in package["media"].items() if name != "data"}
    form = [Part.event(package | {"media": media}), Part.media(PHOTO.read_bytes())]
    text = witness.sign(package)
    answers = [
        post_event(client, relay, package),
        post_form(client, relay, *form),
        post_signed(client, relay, text),
        post_signed(client, own, text),
        post_event(client, own, witness.package()),
    ]
    location = answers[0].headers["location"]
    for when in ("before", "after"):
        for what, status in (("", 200), ("/package", 200), ("/verify", 200), ("/proof", 202)):
            answers.append(client.simulate_get(location + what, headers=relay))
            assert answers[-1].status_code == (200 if when == "after" else status)
        anchor_all()
    certificate_id = services.identities.authenticate(witness.token).certificate_id
    revoked = f"/api/v1/certificates/{certificate_id}"
    answers.append(client.simulate_delete(revoked, headers=bearer(witness.admin)))
    answers.append(client.simulate_get("/health"))
    assert {answer.status_code for answer in answers} == {200, 201, 202, 204}
    lines = log_lines()
    events = {json.loads(line)["event"] for line in lines}
    assert {"request_finished", "event_stored", "certificate_issued", "batch_sealed"} <= events
    assert "certificate_revoked" in events
    assert_silent(witness, lines, answers)


def refused(witness: Witness) -> Iterator[Answer]:
    """Yield the answers to everything that is refused with a canary in it."""
    client, relay, own = witness.client, bearer(witness.relay), bearer(witness.token)
    good = witness.package()
    # certificates that don't hold
    for token in (
        witness.token[:-6] + "AAAAAA",
        witness.token + "x",
        witness.sign(good),
        SECRET,
        witness.private["d"],
    ):
        yield post_event(client, bearer(token), good)
        yield post_signed(client, relay, Device().sign(good, certificate=token))
    yield post_event(client, {"Authorization": f"Basic {witness.token}"}, good)
    # packages whose signature, time or content doesn't hold
    for text in (
        witness.sign(good)[:-6] + "AAAAAA",
        witness.sign(good, issued_at=seconds(-8 * 86_400)),
        witness.sign(good, aud=WORD),
        witness.sign(good, event_hash=WORD),
        witness.sign(good, payload=WORD),
        witness.private["d"],
    ):
        yield post_signed(client, relay, text)
        yield post_signed(client, own, text)
    # packages at fault wherever a canary can stand
    broken: list[Any] = [
        good | {"id": WORD},
        good | {"version": [WORD]},
        good | {"annotations": WORD},
        good | {"annotations": [{"labelId": "a", "value": {"a": WORD}}]},
        good | {"annotations": [{"labelId": "a", "value": 1, "timestamp": WORD}]},
        good | {"media": good["media"] | {"type": NAME}},
        good | {"media": good["media"] | {"data": WORD}},
        good | {"media": good["media"] | {"sha256": SECRET}},
        good | {"media": good["media"] | {"size": 1}},
        good | {"media": good["media"] | {"type": "video/mp4"}},
        good | {"metadata": PERSON},
        good | {"metadata": good["metadata"] | {"source": PERSON}},
        good | {"metadata": good["metadata"] | {"createdAt": WORD}},
        good | {"metadata": good["metadata"] | {"createdAt": "2999-01-01T00:00:00Z"}},
        WORD,
    ]
    for package in broken:
        yield post_event(client, relay, package)
        yield post_form(client, relay, Part.event(package), Part.media(PHOTO.read_bytes()))
    for text in (f'{{"a": "{WORD}"', f'{{"a": "{WORD}\\ud800"}}', f'"{WORD}" NaN', WORD):
        yield post_event(client, relay, text)
    yield post_event(client, dict(relay) | {"Content-Type": f"text/{WORD}"}, good)
    yield post_form(client, relay, Part(WORD, b"x"))
    # proofs of work
    solved = witness.device.solve(client.simulate_post(CHALLENGE).json)
    private = base64.b64encode(json.dumps(witness.private).encode()).decode()
    for body in (
        solved | {"public_key": private},
        solved | {"public_key": private[:-8]},
        solved | {"public_key": witness.private["d"]},
        solved | {"public_key": base64.b64encode(SECRET.encode()).decode()},
        solved | {"relay_id": [PERSON]},
        solved | {"solution": witness.token},
        solved | {"solution": solved["solution"] | {"challenge_id": witness.token}},
        solved | {"solution": solved["solution"] | {"hash": witness.private["d"]}},
        witness.private,
    ):
        yield client.simulate_post(SOLUTION, json=body)
    yield client.simulate_post(SOLUTION, body=WORD, headers={"Content-Type": "application/json"})
    # paths and queries
    for path in (witness.token, WORD, NAME):
        yield client.simulate_get(f"/{path}")
        yield client.simulate_get(f"{EVENTS}/{path}/verify")
        yield client.simulate_get(f"/health/{path}", query_string=f"token={witness.token}")
    yield client.simulate_get("/nowhere", headers={"X-Request-ID": f"Bearer {witness.token}"})
    yield client.simulate_get("/nowhere", headers={"Cookie": WORD, "User-Agent": PERSON})


def test_nothing_is_said_of_what_is_refused(
    services: Services, log_lines: Callable[[], list[str]]
) -> None:
    witness = Witness(services)
    answers = list(refused(witness))
    assert {400, 401, 404, 409, 415, 422} >= {answer.status_code for answer in answers}
    assert {400, 401, 404, 415, 422} <= {answer.status_code for answer in answers}
    lines = log_lines()
    assert len([line for line in lines if "request_finished" in line]) > len(answers)
    assert_silent(witness, lines, answers)


def test_what_is_said_of_who_may_not_is_not_what_it_sent(
    services: Services, log_lines: Callable[[], list[str]]
) -> None:
    witness = Witness(services)
    package = witness.package()
    answers = [
        post_event(witness.client, bearer(witness.admin), package),
        witness.client.simulate_delete(
            f"/api/v1/certificates/{WORD}", headers=bearer(witness.relay)
        ),
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    lines = log_lines()
    assert "permission_denied" in "".join(lines)
    assert_silent(witness, lines, answers)


class TestWhenABackendFails:
    """What an exception says, and what lay around where it was raised, is no fit for a log."""

    @pytest.mark.parametrize(
        ("role", "method"),
        [
            ("storage", "put"),
            ("storage", "upload"),
            ("auth", "authenticate"),
            ("auth", "check_signed_package"),
            ("auth", "identify_device"),
            ("auth", "issue"),
            ("ratelimit", "hit"),
        ],
    )
    @pytest.mark.parametrize("kind", ["unavailable", "unexpected", "wrong type"])
    def test_it_tells_no_secret(
        self,
        services: Services,
        log_lines: Callable[[], list[str]],
        role: str,
        method: str,
        kind: str,
    ) -> None:
        witness = Witness(services)

        def fail(*_args: object, **_kwargs: object) -> Any:
            around = {"token": witness.token, "word": WORD, "secret": SECRET}
            said = (
                f"GET https://user:{PASSWORD}@store.example/ with Authorization: Bearer "
                f"{witness.relay} and x-device-cert={witness.token}"
            )
            if kind == "unavailable":
                raise BackendUnavailableError(f"{role}=faulty", said)
            if kind == "unexpected":
                raise RuntimeError(said)
            return list(around.values())

        replace_backend(services, role, **{method: fail})
        services.__dict__.pop("identities", None)
        client = falcon.testing.TestClient(services.application())
        answers = list(self.every_way(client, witness))
        assert 503 in {answer.status_code for answer in answers}
        lines = log_lines()
        assert any(f"{role}=faulty" in line for line in lines)
        assert_silent(witness, lines, answers)

    @staticmethod
    def every_way(client: Client, witness: Witness) -> Iterator[Answer]:
        relay, own = bearer(witness.relay), bearer(witness.token)
        package = witness.package()
        media = {name: v for name, v in package["media"].items() if name != "data"}
        yield post_event(client, relay, package)
        yield post_signed(client, relay, witness.sign(witness.package()))
        yield post_signed(client, own, witness.sign(witness.package()))
        form = [Part.event(package | {"media": media}), Part.media(PHOTO.read_bytes())]
        yield post_form(client, relay, *form)
        challenge = client.simulate_post(CHALLENGE)
        yield challenge
        if challenge.status_code == 200:
            yield client.simulate_post(SOLUTION, json=witness.device.solve(challenge.json))


@pytest.mark.parametrize("raised", [RuntimeError, ValueError, RecursionError])
def test_a_fault_of_ours_tells_no_secret(
    services: Services,
    log_lines: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    raised: type[Exception],
) -> None:
    witness = Witness(services)

    def stored(*_args: object) -> None:
        raise raised(f"Bearer {witness.token} at postgresql://user:{PASSWORD}@db.example/x")

    monkeypatch.setattr(services.events, "stored", stored)
    package = witness.package()
    answers = [
        post_event(witness.client, bearer(witness.relay), package),
        post_signed(witness.client, bearer(witness.relay), witness.sign(package)),
        post_event(witness.client, bearer(witness.token), package),
    ]
    assert {answer.status_code for answer in answers} == {500}
    lines = log_lines()
    assert "unexpected_error" in "".join(lines)
    assert raised.__name__ in "".join(lines)
    assert_silent(witness, lines, answers)
