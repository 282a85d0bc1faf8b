"""The same event again: another way, at the same time, after a failure, with other content."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.domain.envelope import parse_envelope
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    Answer,
    Client,
    Headers,
    Part,
    assert_problem,
    bearer,
    certificate,
    enroll,
    patiently,
    post_event,
    post_form,
    post_signed,
    record_of,
    replace_backend,
    seconds,
    subject_of,
)

PHOTO = Path(__file__).parents[1] / "media" / "photo.jpg"


def as_part(package: dict[str, Any]) -> Part:
    """Return the part that describes an event whose media goes beside it."""
    media = {name: value for name, value in package["media"].items() if name != "data"}
    return Part.event(package | {"media": media})


def test_a_retry_gets_the_first_answer(client: Client, relay: Headers, services: Services) -> None:
    package = make_package(PHOTO)
    first = post_event(client, relay, package)
    assert first.status_code == 201
    objects = {found.key for found in services.storage.list()}
    for _ in range(5):
        again = post_event(client, relay, package)
        assert again.status_code == 200
        assert again.content == first.content
        assert again.headers["location"] == first.headers["location"]
    assert {found.key for found in services.storage.list()} == objects
    assert services.batches.backlog().waiting == 1


def test_a_retry_gets_the_first_answer_after_it_was_anchored(
    client: Client, relay: Headers, anchor_all: Callable[[], None]
) -> None:
    package = make_package()
    first = post_event(client, relay, package)
    anchor_all()
    again = post_event(client, relay, package)
    assert again.status_code == 200
    assert again.content == first.content
    assert record_of(client, relay, first)["status"] == "confirmed"


def test_every_way_in_leads_to_one_event_and_one_receipt(
    client: Client, relay: Headers, device: Device, device_token: str, services: Services
) -> None:
    package = make_package(PHOTO)
    ways: list[Callable[[], Answer]] = [
        lambda: post_event(client, relay, package),
        lambda: post_form(client, relay, as_part(package), Part.media(PHOTO.read_bytes())),
        lambda: post_form(client, relay, Part.media(PHOTO.read_bytes()), as_part(package)),
        lambda: post_signed(client, bearer(device_token), device.sign(package)),
        lambda: post_signed(client, relay, device.sign(package, certificate=device_token)),
        lambda: post_event(client, bearer(device_token), package),
    ]
    answers = [way() for way in ways]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200, 200]
    assert len({answer.content for answer in answers}) == 1
    assert services.batches.backlog().waiting == 1
    assert len(list(services.storage.list("media-"))) == 1


def test_the_order_and_the_layout_of_the_json_make_no_difference(
    client: Client, relay: Headers
) -> None:
    package = make_package()
    first = post_event(client, relay, package)
    turned = dict(reversed(package.items()))
    again = post_event(client, relay, turned)
    assert (again.status_code, again.content) == (200, first.content)


class TestOtherContent:
    def test_the_first_stays_and_its_hash_is_named(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        package = make_package(PHOTO)
        first = post_event(client, relay, package)
        other = [
            package | {"version": "1.1"},
            package | {"extra": None},
            package | {"media": None},
            package | {"media": package["media"] | {"name": "other.jpg"}},
        ]
        for changed in other:
            problem = assert_problem(post_event(client, relay, changed), 409, "event_id_conflict")
            assert problem["storedHash"] == first.json["hash"]
        event = record_of(client, relay, first)["event"]
        assert (event["version"], event["media"]["name"]) == ("1.0", "photo.jpg")
        assert services.batches.backlog().waiting == 1

    def test_other_media_under_the_same_id_is_not_kept(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        package = make_package(PHOTO)
        first = post_event(client, relay, package)
        content = PHOTO.read_bytes() + b"\0"
        other = package | {"media": package["media"] | {"size": len(content)}}
        answer = post_form(client, relay, Part.media(content), as_part(other))
        assert assert_problem(answer, 409, "event_id_conflict")["storedHash"] == first.json["hash"]
        (kept,) = services.storage.list("media-")
        assert kept.key.endswith(sha256(PHOTO.read_bytes()).hexdigest())

    def test_of_many_at_once_one_is_taken(self, make_services: Callable[..., Services]) -> None:
        package = make_package()
        answers = at_once(
            make_services,
            lambda client, relay, n: post_event(client, relay, package | {"n": n}),
        )
        taken = [answer for answer in answers if answer.status_code == 201]
        assert len(taken) == 1
        for answer in answers:
            if answer is not taken[0]:
                problem = assert_problem(answer, 409, "event_id_conflict")
                assert problem["storedHash"] == taken[0].json["hash"]


class TestSignatures:
    def test_one_is_added_to_an_event_that_came_without(
        self, client: Client, relay: Headers, device: Device, device_token: str
    ) -> None:
        package = make_package()
        first = post_event(client, relay, package)
        before = record_of(client, relay, first)
        assert (before["signed"], before["device"]) == (False, None)
        text = device.sign(package, certificate=device_token)
        again = post_signed(client, relay, text)
        assert (again.status_code, again.content) == (200, first.content)
        after = record_of(client, relay, first)
        assert (after["signed"], after["device"]) == (True, subject_of(device))
        changed = {"signed", "device"}
        assert {name for name in before if before[name] != after[name]} == changed

    def test_the_first_stays(
        self,
        client: Client,
        relay: Headers,
        device: Device,
        device_token: str,
        services: Services,
    ) -> None:
        package = make_package()
        texts = [
            device.sign(package, certificate=device_token, issued_at=seconds(-offset))
            for offset in (0, 1)
        ]
        other = Device()
        token = enroll(client, other).json["token"]
        texts.append(other.sign(package, certificate=token))
        answers = [post_signed(client, relay, text) for text in texts]
        assert [answer.status_code for answer in answers] == [201, 200, 200]
        assert len({answer.content for answer in answers}) == 1
        (kept,) = services.storage.list("pack-")
        envelope = parse_envelope(b"".join(services.storage.read(kept.key)).rstrip(b"\n"))
        assert envelope.signature is not None
        assert envelope.signature.jws == texts[0].encode()
        assert record_of(client, relay, answers[0])["device"] == subject_of(device)

    def test_an_event_does_not_become_another_devices(
        self, client: Client, relay: Headers, device: Device, device_token: str
    ) -> None:
        package = make_package()
        first = post_event(client, bearer(device_token), package)
        thief = Device()
        token = enroll(client, thief).json["token"]
        for headers, text in (
            (bearer(token), thief.sign(package)),
            (relay, thief.sign(package, certificate=token)),
        ):
            answer = post_signed(client, headers, text)
            assert (answer.status_code, answer.content) == (200, first.content)
        record = record_of(client, bearer(device_token), first)
        assert (record["device"], record["signed"]) == (subject_of(device), False)
        location = first.headers["location"]
        answer = client.simulate_get(location, headers=bearer(token))
        assert_problem(answer, 403, "forbidden")
        # its own signature is still welcome
        post_signed(client, bearer(device_token), device.sign(package))
        record = record_of(client, bearer(device_token), first)
        assert (record["device"], record["signed"]) == (subject_of(device), True)

    def test_one_that_comes_at_the_same_moment_is_not_lost(
        self, services: Services, make_services: Callable[..., Services], device: Device
    ) -> None:
        """Between the look whether an event is there and its row, another instance takes it."""
        elsewhere = falcon.testing.TestClient(make_services().application())
        package = make_package()
        token = certificate(services, Role.DEVICE, subject_of(device), device.public_key)
        storage = services.plugins.backend("storage", services.settings)
        entered: list[str] = []
        slipped_in: list[Answer] = []

        def put(key: str, content: bytes) -> Any:
            if key.startswith("pack-") and not entered:
                entered.append(key)
                slipped_in.append(post_event(elsewhere, bearer(token), package))
            return storage.put(key, content)

        replace_backend(services, "storage", put=put)
        client = falcon.testing.TestClient(services.application())
        signed = post_signed(client, bearer(token), device.sign(package))
        assert [answer.status_code for answer in slipped_in] == [201]
        assert (signed.status_code, signed.content) == (200, slipped_in[0].content)
        record = record_of(client, bearer(token), signed)
        assert (record["signed"], record["device"]) == (True, subject_of(device))


def at_once(
    make_services: Callable[..., Services], send: Callable[[Client, Headers, int], Answer]
) -> list[Answer]:
    """Send 24 requests of as many relays to three instances, eight of them at the same time."""
    instances = [make_services() for _ in "abc"]
    clients = [falcon.testing.TestClient(services.application()) for services in instances]
    relays = [bearer(certificate(instances[0], Role.RELAY, f"relay-{n}")) for n in range(24)]
    barrier = threading.Barrier(8)

    def run(n: int) -> Answer:
        barrier.wait(30)
        try:
            return patiently(lambda: send(clients[n % 3], relays[n], n))
        finally:
            instances[n % 3].database.close()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(run, range(24)))


def test_many_at_once_get_the_same_answer(make_services: Callable[..., Services]) -> None:
    package = make_package(PHOTO)
    form = [as_part(package), Part.media(PHOTO.read_bytes())]

    def send(client: Client, relay: Headers, n: int) -> Answer:
        return post_event(client, relay, package) if n % 2 else post_form(client, relay, *form)

    answers = at_once(make_services, send)
    assert sorted(answer.status_code for answer in answers) == [200] * 23 + [201]
    assert len({answer.content for answer in answers}) == 1
    services = make_services()
    assert services.batches.backlog().waiting == 1
    assert len(list(services.storage.list("media-"))) == 1


@pytest.mark.parametrize("failing", ["media-", "jws-", "pack-"])
def test_what_storage_did_not_take_is_not_acknowledged(
    services: Services, device: Device, failing: str
) -> None:
    storage = services.plugins.backend("storage", services.settings)
    full = {failing}

    def put(key: str, content: bytes) -> Any:
        if any(key.startswith(prefix) for prefix in full):
            raise BackendUnavailableError("storage=faulty", "no space left on device")
        return storage.put(key, content)

    replace_backend(services, "storage", put=put)
    client = falcon.testing.TestClient(services.application())
    token = certificate(services, Role.DEVICE, subject_of(device), device.public_key)
    text = device.sign(make_package(PHOTO))
    answer = post_signed(client, bearer(token), text)
    assert_problem(answer, 503, "backend_unavailable")
    assert services.batches.backlog().waiting == 0
    full.clear()
    assert post_signed(client, bearer(token), text).status_code == 201
    assert services.batches.backlog().waiting == 1


def test_a_row_that_was_not_committed_is_not_acknowledged(
    services: Services, relay: Headers, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(*_args: object) -> set[str]:
        raise BackendUnavailableError("database", "disk I/O error")

    package = make_package(PHOTO)
    with monkeypatch.context() as patch:
        patch.setattr(services.events, "record", record)
        answer = post_event(client, relay, package)
        assert_problem(answer, 503, "backend_unavailable")
    assert services.batches.backlog().waiting == 0
    assert post_event(client, relay, package).status_code == 201
