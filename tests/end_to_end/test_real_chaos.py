"""Three instances and two workers on real parts, under load, while everything dies in turn."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.domain.proof import Outcome, Verdict, check_proof, read_anchor, verdict
from eventserver_core.plugins import Plugins
from eventserver_core.testing.contracts.ratelimit import busiest_window
from eventserver_core.testing.parts import Anvil, Part
from eventserver_core.testing.server import EventServerProcess
from tests.end_to_end.real_system import RealSystem
from tests.end_to_end.stored import Stored
from tests.end_to_end.submissions import Relay, Sender, Submission, acknowledged, enroll
from tests.end_to_end.waiting import wait_until

INSTANCES = 3
WORKERS = 2
RELAYS = 8
DEATHS = 10
"""How often each part is restarted, and how often an instance and a worker are killed."""
PROGRESS = 5
"""So many events are acknowledged between two deaths."""
PATIENCE = 120.0
LIMIT, WINDOW = 16, 4
LOCAL_SHARE = 0.1
MAX_GAS = 24_000

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.xdist_group("heavy")]


def test_nothing_is_lost_or_doubled_whatever_dies(tmp_path: Path, photo: Path) -> None:
    seed = os.environ.get("CRASH_SEED") or str(random.SystemRandom().randrange(2**32))
    print(f"to replay the choices: CRASH_SEED={seed}")
    with RealSystem(
        tmp_path,
        security__rate_limit_events=f"{LIMIT}/{WINDOW}",
        ratelimit__local_share=LOCAL_SHARE,
    ) as system:
        system.use_contract()
        for _ in range(INSTANCES):
            system.start_instance()
        for _ in range(WORKERS):
            system.start_worker()
        stopping = threading.Event()
        relays = make_relays(system, photo, seed, stopping)
        with ThreadPoolExecutor(RELAYS) as threads:
            sending = [threads.submit(relay.run) for relay in relays]
            try:
                let_everything_die(system, relays, random.Random(seed))  # noqa: S311
            finally:
                stopping.set()
            for future in sending:
                future.result()
        assert not [fault for relay in relays for fault in relay.faults]
        check_stored(system.stored(), relays)
        check_chain(system, relays)
        check_limits(relays)
        for process in (*system.instances, *system.workers):
            assert process.stop() == 0


def make_relays(
    system: RealSystem, photo: Path, seed: str, stopping: threading.Event
) -> list[Relay]:
    """Make relays, each with a certificate and a device of its own, that use every instance."""
    issue = system.issue()
    relays = []
    for number in range(RELAYS):
        turns = count(number)
        device, token = enroll(system.instances[0].url)
        bearer = {"Authorization": f"Bearer {issue(Role.RELAY, f'relay-{number}').token}"}
        sender = Sender(bearer, device, token, photo.with_suffix(".png"))
        kinds = [sender.plain, sender.with_photo, sender.form, sender.signed, sender.forwarded]
        relays.append(
            Relay(
                lambda turns=turns: system.instances[next(turns) % INSTANCES].url,
                kinds,
                f"{seed} {number}",
                stopping,
            )
        )
    return relays


def let_everything_die(system: RealSystem, relays: Sequence[Relay], rng: random.Random) -> None:
    """Restart each part in turn and kill processes at random, with progress in between."""
    deaths: list[Callable[[], None]] = []
    for turn in range(DEATHS):
        for part in system.parts:
            # a chain that forgets is another fault: that node is always let finish
            killed = turn % 2 == 1 and not isinstance(part, Anvil)
            deaths.append(lambda part=part, killed=killed: restart(part, killed))
    for processes in (system.instances, system.workers):
        for _ in range(DEATHS):
            deaths.append(lambda processes=processes: kill(rng.choice(processes)))
    rng.shuffle(deaths)
    for death in deaths:
        before = acknowledgements(relays)
        death()
        wait_until(
            lambda before=before: (
                acknowledgements(relays) >= before + PROGRESS
                or any(relay.faults for relay in relays)
            ),
            "events are acknowledged again",
            seconds=PATIENCE,
        )
        if any(relay.faults for relay in relays):
            return


def restart(part: Part, killed: bool) -> None:
    part.restart(kill=killed)


def kill(process: EventServerProcess) -> None:
    process.kill_all()
    process.launch()
    process.wait_until_up()


def acknowledgements(relays: Sequence[Relay]) -> int:
    return sum(len(relay.answers) for relay in relays)


def check_stored(stored: Stored, relays: Sequence[Relay]) -> None:
    """Make sure that each acknowledged event is there once, byte for byte, in one batch."""
    wait_until(
        lambda: (
            not stored.rows(
                "SELECT 1 FROM events e LEFT JOIN batches b ON b.id = e.batch_id"
                " WHERE b.id IS NULL OR b.state <> 'confirmed' LIMIT 1"
            )
        ),
        "all events are anchored for good",
        seconds=PATIENCE,
    )
    sent = acknowledged(relays)
    rows = stored.events()
    events = {row["digest_hex"]: row for row in rows}
    late = sum(relay.late for relay in relays)
    print(f"{len(sent)} events, {late} of them known only by the answer to a retry")
    assert len(rows) == len(events) == len(sent) > RELAYS * DEATHS

    def check(answered: tuple[Submission, list[Any]]) -> None:
        submission, answers = answered
        event = events[submission.digest_hex]
        assert len({tuple(sorted(body.items())) for _, body in answers}) == 1
        assert answers[0][1]["storageLocation"] == event["storage_location"]
        stored.check_event(event)
        assert stored.envelope(event)["statement"] == submission.statement
        if submission.media is not None:
            assert stored.object(event["media_key"]) == submission.media
        if submission.jws is not None:
            assert stored.object(event["signed_package_key"]) == submission.jws.encode()

    with ThreadPoolExecutor(4) as threads:
        for _ in threads.map(check, sent):
            pass
    stored.check_batches()


def check_chain(system: RealSystem, relays: Sequence[Relay]) -> None:
    """Make sure that every root is on the chain once, and every proof leads there."""
    roots = {row["root_hex"] for row in system.stored().rows("SELECT root_hex FROM batches")}
    assert dict(system.anchored_roots()) == dict.fromkeys(roots, 1)
    assert max(system.gas_used()) <= MAX_GAS
    plugins = Plugins({"chain": "evm"})
    asked: set[str] = set()
    with httpx.Client(base_url=system.instances[0].url, timeout=60) as client:
        for submission, _ in acknowledged(relays):
            answer = client.get(f"/api/v1/events/{submission.digest_hex}/proof")
            assert answer.status_code == 200, answer.text
            proof = answer.json()
            assert proof["hash"] == submission.digest_hex
            assert verdict(check_proof(proof)) is Verdict.VALID
            root_hex = proof["merkle"]["root"]
            if root_hex not in asked:
                asked.add(root_hex)
                root, anchor = bytes.fromhex(root_hex), read_anchor(proof)
                step = plugins.check_anchor(anchor, root, system.anvil.url)
                assert step is not None
                assert step.outcome is Outcome.PASSED, step.detail
    assert asked == roots


def check_limits(relays: Sequence[Relay]) -> None:
    """Make sure that nobody got more than the limit and the share that is documented."""
    share = max(1, int(LIMIT * LOCAL_SHARE))
    processes = 2 * INSTANCES  # one that was started again has a share of its own
    most = LIMIT + share * (processes + 1)
    found = []
    for grants in chain.from_iterable(relay.grants.values() for relay in relays):
        found.append(busiest_window(sorted(grants, key=lambda grant: grant.began), WINDOW))
    print(f"the most calls in {WINDOW} s: {max(found)}, with a limit of {LIMIT}")
    assert max(found) <= most
