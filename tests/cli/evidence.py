"""Evidence as a server gives it out, and ways to alter it."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import falcon.testing

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services, load_configuration, prepare_schema

Files = dict[str, bytes]


@dataclass(frozen=True)
class Given:
    """What a server gave out.

    Attributes:
        signed: the ZIP of an event with a photo, signed by its device and anchored.
        plain: the ZIP of an event without media or signature, anchored.
        pending: the ZIP of an event that waits to be anchored.
        package: the first event as its app made it, the photo inside.
        proof: the first event's proof.
    """

    signed: bytes
    plain: bytes
    pending: bytes
    package: dict[str, Any]
    proof: dict[str, Any]


def give_out(folder: Path, photo: Path) -> Given:
    """Run a server in this process, send it events, anchor them, and ask for the evidence."""
    environ = {
        "EVENTSERVER__SERVER__DATA_DIR": str(folder / "data"),
        "EVENTSERVER__ANCHORING__BATCH_MAX_EVENTS": "2",
        "EVENTSERVER__SECURITY__POW_DIFFICULTY": "1",
    }
    services = Services(load_configuration(folder, environ))
    prepare_schema(services.database)
    client = falcon.testing.TestClient(services.application())
    admin = services.identities.issue("admin-1", Role.ADMIN, timedelta(hours=1)).token
    device = Device()
    challenge = client.simulate_post("/api/v1/pow/challenge").json
    token = client.simulate_post("/api/v1/pow/verify", json=device.solve(challenge)).json["token"]
    package = make_package(photo)

    def send(body: dict[str, Any]) -> str:
        headers = {"Authorization": f"Bearer {token}"}
        answer = client.simulate_post("/api/v1/events", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json["hash"])

    def fetch(digest_hex: str, what: str) -> bytes:
        headers = {"Authorization": f"Bearer {admin}"}
        answer = client.simulate_get(f"/api/v1/events/{digest_hex}/{what}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.content

    signed, plain = send({"jwtEventData": device.sign(package)}), send(make_package())
    services.worker().run_until_idle()
    pending = send(make_package())
    given = Given(
        signed=fetch(signed, "package"),
        plain=fetch(plain, "package"),
        pending=fetch(pending, "package"),
        package=package,
        proof=json.loads(fetch(signed, "proof")),
    )
    services.database.close()
    return given


def unzip(content: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def make_zip(files: Mapping[str, bytes] | list[tuple[str, bytes]], method: int = 0) -> bytes:
    """Make a ZIP; a list may name a file twice."""
    entries = files.items() if isinstance(files, Mapping) else files
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", method) as archive:
        warnings.simplefilter("ignore", UserWarning)  # about a name that is there twice
        for name, content in entries:
            archive.writestr(name, content)
    return target.getvalue()


def alter_json(files: Files, name: str, alter: Callable[[Any], None]) -> Files:
    """Return the files with one JSON document altered."""
    document = json.loads(files[name])
    alter(document)
    return files | {name: json.dumps(document).encode()}


def on_evm(proof: dict[str, Any], **anchor: Any) -> dict[str, Any]:
    """Return a proof whose anchor is on an EVM chain."""
    members = {k: v for k, v in proof["anchor"].items() if k != "parentHash"}
    return proof | {
        "anchor": members | {"chain": "evm", "network": "testnet", "chainId": 5} | anchor
    }
