"""Packages that devices signed, from the device itself or forwarded by a relay."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon.testing
import pytest
from joserfc import jws

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.domain.envelope import parse_envelope
from eventserver_core.domain.package import make_statement
from eventserver_core.services.signed_packages import MAX_SIZE_IN_PACK
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    EVENTS,
    SIGNED_EVENTS,
    Client,
    Headers,
    assert_nothing_stored,
    assert_problem,
    base64url,
    bearer,
    certificate,
    craft_token,
    device_claims,
    enroll,
    pointers,
    post_event,
    post_signed,
    private_key,
    record_of,
    seconds,
    subject_of,
)

PHOTO = Path(__file__).parents[1] / "media" / "photo.jpg"
SECRET = "w7Qz0pLr5TnB2yVhX9kGdM4cJfE8sAuR"
DAY = 86_400


def altered(text: str, part: int) -> str:
    """Return a JWS with one bit of a part turned over."""
    parts = text.split(".")
    content = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    content[len(content) // 2] ^= 1
    parts[part] = base64url(bytes(content))
    return ".".join(parts)


class TestFromTheDeviceItself:
    @pytest.mark.parametrize("path", [EVENTS, SIGNED_EVENTS])
    def test_a_signed_package_is_taken(
        self, client: Client, device: Device, device_token: str, path: str
    ) -> None:
        package = make_package()
        answer = post_signed(client, bearer(device_token), device.sign(package), path)
        assert answer.status_code == 201, answer.text
        assert answer.json["hash"] == make_statement(package, None).digest_hex
        record = record_of(client, bearer(device_token), answer)
        assert record["submittedBy"] == {"subject": subject_of(device), "role": "device"}
        assert record["device"] == subject_of(device)
        assert record["signed"] is True
        assert record["event"] == package

    def test_media_travels_inside(
        self, client: Client, device: Device, device_token: str, services: Services
    ) -> None:
        package = make_package(PHOTO)
        answer = post_signed(client, bearer(device_token), device.sign(package))
        assert answer.status_code == 201, answer.text
        (stored,) = services.storage.list("media-")
        assert b"".join(services.storage.read(stored.key)) == PHOTO.read_bytes()

    def test_the_jws_is_kept_byte_for_byte(
        self, client: Client, device: Device, device_token: str, services: Services
    ) -> None:
        short = device.sign(make_package(), certificate=device_token)
        long = device.sign(make_package(note="x" * MAX_SIZE_IN_PACK), certificate=device_token)
        for text in (short, long):
            assert post_signed(client, bearer(device_token), text).status_code == 201
        (stored,) = services.storage.list("jws-")
        assert b"".join(services.storage.read(stored.key)) == long.encode()
        packs = [b"".join(services.storage.read(p.key)) for p in services.storage.list("pack-")]
        signatures = [parse_envelope(pack.rstrip(b"\n")).signature for pack in packs]
        assert {s.jws for s in signatures if s} == {short.encode(), None}

    def test_a_device_may_send_a_package_that_it_did_not_sign(
        self, client: Client, device: Device, device_token: str
    ) -> None:
        answer = post_event(client, bearer(device_token), make_package())
        assert answer.status_code == 201
        record = record_of(client, bearer(device_token), answer)
        assert record["device"] == subject_of(device)
        assert record["signed"] is False

    def test_the_key_in_the_header_counts_for_nothing(
        self, client: Client, device: Device, device_token: str, services: Services
    ) -> None:
        stranger = Device()
        package = make_package()
        # signed by a stranger, whose key stands in the header
        answer = post_signed(client, bearer(device_token), stranger.sign(package))
        assert_problem(answer, 401, "signature_invalid")
        assert_nothing_stored(services)
        # signed by the certificate's key, though the header names another
        device.public_key, own = stranger.public_key, device.public_key
        text = device.sign(package)
        device.public_key = own
        assert post_signed(client, bearer(device_token), text).status_code == 201

    @pytest.mark.parametrize(
        ("offset", "claims", "code"),
        [
            (-3601, {}, "package_expired"),
            (-10, {"exp": seconds(-5)}, "package_expired"),
            (1000, {}, "package_expired"),
            (0, {"exp": None}, "signature_invalid"),
            (0, {"iat": "now"}, "signature_invalid"),
            (0, {"aud": "somebody_else"}, "signature_invalid"),
            (0, {"iss": "somebody_else"}, "signature_invalid"),
            (0, {"sub": "something_else"}, "signature_invalid"),
        ],
    )
    def test_its_claims_hold(
        self,
        client: Client,
        device: Device,
        device_token: str,
        services: Services,
        offset: int,
        claims: dict[str, Any],
        code: str,
    ) -> None:
        text = device.sign(make_package(), issued_at=seconds(offset), **claims)
        assert_problem(post_signed(client, bearer(device_token), text), 401, code)
        assert_nothing_stored(services)

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_an_altered_package_is_refused(
        self, client: Client, device: Device, device_token: str, services: Services, part: int
    ) -> None:
        text = altered(device.sign(make_package()), part)
        assert_problem(post_signed(client, bearer(device_token), text), 401, "signature_invalid")
        assert_nothing_stored(services)

    @pytest.mark.parametrize("text", ["", "abc", "a.b", "a.b.c", "..", "a.b.c.d", "e30.e30.AA=="])
    def test_what_is_no_jws_is_refused(
        self, client: Client, device_token: str, services: Services, text: str
    ) -> None:
        assert_problem(post_signed(client, bearer(device_token), text), 401, "signature_invalid")
        assert_nothing_stored(services)

    def test_what_the_app_hashed_is_compared(
        self, client: Client, device: Device, device_token: str, services: Services
    ) -> None:
        text = device.sign(make_package(), event_hash="0" * 64)
        answer = post_signed(client, bearer(device_token), text)
        assert_problem(answer, 422, "content_mismatch")
        assert pointers(answer) == ["/event_hash"]
        assert_nothing_stored(services)

    def test_faults_of_the_package_are_told_as_of_any_other(
        self, client: Client, device: Device, device_token: str, services: Services
    ) -> None:
        package = make_package(PHOTO, version="")
        package["media"]["data"] = "?"
        answer = post_signed(client, bearer(device_token), device.sign(package))
        assert_problem(answer, 400, "invalid_package")
        assert sorted(pointers(answer)) == ["/media/data", "/version"]
        package = make_package(PHOTO)
        package["media"]["size"] += 1
        answer = post_signed(client, bearer(device_token), device.sign(package))
        assert_problem(answer, 422, "content_mismatch")
        package["media"]["type"] = "image/png"
        answer = post_signed(client, bearer(device_token), device.sign(package))
        assert_problem(answer, 415, "unsupported_media_type")
        answer = post_signed(client, bearer(device_token), device.sign({}, payload=None))
        assert_problem(answer, 422, "content_mismatch")
        assert_nothing_stored(services)

    def test_claims_without_a_package_are_refused(
        self, client: Client, device: Device, device_token: str
    ) -> None:
        claims = {
            "sub": "event_submission",
            "aud": "event_server",
            "iss": "event_client",
            "iat": seconds(),
            "exp": seconds(60),
        }
        header = {"alg": "ES256", "typ": "JWT"}
        text = jws.serialize_compact(header, json.dumps(claims), private_key(device))
        answer = post_signed(client, bearer(device_token), text)
        assert_problem(answer, 400, "invalid_package")
        assert pointers(answer) == ["/payload"]


class TestForwardedByARelay:
    def test_both_names_are_recorded(
        self, client: Client, relay: Headers, device: Device, device_token: str
    ) -> None:
        for path in (EVENTS, SIGNED_EVENTS):
            package = make_package(PHOTO)
            text = device.sign(package, certificate=device_token)
            answer = post_signed(client, relay, text, path)
            assert answer.status_code == 201, answer.text
            record = record_of(client, relay, answer)
            assert record["submittedBy"] == {"subject": "relay-1", "role": "relay"}
            assert record["device"] == subject_of(device)
            assert record["signed"] is True
            # the device may see what the relay brought for it
            assert record_of(client, bearer(device_token), answer) == record

    def test_without_the_devices_certificate_it_is_refused(
        self, client: Client, relay: Headers, device: Device, services: Services
    ) -> None:
        answer = post_signed(client, relay, device.sign(make_package()))
        assert_problem(answer, 401, "device_certificate_missing")
        assert_nothing_stored(services)

    def test_under_another_certificate_it_is_refused(
        self, client: Client, relay: Headers, device: Device, services: Services
    ) -> None:
        other = enroll(client, Device()).json["token"]
        answer = post_signed(client, relay, device.sign(make_package(), certificate=other))
        assert_problem(answer, 401, "signature_invalid")
        as_relay = certificate(services, Role.RELAY, "relay-2", device.public_key)
        for token in (as_relay, "nonsense", relay["Authorization"].split()[1]):
            answer = post_signed(client, relay, device.sign(make_package(), certificate=token))
            assert_problem(answer, 401, "device_certificate_invalid")
        assert_nothing_stored(services)

    def test_under_a_revoked_certificate_it_is_refused(
        self,
        client: Client,
        relay: Headers,
        admin: Headers,
        device: Device,
        device_token: str,
        services: Services,
    ) -> None:
        certificate_id = services.identities.authenticate(device_token).certificate_id
        revoked = client.simulate_delete(f"/api/v1/certificates/{certificate_id}", headers=admin)
        assert revoked.status_code == 204
        text = device.sign(make_package(), certificate=device_token)
        assert_problem(post_signed(client, relay, text), 401, "device_certificate_invalid")
        assert_problem(post_signed(client, bearer(device_token), text), 401, "certificate_revoked")
        assert_nothing_stored(services)

    @pytest.mark.parametrize(
        ("signed", "begins", "ends", "code"),
        [
            (-6 * DAY, -6 * DAY - 60, -5 * DAY, None),
            (-7 * DAY + 60, -7 * DAY, -6 * DAY, None),
            (-7 * DAY - 60, -8 * DAY, -6 * DAY, "package_expired"),
            (-6 * DAY, -5 * DAY, DAY, "device_certificate_invalid"),
            (-4 * DAY, -6 * DAY, -5 * DAY, "device_certificate_invalid"),
            (1000, -60, DAY, "package_expired"),
        ],
        ids=["days late", "just in time", "too late", "before", "after", "from the future"],
    )
    def test_it_may_come_days_later_if_the_certificate_held_when_it_was_signed(
        self,
        make_services: Callable[..., Services],
        device: Device,
        signed: int,
        begins: int,
        ends: int,
        code: str | None,
    ) -> None:
        services = make_services(JWT_SECRET=SECRET)
        client = falcon.testing.TestClient(services.application())
        relay = bearer(certificate(services, Role.RELAY, "relay-1"))
        token = craft_token(SECRET, device_claims(device, seconds(begins), seconds(ends)))
        text = device.sign(make_package(), certificate=token, issued_at=seconds(signed))
        answer = post_signed(client, relay, text)
        if code is None:
            assert answer.status_code == 201, answer.text
        else:
            assert_problem(answer, 401, code)
            assert_nothing_stored(services)

    def test_what_a_device_signed_long_ago_it_cannot_send_itself(
        self, client: Client, device: Device, device_token: str
    ) -> None:
        text = device.sign(make_package(), issued_at=seconds(-2 * 3600))
        assert_problem(post_signed(client, bearer(device_token), text), 401, "package_expired")


class TestWhoMayNot:
    @pytest.mark.parametrize("path", [EVENTS, SIGNED_EVENTS])
    def test_an_admin_sends_no_events(
        self, client: Client, admin: Headers, device: Device, services: Services, path: str
    ) -> None:
        assert_problem(post_event(client, admin, make_package(), path), 403, "forbidden")
        assert_problem(
            post_signed(client, admin, device.sign(make_package()), path), 403, "forbidden"
        )
        assert_nothing_stored(services)

    @pytest.mark.parametrize("path", [EVENTS, SIGNED_EVENTS])
    def test_nobody_sends_no_events(self, client: Client, services: Services, path: str) -> None:
        assert_problem(post_event(client, {}, make_package(), path), 401, "unauthenticated")
        assert_nothing_stored(services)
