"""The steps of the demo, in order; each goes on only if all that it shows did hold."""

from __future__ import annotations

import subprocess
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import httpx

from eventserver_core.demo.checking import Checking
from eventserver_core.demo.client import ApiClient
from eventserver_core.demo.device import Device
from eventserver_core.demo.expectations import StepFailedError, expect
from eventserver_core.demo.narration import Narrator
from eventserver_core.demo.relay import Relay, check_audit, make_admin
from eventserver_core.demo.sending import Sending
from eventserver_core.demo.sent import SentEvent, short
from eventserver_core.demo.stage import Stage

FAILURES = (
    StepFailedError,
    httpx.HTTPError,
    subprocess.SubprocessError,
    zipfile.BadZipFile,
    OSError,
    LookupError,
    TypeError,
    ValueError,
)
"""What a step that doesn't hold ends with; an answer that lacks a member is a ``LookupError``."""

_CONFIRM_SECONDS = 60.0
_POLL_SECONDS = 0.2
_STATES = ("stored", "batched", "anchored", "confirmed")


class Demo:
    """One run.

    Args:
        say: tells what happens.
        stage: what it runs on.
        folder: where forged copies go.
        output: where the evidence is left.
    """

    def __init__(self, say: Narrator, stage: Stage, folder: Path, output: Path) -> None:
        self._say = say
        self._stage = stage
        self._folder = folder
        self._output = output

    def run(self) -> Path:
        """Do every step, and return the evidence that is left.

        Raises:
            Exception: one of ``FAILURES``; a step did not hold.
        """
        with self._stage as stage:
            send_to, ask = stage.start()
            commands = stage.run_command()
            checking = Checking(self._say, commands, stage.rpc_url)
            admin, relay_certificate = make_admin(self._say, commands)
            with (
                ApiClient(send_to) as sender,
                ApiClient(ask) as client,
                Relay(self._say, self._folder) as relay,
            ):
                relay.let_in(client, admin)
                device, sending = Device(), Sending(self._say, sender)
                certificate = sending.let_device_in(device)
                sending.send_json(relay_certificate)
                signed = sending.send_signed(device, certificate, relay)
                sending.send_form(relay_certificate)
                self._wait(client, sending.events)
                checking.check_proofs(client, sending.events)
                path = self._download(client, signed, admin)
                check_audit(self._say, commands)
                stopped = relay.stop()
            self._stop(stage, stopped)
            checking.check_offline(path)
            checking.forge(path, self._folder)
        self._sum_up(sending.events)
        return path

    def _wait(self, client: ApiClient, events: Sequence[SentEvent]) -> None:
        self._say.step(
            "Wait until they are anchored and confirmed",
            "The worker seals them into a Merkle tree, here after 2 seconds and not a minute, and "
            "writes the tree's root to the chain.",
        )
        deadline = time.monotonic() + _CONFIRM_SECONDS
        with self._say.waiting(len(events) * (len(_STATES) - 1)) as move:
            while True:
                for event in events:
                    event.verification = client.verification(event.receipt.digest_hex)
                states = [event.verification["status"] for event in events]
                expect(set(states) <= set(_STATES), f"states among {_STATES}", states)
                move(sum(map(_STATES.index, states)), _counted(states))
                if set(states) == {"confirmed"}:
                    break
                expect(
                    time.monotonic() < deadline,
                    f"every event confirmed within {_CONFIRM_SECONDS:.0f} seconds",
                    _counted(states),
                )
                time.sleep(_POLL_SECONDS)
        blocks = sorted({event.verification["blockNumber"] for event in events})
        self._say.held(
            f"all {len(events)} are confirmed, in block{'s' * (len(blocks) > 1)} "
            f"{', '.join(map(str, blocks))} of {self._stage.chain}"
        )

    def _download(self, client: ApiClient, event: SentEvent, admin: str) -> Path:
        self._say.step("Download the evidence of the signed photo, as the admin")
        self._output.mkdir(parents=True, exist_ok=True)
        path = self._output / f"event-{event.receipt.event_id}.zip"
        client.download_evidence(event.receipt.digest_hex, admin, path)
        self._say.held(f"{path} ({path.stat().st_size:,} bytes)")
        return path

    def _stop(self, stage: Stage, relay_status: int | None) -> None:
        self._say.step("Stop the relay and the server", "What follows needs nothing of them.")
        statuses = [relay_status, *stage.stop_servers()]
        expect(not any(statuses), "exit status 0", f"exit status {statuses}")
        self._say.held("they finished what they were doing and ended with status 0")

    def _sum_up(self, events: Sequence[SentEvent]) -> None:
        self._say.table(
            ("event", "sent as", "hash", "status", "block", "verdict"),
            [
                (
                    event.name,
                    event.how,
                    short(event.receipt.digest_hex),
                    event.verification["status"],
                    str(event.verification["blockNumber"]),
                    event.verdict,
                )
                for event in events
            ],
        )


def _counted(states: Sequence[str]) -> str:
    return ", ".join(f"{states.count(state)} {state}" for state in _STATES if state in states)
