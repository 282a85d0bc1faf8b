"""The steps in which events are sent, each in another of the ways that there are."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from eventserver_core.demo.client import ApiClient, Receipt
from eventserver_core.demo.device import Device
from eventserver_core.demo.expectations import expect
from eventserver_core.demo.narration import Narrator
from eventserver_core.demo.relay import Relay
from eventserver_core.demo.samples import CLIP, PHOTO, make_event, statement_of
from eventserver_core.demo.sent import SentEvent, short


class Sending:
    """Sends events, and keeps what was answered.

    Args:
        say: tells what happens.
        client: calls the server.

    Attributes:
        events: what was sent, in order.
    """

    def __init__(self, say: Narrator, client: ApiClient) -> None:
        self._say = say
        self._client = client
        self.events: list[SentEvent] = []

    def let_device_in(self, device: Device) -> str:
        """Earn a certificate for a device's key, and return it."""
        self._say.step(
            "Let a device in by a proof of work",
            "A phone that nobody knows makes a key and earns a certificate for it.",
        )
        challenge = self._client.challenge()
        difficulty = challenge["difficulty"]
        started = time.monotonic()
        solution = device.solve(challenge)
        took, tries = time.monotonic() - started, solution["solution"]["nonce"] + 1
        self._say.held(
            f"a digest with {difficulty} zeros in front: found in {took:.2f} seconds, "
            f"at try {tries:,}"
        )
        certificate = self._client.redeem(solution)
        self._say.held("it is worth one certificate, bound to the device's key")
        code = self._client.refused(solution)
        self._say.held(f"the same work a second time is refused ({code})")
        return certificate

    def send_json(self, relay: str) -> None:
        """Send a photo inside JSON, twice."""
        self._say.step("Send a photo as JSON, from the relay")
        annotations = {"category": "Landscape", "title": "A path over a hill"}
        package = make_event(PHOTO, annotations, inline=True)
        receipt = self._client.send_json(package, relay)
        self._keep("photo", "JSON by a relay", package, PHOTO, receipt)
        again = self._client.send_json(package, relay)
        expect(
            (again.status_code, again.answer) == (200, receipt.answer),
            f"200 and the answer {json.dumps(receipt.answer)}",
            f"{again.status_code} {json.dumps(again.answer)}",
        )
        self._say.held("sent again, as after a lost answer: 200, the same answer, stored once")

    def send_signed(self, device: Device, certificate: str, relay: Relay) -> SentEvent:
        """Send a photo in a package that its device signed, through the relay."""
        self._say.step(
            "Send a photo that the device signed, through the relay",
            "The relay keeps it in a file first, then forwards it as its own certificate allows. "
            "The evidence shows whose key signed the event, not just who handed it in.",
        )
        annotations = {"category": "Landscape", "visitors": 120}
        package = make_event(PHOTO, annotations, inline=True)
        receipt = relay.send(device.sign(package, certificate=certificate))
        return self._keep("signed photo", "JWS via a relay", package, PHOTO, receipt)

    def send_form(self, relay: str) -> None:
        """Send a video beside its JSON."""
        self._say.step(
            "Send a video as a form, from the relay",
            "Its bytes travel beside the JSON and are streamed, however many there are.",
        )
        annotations = {"category": "Landscape", "title": "A short clip"}
        package = make_event(CLIP, annotations, inline=False)
        receipt = self._client.send_form(package, CLIP, relay)
        self._keep("video", "form by a relay", package, CLIP, receipt)

    def _keep(
        self, name: str, how: str, package: dict[str, Any], media: Path, receipt: Receipt
    ) -> SentEvent:
        statement = statement_of(package, media)
        expect(receipt.status_code == 201, "201 for a new event", receipt.status_code)
        expect(
            receipt.digest_hex == statement.digest_hex,
            f"the hash {statement.digest_hex}, worked out on this side",
            receipt.digest_hex,
        )
        size = media.stat().st_size
        self._say.held(f"201: {media.name} ({size:,} bytes) and what is said of it are stored")
        self._say.held(f"hash {short(receipt.digest_hex)} is what we worked out ourselves")
        event = SentEvent(name, how, media, statement, receipt, {"status": "stored"})
        self.events.append(event)
        return event
