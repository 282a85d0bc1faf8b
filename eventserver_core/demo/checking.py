"""The steps in which proofs and evidence are checked, the true and the forged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eventserver_core.demo.client import ApiClient
from eventserver_core.demo.expectations import expect
from eventserver_core.demo.narration import Narrator
from eventserver_core.demo.sent import SentEvent, short
from eventserver_core.demo.server import LocalServer
from eventserver_core.demo.tampering import change_annotation, change_file, flip_one_bit
from eventserver_core.domain.evidence import EVENT_FILE, MEDIA_STEM, Evidence, check_evidence
from eventserver_core.domain.proof import Outcome, Step, Verdict

_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


class Checking:
    """Checks what was sent.

    Args:
        say: tells what happens.
        server: runs commands; it need not be up.
        rpc_url: the node to ask about anchors; None where there is none.
    """

    def __init__(self, say: Narrator, server: LocalServer, rpc_url: str | None = None) -> None:
        self._say = say
        self._server = server
        self._node = ("--rpc-url", rpc_url) if rpc_url else ()

    def check_proofs(self, client: ApiClient, events: Sequence[SentEvent]) -> None:
        """Ask for each event's proof, and check it against what was sent."""
        self._say.step(
            "Verify each event, fetch its proof and check it",
            "GET /api/v1/events/{hash}/verify and /proof are there for anyone to ask; the check "
            "is made here, from what was sent, and takes nobody's word for it.",
        )
        for event in events:
            digest_hex = event.receipt.digest_hex
            event.verification = client.verification(digest_hex)
            found = {name: event.verification[name] for name in ("exists", "status")}
            wanted = {"exists": True, "status": "confirmed"}
            expect(found == wanted, json.dumps(wanted), json.dumps(found))
            proof = client.proof(digest_hex)
            evidence = Evidence(
                event=event.statement.content,
                media=[event.media.read_bytes()],
                signed_package=None,
                public_key=None,
                proof=json.dumps(proof).encode(),
            )
            report = check_evidence(evidence, _later)
            event.verdict = report.verdict.value
            failed = [f"{s.name}: {s.detail}" for s in report.steps if s.outcome is Outcome.FAILED]
            expect(
                report.verdict is Verdict.VALID,
                f"a valid proof of the {event.name}",
                "; ".join([report.verdict.value, *failed]),
            )
            root, block = proof["merkle"]["root"], proof["anchor"]["blockNumber"]
            self._say.held(
                f"{event.name}: on the chain; its hash leads to root {short(root)} in block {block}"
            )

    def check_offline(self, path: Path) -> None:
        """Check evidence with the command that is there for it."""
        self._say.step("Check the evidence, with the server gone")
        self._say.command(" ".join(("eventserver verify", path.name, *self._node)))
        verdict, steps = self._verify(path)
        expect(verdict == "valid", "the verdict valid", f"{verdict}: {json.dumps(steps)}")
        for step in steps:
            tell = self._say.held if step["outcome"] == "passed" else self._say.noted
            detail = _DIGEST.sub(lambda found: short(found.group()), step["detail"])
            tell(f"{step['name']}: {detail}")
        self._say.held("verdict: valid")

    def forge(self, path: Path, folder: Path) -> None:
        """Change copies of evidence, kept in a folder, and see that it is noticed."""
        self._say.step("Forge it, and see it caught")
        for what, name, change, wanted in (
            ("one bit of the photo changed", f"{MEDIA_STEM}.jpg", flip_one_bit, ["media"]),
            (
                "120 visitors made 1,200",
                EVENT_FILE,
                change_annotation("visitors", 1200),
                ["statement", "signature"],
            ),
        ):
            forged = folder / f"forged-{Path(name).stem}.zip"
            change_file(path, forged, name, change)
            verdict, steps = self._verify(forged)
            failed = [step["name"] for step in steps if step["outcome"] == "failed"]
            expect(
                (verdict, failed) == ("invalid", wanted),
                f"the verdict invalid, failed: {', '.join(wanted)}",
                f"{verdict}, failed: {', '.join(failed) or 'nothing'}",
            )
            self._say.held(f"{what}: verdict invalid, failed: {', '.join(failed)}")

    def _verify(self, path: Path) -> tuple[str, Sequence[dict[str, str]]]:
        done = self._server.run_command("verify", str(path.absolute()), "--json", *self._node)
        expect(done.returncode in (0, 1), "a verdict", done.stderr.strip())
        report = json.loads(done.stdout)
        expect(
            (done.returncode == 0) == (report["verdict"] == "valid"),
            "exit status 0 for valid, 1 for any other verdict",
            f"{done.returncode} for {report['verdict']}",
        )
        return report["verdict"], report["steps"]


def _later(_proof: Mapping[str, Any]) -> Step:
    return Step("chain", Outcome.SKIPPED, "it is asked at the end, with the servers gone")
