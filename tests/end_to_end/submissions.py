"""Events in every form that they may come in, and clients that send them until they are taken."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import rfc8785

from eventserver_core.demo.device import Device
from eventserver_core.testing.contracts.ratelimit import Grant
from eventserver_core.testing.factories import make_package

_BOUNDARY = "end-to-end-boundary"
FORM_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"
_GIVE_UP_SECONDS = 120.0


@dataclass(frozen=True)
class Submission:
    """A request that carries one event, the same bytes however often it is sent.

    Attributes:
        statement: what the server is to hash, worked out here and not by the server.
        media: the bytes that it carries.
        jws: the signed package that it carries.
    """

    path: str
    headers: Mapping[str, str]
    content: bytes
    statement: Mapping[str, Any]
    media: bytes | None = None
    jws: str | None = None

    @property
    def digest_hex(self) -> str:
        """The event hash."""
        return hashlib.sha256(rfc8785.dumps(dict(self.statement))).hexdigest()


@dataclass(frozen=True)
class Batch:
    """A request that carries many events, each of which could be sent by itself."""

    submissions: Sequence[Submission]

    @property
    def path(self) -> str:
        """Where batches go."""
        return "/api/v1/events/batch"

    @property
    def headers(self) -> Mapping[str, str]:
        """The relay's."""
        return {**self.submissions[0].headers, "Content-Type": "application/x-ndjson"}

    @property
    def content(self) -> bytes:
        """A line for each event."""
        return b"\n".join(submission.content for submission in self.submissions)

    def part(self, rng: random.Random) -> Batch:
        """Return some of it, in another order."""
        chosen = rng.sample(self.submissions, rng.randint(1, len(self.submissions)))
        return Batch(chosen)


@dataclass(frozen=True)
class Sender:
    """Who sends: certificates in headers, and a device to sign with."""

    relay: Mapping[str, str]
    device: Device
    device_token: str
    photo: Path

    def plain(self) -> Submission:
        """JSON without media, from a relay."""
        package = make_package()
        return self._json(package, package)

    def with_photo(self) -> Submission:
        """JSON with a photo inside, from a relay."""
        package, statement, media = self._with_photo()
        return self._json(package, statement, media)

    def form(self) -> Submission:
        """A form with a photo, from a relay."""
        package, statement, media = self._with_photo()
        del package["media"]["data"]
        content = b"".join([form_start(package), media, form_end()])
        headers = {**self.relay, "Content-Type": FORM_TYPE}
        return Submission("/api/v1/events", headers, content, statement, media)

    def signed(self) -> Submission:
        """A signed package from its device itself."""
        headers = {"Authorization": f"Bearer {self.device_token}"}
        return self._signed(headers, None)

    def forwarded(self) -> Submission:
        """A device's signed package, forwarded by a relay."""
        return self._signed(self.relay, self.device_token)

    def _signed(self, bearer: Mapping[str, str], certificate: str | None) -> Submission:
        package, statement, media = self._with_photo()
        jws = self.device.sign(package, certificate=certificate)
        content = json.dumps({"jwtEventData": jws}).encode()
        headers = {**bearer, "Content-Type": "application/json"}
        return Submission("/api/v1/events/package", headers, content, statement, media, jws)

    def _with_photo(self) -> tuple[dict[str, Any], dict[str, Any], bytes]:
        """Return a package with a photo that nobody sent before, its statement and the photo."""
        # whatever follows a PNG's last chunk is no part of the picture
        media = self.photo.read_bytes() + os.urandom(16)
        members = {"type": "image/png", "name": self.photo.name, "size": len(media)}
        inside = {"data": base64.b64encode(media).decode()}
        beside = {"sha256": hashlib.sha256(media).hexdigest()}
        package = make_package()
        return (
            package | {"media": members | inside},
            package | {"media": members | beside},
            media,
        )

    def _json(
        self, package: Mapping[str, Any], statement: Mapping[str, Any], media: bytes | None = None
    ) -> Submission:
        headers = {**self.relay, "Content-Type": "application/json"}
        return Submission("/api/v1/events", headers, json.dumps(package).encode(), statement, media)


def enroll(url: str) -> tuple[Device, str]:
    """Get a device its certificate, for real work."""
    device = Device()
    challenge = httpx.post(f"{url}/api/v1/pow/challenge").json()
    answer = httpx.post(f"{url}/api/v1/pow/verify", json=device.solve(challenge))
    assert answer.status_code == 200, answer.text
    return device, answer.json()["token"]


def form_start(package: Mapping[str, Any]) -> bytes:
    """Return a form's bytes up to its media."""
    return (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="event"\r\n'
        "Content-Type: application/json\r\n\r\n"
        f"{json.dumps(package)}\r\n"
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="media"; filename="media"\r\n'
        f"Content-Type: {package['media']['type']}\r\n\r\n"
    ).encode()


def form_end() -> bytes:
    """Return a form's bytes after its media."""
    return f"\r\n--{_BOUNDARY}--\r\n".encode()


@dataclass
class Relay:
    """A client that sends one submission after the other, each until it is answered.

    As a relay does, it sends the very same bytes again after a lost connection, and when it is
    told "later" (503) or "slower" (429); every other refusal is kept as a fault.

    Args:
        url: where the server is now.
        kinds: makes the next submission.
        seed: of its choices.
        stopping: ends the loop, after the present submission.
        batched: makes what is sent in batches, too; none sends no batches.

    Attributes:
        answers: for each submission every answer that was given to it: status and body.
        faults: what should not have happened.
        grants: for each certificate the calls that its limit let through.
        late: how often a first answer was 200: the event was stored, and its answer was lost.
    """

    url: Callable[[], str]
    kinds: Sequence[Callable[[], Submission]]
    seed: str
    stopping: threading.Event
    batched: Sequence[Callable[[], Submission]] = ()
    answers: list[tuple[Submission, list[Any]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    grants: dict[str, list[Grant]] = field(default_factory=lambda: defaultdict(list))
    late: int = 0

    def run(self) -> None:
        """Send until told to stop, or until something goes wrong."""
        rng = random.Random(self.seed)  # noqa: S311 - chooses, keeps no secret
        while not self.stopping.is_set() and not self.faults:
            if self.batched and rng.random() < 0.3:
                self._run_batch(rng)
                continue
            submission = rng.choice(self.kinds)()
            if rng.random() < 0.2:
                self._send_and_hang_up(submission)
            first = self._send(submission)
            self.late += first[0] == 200
            answers = [first]
            while rng.random() < 0.25 and not self.faults:
                answers.append(self._send(submission))
            self.answers.append((submission, answers))
            self.stopping.wait(rng.uniform(0, 0.05))

    def _run_batch(self, rng: random.Random) -> None:
        """Send a batch until it is answered, and then perhaps parts of it again."""
        batch = Batch([rng.choice(self.batched)() for _ in range(rng.randint(1, 25))])
        if rng.random() < 0.2:
            self._send_and_hang_up(batch)
        answers: dict[str, list[Any]] = {s.digest_hex: [] for s in batch.submissions}
        sent = batch
        while not self.faults:
            _, answer = self._send(sent)
            if answer is None:
                return
            for submission, result in zip(sent.submissions, answer["results"], strict=True):
                if "receipt" not in result:
                    self.faults.append(f"a line of a batch: {result}")
                    return
                told = (result["status"], result["receipt"])
                answers[submission.digest_hex].append(told)
            if rng.random() < 0.6:
                break
            sent = batch.part(rng)
        for submission in batch.submissions:
            if told := answers[submission.digest_hex]:
                self.late += told[0][0] == 200
                self.answers.append((submission, told))

    def _send(self, submission: Submission | Batch) -> tuple[int, Any]:
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            began = time.monotonic()
            try:
                status, content = _request(self.url(), submission)
                if status not in (429, 503):
                    bearer = submission.headers["Authorization"]
                    self.grants[bearer].append(Grant(1, began, time.monotonic()))
                if status in (200, 201):
                    return status, json.loads(content)
            except (OSError, http.client.HTTPException):
                pass  # the server was killed; it comes back, perhaps elsewhere
            else:
                if status not in (429, 503):
                    self.faults.append(f"{submission.path}: {status} {content!r}")
                    return status, None
            time.sleep(0.02)
        self.faults.append(f"{submission.path}: no answer within {_GIVE_UP_SECONDS} s")
        return 0, None

    def _send_and_hang_up(self, submission: Submission | Batch) -> None:
        with closing(_connect(self.url())) as connection, suppress(OSError):  # lost even earlier
            _post(connection, submission)


def acknowledged(relays: Iterable[Relay]) -> list[tuple[Submission, list[Any]]]:
    """Return all that was sent, with what was answered."""
    return [answered for relay in relays for answered in relay.answers]


def _request(url: str, submission: Submission | Batch) -> tuple[int, bytes]:
    with closing(_connect(url)) as connection:
        _post(connection, submission)
        response = connection.getresponse()
        return response.status, response.read()


def _post(connection: http.client.HTTPConnection, submission: Submission | Batch) -> None:
    connection.request("POST", submission.path, submission.content, dict(submission.headers))


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
