"""Many events at once: each line gets what it would have got by itself."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import falcon.testing
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.db.event_rows import NewEvent
from eventserver_core.demo.device import Device
from eventserver_core.domain.envelope import parse_envelope
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.http.resources import batches
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    EVENTS,
    Answer,
    Client,
    CountedStream,
    Headers,
    assert_nothing_stored,
    assert_problem,
    base64url,
    bearer,
    certificate,
    claims_of,
    enroll,
    post_event,
    post_signed,
    post_stream,
    replace_backend,
    subject_of,
)

PHOTO = Path(__file__).parents[1] / "media" / "photo.jpg"
BATCH = "/api/v1/events/batch"
NDJSON = "application/x-ndjson"


def post_lines(client: Client, headers: Headers, *lines: bytes, **members: Any) -> Answer:
    body = b"\n".join(lines)
    return client.simulate_post(
        BATCH, body=body, headers={**headers, "Content-Type": NDJSON}, **members
    )


def line(document: Any) -> bytes:
    return json.dumps(document).encode()


def post_batch(client: Client, headers: Headers, *documents: Any) -> Answer:
    return post_lines(client, headers, *map(line, documents))


def results(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json["results"]
    return found


def statuses(answer: Answer) -> list[int]:
    return [result["status"] for result in results(answer)]


def lasting(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: problem[name] for name in problem if name not in ("requestId", "serverTime")}


def test_a_batch_is_one_pack_and_each_event_has_its_line(
    client: Client, relay: Headers, services: Services
) -> None:
    packages = [make_package() for _ in range(5)]
    answer = post_batch(client, relay, *packages)
    assert statuses(answer) == [201] * 5
    receipts = [result["receipt"] for result in results(answer)]
    assert [receipt["eventId"] for receipt in receipts] == [package["id"] for package in packages]
    (pack,) = services.storage.list()
    for receipt, package in zip(receipts, packages, strict=True):
        row = services.events.find(receipt["hash"])
        assert row is not None
        assert row.pack_key == pack.key
        kept = b"".join(services.storage.read(row.pack_key, row.pack_offset, row.pack_length))
        assert parse_envelope(kept).statement["id"] == package["id"]


def test_every_line_gets_what_it_would_have_got_by_itself(
    client: Client,
    relay: Headers,
    services: Services,
    device: Device,
    device_token: str,
    anchor_all: Callable[[], None],
) -> None:
    """What that is, the route for one event says, asked for each line in turn."""
    known, package = make_package(), make_package()
    post_event(client, relay, known)
    forged = Device()
    documents = [
        package,
        known,
        {**known, "version": "2.0"},
        make_package(id="no-uuid", version=""),
        "no object",
        {"jwtEventData": device.sign(make_package(), certificate=device_token)},
        {"jwtEventData": device.sign(make_package())},
        {"jwtEventData": forged.sign(make_package(), certificate=device_token)},
        {"jwtEventData": 7},
        make_package(metadata={"createdAt": "2999-01-01T00:00:00Z", "source": "api"}),
        make_package(PHOTO),
        package,
    ]
    answer = post_batch(client, relay, *documents)
    expected = [201, 200, 409, 400, 400, 201, 401, 401, 400, 422, 201, 200]
    assert statuses(answer) == expected
    assert [result["line"] for result in results(answer)] == list(range(1, 13))
    for result, document in zip(results(answer), documents, strict=True):
        headers = {**relay, "Content-Type": "application/json"}
        alone = client.simulate_post(EVENTS, body=line(document), headers=headers)
        if result["status"] < 300:
            assert (alone.status_code, alone.json) == (200, result["receipt"])
        else:
            assert alone.status_code == result["status"]
            assert lasting(result["problem"]) == lasting(alone.json)
    anchor_all()
    for result in results(answer):
        if result["status"] < 300:
            proof = client.simulate_get(f"/api/v1/events/{result['receipt']['hash']}/proof")
            assert proof.status_code == 200


def test_lines_that_are_no_json_or_not_in_utf8_fail_by_themselves(
    client: Client, relay: Headers
) -> None:
    good = line(make_package())
    answer = post_lines(
        client, relay, b"{", good, b'{"a": 1, "a": 2}', b"\xff\xfe", b"NaN", b"[" * 5000
    )
    assert statuses(answer) == [400, 201, 400, 400, 400, 400]
    codes = {r["problem"]["code"] for r in results(answer) if "problem" in r}
    assert codes == {"invalid_package"}


def test_empty_lines_have_no_result_and_lines_may_end_as_on_windows(
    client: Client, relay: Headers
) -> None:
    good = [line(make_package()) for _ in range(3)]
    answer = post_lines(client, relay, good[0], b"", good[1] + b"\r", b"  ", good[2], b"")
    assert [(r["line"], r["status"]) for r in results(answer)] == [(1, 201), (3, 201), (5, 201)]


def test_a_line_of_what_json_has_for_no_space_is_a_bad_one(client: Client, relay: Headers) -> None:
    answer = post_lines(client, relay, b"\x0b", line(make_package()), b"\x0c")
    assert [(r["line"], r["status"]) for r in results(answer)] == [(1, 400), (2, 201), (3, 400)]


def test_a_batch_sent_again_or_half_of_it_gets_the_first_answers(
    client: Client, relay: Headers, services: Services
) -> None:
    packages = [make_package() for _ in range(6)]
    first = results(post_batch(client, relay, *packages))
    again = results(post_batch(client, relay, *packages))
    half = results(post_batch(client, relay, *packages[3:], make_package()))
    assert [r["receipt"] for r in again] == [r["receipt"] for r in first]
    assert [r["status"] for r in again] == [200] * 6
    assert [r["receipt"] for r in half[:3]] == [r["receipt"] for r in first[3:]]
    assert [r["status"] for r in half] == [200, 200, 200, 201]
    assert services.batches.backlog().waiting == 7


def test_overlapping_batches_at_once_on_three_instances_store_everything_once(
    make_services: Callable[..., Services],
) -> None:
    settings = {"EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE": "100000"}
    instances = [make_services(**settings) for _ in "abc"]
    clients = [falcon.testing.TestClient(services.application()) for services in instances]
    relay = bearer(certificate(instances[0], Role.RELAY, "relay-1"))
    packages = [make_package() for _ in range(60)]
    barrier = threading.Barrier(9)

    def send(n: int) -> list[dict[str, Any]]:
        barrier.wait(30)
        chosen = packages[n * 5 : n * 5 + 20]
        chosen = chosen if n % 2 else chosen[::-1]
        try:
            return results(post_batch(clients[n % 3], relay, *chosen))
        finally:
            instances[n % 3].database.close()

    with ThreadPoolExecutor(9) as pool:
        answered = [result for answer in pool.map(send, range(9)) for result in answer]
    assert {result["status"] for result in answered} == {200, 201}
    receipts: dict[str, Any] = {}
    for result in answered:
        receipt = result["receipt"]
        assert receipts.setdefault(receipt["hash"], receipt) == receipt
    assert len(receipts) == sum(result["status"] == 201 for result in answered) == 60
    assert instances[0].batches.backlog().waiting == 60


def test_within_a_batch_the_first_of_an_id_stays_and_a_signature_is_added(
    client: Client, relay: Headers, device: Device, device_token: str
) -> None:
    package = make_package()
    other = {**package, "version": "2.0"}
    signed = {"jwtEventData": device.sign(package, certificate=device_token)}
    answer = post_batch(client, relay, package, other, signed, package, other)
    assert statuses(answer) == [201, 409, 200, 200, 409]
    receipt = results(answer)[0]["receipt"]
    assert results(answer)[1]["problem"]["storedHash"] == receipt["hash"]
    record = client.simulate_get(f"/api/v1/events/{receipt['hash']}", headers=relay).json
    assert (record["signed"], record["device"]) == (True, subject_of(device))


def test_where_the_first_of_an_id_is_refused_the_next_is_taken(
    client: Client, relay: Headers
) -> None:
    late = make_package(metadata={"createdAt": "2999-01-01T00:00:00Z", "source": "api"})
    good = {**late, "metadata": make_package()["metadata"]}
    assert statuses(post_batch(client, relay, late, good)) == [422, 201]


class TestRefusals:
    @pytest.fixture
    def services(self, make_services: Callable[..., Services]) -> Services:
        return make_services(
            EVENTSERVER__SERVER__MAX_BATCH_EVENTS="4",
            EVENTSERVER__SERVER__MAX_BATCH_SIZE="3000",
            EVENTSERVER__SERVER__MAX_JSON_SIZE="1000",
            EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="6",
        )

    def test_too_many_lines_are_told_before_anything_is_stored(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        answer = post_batch(client, relay, *(make_package() for _ in range(5)))
        assert "4 lines" in assert_problem(answer, 413, "content_too_large")["detail"]
        assert_problem(post_lines(client, relay, *[b""] * 6), 413, "content_too_large")
        assert_nothing_stored(services)

    @pytest.mark.parametrize("said", [True, False])
    def test_too_many_bytes_are_told_before_they_are_all_read(
        self, client: Client, relay: Headers, services: Services, said: bool
    ) -> None:
        stream = CountedStream(itertools.repeat(b"x" * 1000))
        length = 10**9 if said else None
        sent = post_stream(client, relay, stream, NDJSON, path=BATCH, length=length)
        assert (sent[0], sent[1]["code"]) == (413, "content_too_large")
        assert stream.taken <= 3000 + 65536
        assert_nothing_stored(services)

    def test_a_line_too_long_for_one_event_fails_by_itself(
        self, client: Client, relay: Headers
    ) -> None:
        long, short = make_package(note="x" * 1000), make_package()
        answer = post_batch(client, relay, long, short)
        assert statuses(answer) == [413, 201]

    def test_more_values_than_memory_is_given_for_are_refused(
        self, client: Client, relay: Headers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "MAX_VALUES", 100)
        answer = post_lines(client, relay, b"[" + b"0," * 60 + b"0]", b"[" + b"0," * 60 + b"0]")
        assert "members and elements" in assert_problem(answer, 413, "content_too_large")["detail"]

    def test_what_a_signed_package_has_in_its_base64_is_counted_with_the_rest(
        self, client: Client, relay: Headers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "MAX_VALUES", 100)
        claims = base64url(b'{"payload": [' + b"0," * 60 + b"0]}")
        signed, none = line({"jwtEventData": f"e30.{claims}.e30"}), line({"jwtEventData": "a.é.c"})
        assert statuses(post_lines(client, relay, signed)) == [401]
        assert statuses(post_lines(client, relay, none)) == [400]
        answer = post_lines(client, relay, signed, signed)
        assert "members and elements" in assert_problem(answer, 413, "content_too_large")["detail"]

    def test_another_media_type_an_empty_batch_and_a_compressed_one(
        self, client: Client, relay: Headers
    ) -> None:
        headers = {**relay, "Content-Type": "application/json"}
        answer = client.simulate_post(BATCH, body=line(make_package()), headers=headers)
        assert NDJSON in assert_problem(answer, 415, "unsupported_media_type")["detail"]
        assert_problem(post_lines(client, relay, b"", b" "), 400, "invalid_request")
        zipped = {**relay, "Content-Encoding": "gzip"}
        assert_problem(post_lines(client, zipped, b"x"), 415, "unsupported_media_type")

    def test_a_batch_counts_as_many_as_it_has_events_in_one_call(
        self, client: Client, relay: Headers, services: Services, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = post_batch(client, relay, *(make_package() for _ in range(3)))
        assert "r=3;" in first.headers["ratelimit"]
        refused = post_batch(client, relay, *(make_package() for _ in range(4)))
        assert_problem(refused, 429, "rate_limited")
        assert "retry-after" in refused.headers
        unread = CountedStream(itertools.repeat(b"x" * 1000))
        sent = post_stream(client, relay, unread, NDJSON, path=BATCH)
        assert (sent[0], unread.taken) == (429, 0)
        client = falcon.testing.TestClient(services.application())  # that was not told anything
        assert (
            "r=0;"
            in post_batch(client, relay, *(make_package() for _ in range(3))).headers["ratelimit"]
        )
        assert services.batches.backlog().waiting == 6

    def test_what_cannot_be_read_is_counted_too(self, client: Client, relay: Headers) -> None:
        left = [post_lines(client, relay, *[b"x"] * 5).headers["ratelimit"] for _ in range(2)]
        assert [text.split(";")[1] for text in left] == ["r=5", "r=4"]

    def test_devices_and_admins_send_no_batches(
        self, client: Client, services: Services, device: Device
    ) -> None:
        token = enroll(client, device).json["token"]
        for headers in (bearer(token), bearer(certificate(services, Role.ADMIN, "admin-1"))):
            answer = post_batch(client, headers, make_package())
            assert_problem(answer, 403, "forbidden")
            assert "ratelimit" in answer.headers


def test_a_small_batch_has_no_large_answer_however_much_is_wrong(
    client: Client, relay: Headers
) -> None:
    bad = b'{"' + b"k" * 900 + b'": [' + b"1e400," * 110 + b"0]}"
    answer = post_lines(client, relay, *[bad] * 300)
    assert statuses(answer) == [400] * 300
    assert {len(r["problem"]["errors"]) for r in results(answer)} == {batches.MAX_FAULTS}
    assert len(answer.content) < 300 * 8000


def test_a_revoked_devices_line_is_no_fault_of_the_relays(
    client: Client, relay: Headers, services: Services, device: Device, device_token: str
) -> None:
    services.identities.revoke(claims_of(device_token)["jti"], "stolen")
    signed = {"jwtEventData": device.sign(make_package(), certificate=device_token)}
    answer = post_batch(client, relay, signed, make_package())
    assert statuses(answer) == [401, 201]
    assert results(answer)[0]["problem"]["code"] == "device_certificate_invalid"
    alone = post_signed(client, relay, signed["jwtEventData"])
    assert_problem(alone, 401, "device_certificate_invalid")
    own = post_signed(client, bearer(device_token), device.sign(make_package()))
    assert_problem(own, 401, "certificate_revoked")


class TestOutages:
    @pytest.mark.parametrize("failing", ["media-", "pack-"])
    def test_without_storage_the_batch_is_503_and_comes_again(
        self, services: Services, relay: Headers, failing: str
    ) -> None:
        storage = services.plugins.backend("storage", services.settings)
        full = {failing}

        def put(key: str, content: bytes) -> Any:
            if any(key.startswith(prefix) for prefix in full):
                raise BackendUnavailableError("storage=faulty", "no space left on device")
            return storage.put(key, content)

        replace_backend(services, "storage", put=put)
        client = falcon.testing.TestClient(services.application())
        documents = [make_package(), make_package(PHOTO), {"not": "a package"}]
        answer = post_batch(client, relay, *documents)
        assert_problem(answer, 503, "backend_unavailable")
        assert answer.headers["retry-after"]
        assert services.batches.backlog().waiting == 0
        full.clear()
        assert statuses(post_batch(client, relay, *documents)) == [201, 201, 400]
        assert services.batches.backlog().waiting == 2

    def test_an_event_that_no_row_can_be_made_of_fails_by_itself(
        self, services: Services, relay: Headers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        poison = str(uuid4())
        record = services.events.record

        def refuse(events: list[NewEvent]) -> set[str]:
            if any(event.event_id == poison for event in events):
                raise ValueError("no row can be made of this")
            return record(events)

        monkeypatch.setattr(services.events, "record", refuse)
        client = falcon.testing.TestClient(services.application())
        packages = [make_package(), make_package(id=poison), make_package()]
        answer = post_batch(client, relay, *packages)
        assert statuses(answer) == [201, 500, 201]
        problem = results(answer)[1]["problem"]
        assert problem["code"] == "internal_error"
        assert "no row" not in answer.text


def test_what_a_device_may_see_of_a_batch_is_what_it_signed(
    client: Client, relay: Headers, device: Device, device_token: str
) -> None:
    jws = device.sign(make_package(), certificate=device_token)
    answer = post_batch(client, relay, {"jwtEventData": jws}, make_package())
    mine, others = (f"/api/v1/events/{r['receipt']['hash']}" for r in results(answer))
    assert client.simulate_get(mine, headers=bearer(device_token)).status_code == 200
    assert client.simulate_get(others, headers=bearer(device_token)).status_code == 403
    assert post_signed(client, relay, jws).status_code == 200
