"""The evidence package: whole, checkable with nothing of the server's, and loud about damage."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from eventserver_core.cli import main
from eventserver_core.demo.device import Device
from eventserver_core.domain.evidence import Evidence, check_evidence
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    Answer,
    Client,
    Headers,
    Part,
    assert_problem,
    bearer,
    post_event,
    post_form,
    post_signed,
)

MEDIA = Path(__file__).parents[1] / "media"
PHOTO = MEDIA / "photo.jpg"


@dataclass
class Sent:
    """An event that was signed by a device and forwarded by a relay."""

    package: dict[str, Any]
    jws: str
    receipt: dict[str, Any]


@pytest.fixture
def sent(client: Client, relay: Headers, device: Device, device_token: str) -> Sent:
    package = make_package(PHOTO)
    jws = device.sign(package, certificate=device_token)
    answer = post_signed(client, relay, jws)
    assert answer.status_code == 201, answer.text
    return Sent(package, jws, answer.json)


def fetch(client: Client, headers: Headers, digest_hex: str) -> Answer:
    answer = client.simulate_get(f"/api/v1/events/{digest_hex}/package", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def files_of(answer: Answer) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(names))
        return {name: archive.read(name) for name in names}


def checked(answer: Answer, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """Run ``eventserver verify`` on the ZIP; returns its verdict and each step's outcome."""
    path = tmp_path / "evidence.zip"
    path.write_bytes(answer.content)
    result = CliRunner().invoke(main, ["verify", str(path), "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["verdict"] == "valid" else 1)
    return report["verdict"], {step["name"]: step["outcome"] for step in report["steps"]}


def objects(services: Services, prefix: str) -> list[Path]:
    path = services.database.path
    assert path is not None
    return sorted((path.parent / "objects").glob(f"{prefix}*"))


def test_it_holds_all_that_is_needed(
    client: Client,
    relay: Headers,
    sent: Sent,
    device: Device,
    anchor_all: Callable[[], None],
    tmp_path: Path,
) -> None:
    anchor_all()
    answer = fetch(client, relay, sent.receipt["hash"])
    files = files_of(answer)
    assert list(files) == [
        "event.json",
        "signed-package.jws",
        "public-key.json",
        "proof.json",
        "README.txt",
        "media.jpg",
    ]
    assert sha256(files["event.json"]).hexdigest() == sent.receipt["hash"]
    assert files["media.jpg"] == PHOTO.read_bytes()
    assert files["signed-package.jws"] == sent.jws.encode()
    proof = client.simulate_get(f"/api/v1/events/{sent.receipt['hash']}/proof").json
    assert json.loads(files["proof.json"]) == proof
    key = json.loads(files["public-key.json"])
    assert key == {name: device.public_key[name] for name in ("kty", "crv", "x", "y")}
    assert checked(answer, tmp_path) == (
        "valid",
        {
            "statement": "passed",
            "media": "passed",
            "signature": "passed",
            "merkle path": "passed",
            "anchor": "passed",
            "chain": "skipped",
        },
    )


def test_it_is_a_download_that_no_browser_opens(
    client: Client, relay: Headers, admin: Headers, device_token: str, sent: Sent
) -> None:
    for headers in (relay, admin, bearer(device_token)):
        answer = fetch(client, headers, sent.receipt["hash"])
        assert answer.headers["content-type"] == "application/zip"
        disposition = answer.headers["content-disposition"]
        assert disposition == f'attachment; filename="event-{sent.package["id"]}.zip"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "private, no-store"


def test_the_readme_says_how_to_check_it_by_hand(
    client: Client, relay: Headers, sent: Sent
) -> None:
    files = files_of(fetch(client, relay, sent.receipt["hash"]))
    text = files["README.txt"].decode()
    for needed in (
        sent.receipt["hash"],
        sent.package["id"],
        f"eventserver verify event-{sent.package['id']}.zip",
        "sha256sum event.json",
        "proof.json",
        "media.jpg",
        "signed-package.jws",
        "public-key.json",
    ):
        assert needed in text


def test_the_same_event_gives_the_same_bytes(
    client: Client, relay: Headers, sent: Sent, anchor_all: Callable[[], None]
) -> None:
    anchor_all()
    first, second = (fetch(client, relay, sent.receipt["hash"]) for _ in range(2))
    assert first.content == second.content


def test_nothing_in_it_but_the_signed_package_holds_a_certificate(
    client: Client, relay: Headers, device_token: str, sent: Sent
) -> None:
    files = files_of(fetch(client, relay, sent.receipt["hash"]))
    for name, content in files.items():
        if name != "signed-package.jws":
            assert device_token.encode() not in content
            assert relay["Authorization"].split()[1].encode() not in content
    assert "d" not in json.loads(files["public-key.json"])


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.gif", "clip.mp4"])
def test_the_media_keeps_its_kind(
    client: Client, relay: Headers, anchor_all: Callable[[], None], tmp_path: Path, name: str
) -> None:
    package = make_package(MEDIA / name, inline=False)
    package["media"]["name"] = "../../etc/passwd"
    content = (MEDIA / name).read_bytes()
    receipt = post_form(client, relay, Part.event(package), Part.media(content)).json
    anchor_all()
    answer = fetch(client, relay, receipt["hash"])
    files = files_of(answer)
    assert files["media" + Path(name).suffix] == content
    assert "signed-package.jws" not in files
    assert "public-key.json" not in files
    assert not any("passwd" in inside for inside in files)
    verdict, steps = checked(answer, tmp_path)
    assert (verdict, steps["media"], steps["signature"]) == ("valid", "passed", "skipped")


def test_an_event_without_media_has_no_media_file(
    client: Client, relay: Headers, anchor_all: Callable[[], None], tmp_path: Path
) -> None:
    receipt = post_event(client, relay, make_package()).json
    anchor_all()
    answer = fetch(client, relay, receipt["hash"])
    assert list(files_of(answer)) == ["event.json", "proof.json", "README.txt"]
    assert checked(answer, tmp_path)[0] == "valid"


def test_before_it_is_anchored_it_is_pending(
    client: Client, relay: Headers, sent: Sent, tmp_path: Path
) -> None:
    answer = fetch(client, relay, sent.receipt["hash"])
    proof = client.simulate_get(f"/api/v1/events/{sent.receipt['hash']}/proof")
    assert proof.status_code == 202
    assert json.loads(files_of(answer)["proof.json"]) == proof.json
    verdict, steps = checked(answer, tmp_path)
    assert (verdict, steps["proof"]) == ("pending", "pending")
    assert {steps[name] for name in ("statement", "media", "signature")} == {"passed"}


@pytest.mark.parametrize(
    ("prefix", "name", "step"),
    [("media-", "media.jpg", "media"), ("jws-", "signed-package.jws", "signature")],
)
class TestDamage:
    @staticmethod
    def fetched(client: Client, headers: Headers, sent: Sent) -> Answer:
        with capture_logs() as lines:
            answer = fetch(client, headers, sent.receipt["hash"])
        assert [line["log_level"] for line in lines if line["event"] == "evidence_altered"] == [
            "error"
        ]
        return answer

    def test_what_was_changed_in_storage_is_told_loudly(
        self,
        client: Client,
        relay: Headers,
        sent: Sent,
        services: Services,
        anchor_all: Callable[[], None],
        tmp_path: Path,
        prefix: str,
        name: str,
        step: str,
    ) -> None:
        anchor_all()
        (path,) = objects(services, prefix)
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
        answer = self.fetched(client, relay, sent)
        files = files_of(answer)
        warning = files["WARNING.txt"].decode()
        assert "DAMAGED" in warning
        assert f"{name}: changed" in warning
        assert files[name] == bytes(content)
        verdict, steps = checked(answer, tmp_path)
        assert (verdict, steps[step]) == ("invalid", "failed")

    def test_what_is_gone_is_told_loudly(
        self,
        client: Client,
        relay: Headers,
        sent: Sent,
        services: Services,
        anchor_all: Callable[[], None],
        tmp_path: Path,
        prefix: str,
        name: str,
        step: str,
    ) -> None:
        anchor_all()
        (path,) = objects(services, prefix)
        path.unlink()
        answer = self.fetched(client, relay, sent)
        files = files_of(answer)
        assert name not in files
        assert f"{name}: missing" in files["WARNING.txt"].decode()
        assert name not in files["README.txt"].decode()
        verdict, steps = checked(answer, tmp_path)
        assert (verdict, steps[step]) == ("incomplete", "missing")


def test_a_signed_package_in_its_pack_is_given_out_and_told_where_it_was_changed(
    client: Client, relay: Headers, device: Device, device_token: str, services: Services
) -> None:
    jws = device.sign(make_package(), certificate=device_token)
    receipt = post_signed(client, relay, jws).json
    sound = files_of(fetch(client, relay, receipt["hash"]))
    assert sound["signed-package.jws"] == jws.encode()
    assert "WARNING.txt" not in sound
    (path,) = objects(services, "pack-")
    forged = jws[:-4] + ("AAAA" if jws[-4:] != "AAAA" else "BBBB")
    path.write_bytes(path.read_bytes().replace(jws.encode(), forged.encode()))
    files = files_of(fetch(client, relay, receipt["hash"]))
    assert "signed-package.jws: changed" in files["WARNING.txt"].decode()
    assert files["signed-package.jws"] == forged.encode()


def test_a_sound_package_has_no_warning(client: Client, relay: Headers, sent: Sent) -> None:
    assert "WARNING.txt" not in files_of(fetch(client, relay, sent.receipt["hash"]))


def test_storage_that_is_away_is_later_and_not_damage(
    client: Client, relay: Headers, sent: Sent, services: Services
) -> None:
    (path,) = objects(services, "media-")
    root = path.parent
    root.rename(root.with_name("unmounted"))
    try:
        url = f"/api/v1/events/{sent.receipt['hash']}/package"
        answer = client.simulate_get(url, headers=relay)
        assert_problem(answer, 503, "backend_unavailable")
    finally:
        root.with_name("unmounted").rename(root)


def test_parts_of_two_events_do_not_pass_as_one(
    client: Client, relay: Headers, sent: Sent, anchor_all: Callable[[], None]
) -> None:
    other = post_event(client, relay, make_package(MEDIA / "photo.png")).json
    anchor_all()
    mine, theirs = (
        files_of(fetch(client, relay, digest_hex))
        for digest_hex in (sent.receipt["hash"], other["hash"])
    )
    parts = {
        "event": mine["event.json"],
        "media": [mine["media.jpg"]],
        "signed_package": mine["signed-package.jws"],
        "public_key": mine["public-key.json"],
        "proof": mine["proof.json"],
    }
    assert check_evidence(Evidence(**parts)).verdict == "valid"  # type: ignore[arg-type]
    swapped: list[dict[str, Any]] = [
        {"event": theirs["event.json"]},
        {"media": [theirs["media.png"]]},
        {"proof": theirs["proof.json"]},
        {"public_key": json.dumps(Device().public_key).encode()},
    ]
    for change in swapped:
        assert check_evidence(Evidence(**(parts | change))).verdict == "invalid"
