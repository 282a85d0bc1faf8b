"""Nothing that was acknowledged is lost, whatever is killed whenever."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from eventserver_core.backends.auth import IssuedCertificate, Role
from eventserver_core.domain.proof import Verdict, check_proof, verdict
from eventserver_core.testing.server import EventServerProcess
from tests.end_to_end.conftest import variables
from tests.end_to_end.stored import Stored
from tests.end_to_end.submissions import Relay, Sender, acknowledged, enroll
from tests.end_to_end.waiting import children, group_of, wait_until

KILLS = {"server": 100, "worker": 30}
SENDERS = 10
LONGEST_LIFE = 0.6
"""Seconds that a process lives at most once it is up; about as long as it takes to start."""

SETTINGS: dict[str, object] = {
    "server__workers": 2,
    "server__threads": 16,
    "security__rate_limit_per_minute": 1_000_000,
    "security__rate_limit_public": "1000000/60",
    "security__pow_difficulty": 1,
    "anchoring__batch_max_age": 0.2,
    "anchoring__poll_interval": 0.05,
    "anchoring__lease_duration": 0.5,
    "anchoring__retry_max_delay": 1,
}


class Victim:
    """A process that is killed again and again, and started again at once.

    Args:
        process: runs already.
        moment: the log event after which a kill hurts most.
        seed: of its choices.
        delay: is waited on; who sets it ends the waiting.

    Attributes:
        groups: the ids of all process groups that ever were.
        kills: how often something was killed.
    """

    def __init__(
        self, process: EventServerProcess, moment: str, seed: str, delay: threading.Event
    ) -> None:
        self.process = process
        self._moment = moment
        self.groups = [process.pid]
        self.kills = 0
        self._rng = random.Random(seed)  # noqa: S311 - chooses, keeps no secret
        self._delay = delay

    def suffer(self, kills: int) -> None:
        """Be killed that many times, at moments that nobody knows before."""
        for _ in range(kills):
            self._delay.wait(self._rng.uniform(0, LONGEST_LIFE))
            if self._rng.random() < 0.4:
                self.process.skip_log()
                with suppress(AssertionError):  # no such luck this time
                    self.process.wait_for_event(self._moment, seconds=1)
            self._kill()
            self.kills += 1

    def _kill(self) -> None:
        choice = self._rng.random()
        if choice < 0.35 and self._kill_one_child():
            return  # its master starts another one
        if choice < 0.5:
            self.process.signal(signal.SIGKILL)  # its children have to find out
            self.process.wait()
        else:
            self.process.kill_all()
        self.process.launch()
        self.groups.append(self.process.pid)
        if self._rng.random() < 0.85:  # else it is killed while it starts, or soon after
            self.process.wait_until_up()

    def _kill_one_child(self) -> bool:
        pids = sorted(child.pid for child in children(self.process))
        if not pids:
            return False
        try:
            os.kill(self._rng.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


@pytest.mark.slow
@pytest.mark.xdist_group("heavy")
def test_what_was_acknowledged_survives_a_hundred_kills_and_is_anchored_once(
    tmp_path: Path, photo: Path, issue: Callable[[Role, str], IssuedCertificate]
) -> None:
    seed = os.environ.get("CRASH_SEED") or str(random.SystemRandom().randrange(2**32))
    print(f"to replay the choices: CRASH_SEED={seed}")
    environ = variables(SETTINGS)
    server = EventServerProcess(["serve"], tmp_path, environ)
    worker = EventServerProcess(["worker"], tmp_path, environ, ready_event="worker_started")
    stopping = threading.Event()
    delay = threading.Event()
    victims: list[Victim] = []
    try:
        for process, moment in ((server, "event_stored"), (worker, "batch_sealed")):
            process.start()
            victims.append(Victim(process, moment, f"{seed} {moment}", delay))
        device, device_token = enroll(server.url)
        bearer = {"Authorization": f"Bearer {issue(Role.RELAY, 'relay-1').token}"}
        sender = Sender(bearer, device, device_token, photo.with_suffix(".png"))
        kinds = [sender.plain, sender.with_photo, sender.form, sender.signed, sender.forwarded]
        batched = [sender.plain, sender.plain, sender.forwarded, sender.with_photo]
        relays = [
            Relay(lambda: server.url, kinds, f"{seed} {number}", stopping, batched)
            for number in range(SENDERS)
        ]
        with ThreadPoolExecutor(SENDERS + len(KILLS)) as threads:
            sending = [threads.submit(relay.run) for relay in relays]
            try:
                suffering = [
                    threads.submit(victim.suffer, kills)
                    for victim, kills in zip(victims, KILLS.values(), strict=True)
                ]
                for future in suffering:
                    future.result()
                for process in (server, worker):
                    _revive(process, victims)
            finally:
                stopping.set()
            for future in sending:
                future.result()
        assert not [fault for relay in relays for fault in relay.faults]
        kills = [victim.kills for victim in victims]
        print(f"killed: server {kills[0]}, worker {kills[1]} times")
        assert kills[0] >= 100
        _check(Stored(tmp_path / "data"), relays, server.url)
        for process in (server, worker):
            assert process.stop() == 0
        _check_groups_are_gone(victims)
    finally:
        delay.set()
        for victim in victims:
            for leader in victim.groups:
                for left in group_of(leader):
                    left.kill()


def _revive(process: EventServerProcess, victims: list[Victim]) -> None:
    """Leave a process running that is up, whatever its last death was like."""
    process.kill_all()
    process.start()
    next(v for v in victims if v.process is process).groups.append(process.pid)


def _check(stored: Stored, relays: list[Relay], url: str) -> None:
    sent = acknowledged(relays)
    wait_until(
        lambda: (
            not stored.rows(
                "SELECT 1 FROM events e LEFT JOIN batches b ON b.id = e.batch_id"
                " WHERE b.id IS NULL OR b.state <> 'confirmed' LIMIT 1"
            )
        ),
        "all events are anchored for good",
        seconds=60,
    )
    rows = stored.events()
    events = {row["digest_hex"]: row for row in rows}
    assert len(rows) == len(events) == len(sent) > 100
    assert {submission.digest_hex for submission, _ in sent} == set(events)
    for submission, answers in sent:
        event = events[submission.digest_hex]
        assert [status for status, _ in answers[1:]] == [200] * (len(answers) - 1)
        received = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=event["received_at"])
        receipt = {
            "eventId": submission.statement["id"],
            "hash": submission.digest_hex,
            "storageLocation": event["storage_location"],
            "processedAt": received.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "status": "stored",
        }
        assert [answer for _, answer in answers] == [receipt] * len(answers)
        stored.check_event(event)
        assert stored.envelope(event)["statement"] == submission.statement
        if submission.media is not None:
            assert stored.object(event["media_key"]) == submission.media
        if submission.jws is not None:
            assert stored.signed_package(event) == submission.jws.encode()
    packs = Counter(row["pack_key"] for row in rows)
    shared = sum(size for size in packs.values() if size > 1)
    print(f"{len(rows)} events in {len(packs)} packs, {shared} of them beside others")
    assert shared > len(rows) / 4
    late = sum(relay.late for relay in relays)
    print(f"{len(sent)} events, {late} of them known only by the answer to a retry")
    stored.check_batches()
    batches = stored.rows("SELECT * FROM batches")
    roots = [entry["root"] for entry in stored.ledger()]
    assert sorted(roots) == sorted(batch["root_hex"] for batch in batches)
    assert len(roots) == len(set(roots))
    with httpx.Client(base_url=url) as client:
        for digest_hex in events:
            proof = client.get(f"/api/v1/events/{digest_hex}/proof")
            assert proof.status_code == 200, proof.text
            assert proof.json()["hash"] == digest_hex
            assert proof.json()["merkle"]["root"] in roots
            assert verdict(check_proof(proof.json())) is Verdict.VALID


def _check_groups_are_gone(victims: list[Victim]) -> None:
    for victim in victims:
        for leader in victim.groups:
            wait_until(lambda leader=leader: not group_of(leader), "no process is left behind")
