"""The HTTP calls that the demo makes; every answer is checked before anything is read from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from eventserver_core.demo.expectations import StepFailedError

_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to an event.

    Attributes:
        status_code: 201 for a new event, 200 for one that was there.
        event_id: its id.
        digest_hex: its hash.
        answer: all that was said.
    """

    status_code: int
    event_id: str
    digest_hex: str
    answer: Mapping[str, Any]


class ApiClient:
    """Calls a server, with whatever certificate each call needs.

    Args:
        url: the server's address.
    """

    def __init__(self, url: str) -> None:
        # the caller's proxies and .netrc are none of the demo's business
        self._http = httpx.Client(base_url=url, timeout=_SECONDS, trust_env=False)

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, so that the server needn't wait for them."""
        self._http.close()

    def health(self) -> dict[str, Any]:
        """Return how well the server is."""
        return _answer(self._http.get("/health"), 200)

    def challenge(self) -> dict[str, Any]:
        """Ask for a proof of work to be done."""
        return _answer(self._http.post("/api/v1/pow/challenge"), 200)

    def redeem(self, solution: Mapping[str, Any]) -> str:
        """Trade a solution for a device's certificate."""
        answer = _answer(self._http.post("/api/v1/pow/verify", json=solution), 200)
        return str(answer["token"])

    def refused(self, solution: Mapping[str, Any]) -> str:
        """Return the code with which a solution is refused, as it must be."""
        response = self._http.post("/api/v1/pow/verify", json=solution)
        return str(_answer(response, 400, 401, 403, 409)["code"])

    def send_json(self, package: Mapping[str, Any], certificate: str) -> Receipt:
        """Send a package with its media inside."""
        return self._sent("/api/v1/events", certificate, json=package)

    def send_signed(self, signed_package: str, certificate: str) -> Receipt:
        """Send a package as its author signed it."""
        body = {"jwtEventData": signed_package}
        return self._sent("/api/v1/events/package", certificate, json=body)

    def send_form(self, package: Mapping[str, Any], media: Path, certificate: str) -> Receipt:
        """Send a package and, beside it, its media as raw bytes."""
        with media.open("rb") as stream:
            parts = {
                "event": (None, json.dumps(package), "application/json"),
                "media": (media.name, stream, package["media"]["type"]),
            }
            return self._sent("/api/v1/events", certificate, files=parts)

    def verification(self, digest_hex: str) -> dict[str, Any]:
        """Ask whether a hash is on the blockchain."""
        return _answer(self._http.get(f"/api/v1/events/{digest_hex}/verify"), 200)

    def proof(self, digest_hex: str) -> dict[str, Any]:
        """Fetch an event's proof."""
        return _answer(self._http.get(f"/api/v1/events/{digest_hex}/proof"), 200)

    def download_evidence(self, digest_hex: str, certificate: str, target: Path) -> None:
        """Write an event's evidence (a ZIP) to a file."""
        path = f"/api/v1/events/{digest_hex}/package"
        with self._http.stream("GET", path, headers=_bearer(certificate)) as response:
            if response.status_code != 200:
                response.read()
                _answer(response, 200)
            with target.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)

    def register_relay(
        self, address: str, public_key: Mapping[str, Any], admin: str
    ) -> dict[str, Any]:
        """Put a relay on record."""
        sent = {"networkAddress": address, "publicKey": public_key, "region": "here"}
        response = self._http.post("/api/v1/relays", json=sent, headers=_bearer(admin))
        return _answer(response, 201)

    def approve_relay(self, relay_id: str, admin: str) -> dict[str, Any]:
        """Let a relay take part."""
        path = f"/api/v1/relays/{relay_id}"
        response = self._http.patch(path, json={"state": "active"}, headers=_bearer(admin))
        return _answer(response, 200)

    def invite_relay(self, relay_id: str, admin: str) -> dict[str, Any]:
        """Get what a relay enrols with."""
        path = f"/api/v1/relays/{relay_id}/enrollment"
        return _answer(self._http.post(path, headers=_bearer(admin)), 201)

    def relay_health(self, relay_id: str, admin: str) -> dict[str, Any]:
        """Let the server ask a relay how it is."""
        path = f"/api/v1/relays/{relay_id}/health"
        return _answer(self._http.get(path, headers=_bearer(admin)), 200)

    def _sent(self, path: str, certificate: str, **content: Any) -> Receipt:
        response = self._http.post(path, headers=_bearer(certificate), **content)
        answer = _answer(response, 201, 200)
        return Receipt(response.status_code, answer["eventId"], answer["hash"], answer)


def _bearer(certificate: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {certificate}"}


def _answer(response: httpx.Response, *wanted: int) -> dict[str, Any]:
    request = f"{response.request.method} {response.request.url.path}"
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.status_code in wanted and isinstance(answer, dict):
        return answer
    expected = " or ".join(str(status) for status in wanted)
    found = str(response.status_code)
    if isinstance(answer, dict) and "code" in answer:
        found += f" ({answer['code']}): {answer.get('detail', '')}"
    raise StepFailedError(f"{expected} with a JSON object for {request}", found)
