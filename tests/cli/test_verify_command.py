"""``eventserver verify``: evidence checked offline, and what is wrong with it told apart."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from eventserver_core.testing.parts import free_port

from .conftest import Run
from .evidence import Files, Given, alter_json, give_out, make_zip, on_evm, unzip

Alter = Callable[[Files], Files]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Given:
    return give_out(tmp_path_factory.mktemp("server"), photo)


@pytest.fixture
def files(given: Given) -> Files:
    """The files of the signed event's evidence."""
    return unzip(given.signed)


@pytest.fixture
def verify(run: Run, home: Path) -> Callable[..., Result]:
    """Write a ZIP, and check it."""

    def verify_zip(content: bytes | Files, *arguments: object) -> Result:
        path = home / "evidence.zip"
        path.write_bytes(content if isinstance(content, bytes) else make_zip(content))
        return run("verify", path, *arguments)

    return verify_zip


def verdict(result: Result) -> tuple[int, str]:
    """Return the exit status and the verdict of a check with --json."""
    return result.exit_code, json.loads(result.stdout)["verdict"]


def steps(result: Result) -> dict[str, tuple[str, str]]:
    found = json.loads(result.stdout)["steps"]
    return {step["name"]: (step["outcome"], step["detail"]) for step in found}


class TestValid:
    def test_a_signed_event_with_its_photo(
        self, verify: Callable[..., Result], given: Given
    ) -> None:
        result = verify(given.signed, "--json")
        assert verdict(result) == (0, "valid")
        assert {name: outcome for name, (outcome, _) in steps(result).items()} == {
            "statement": "passed",
            "media": "passed",
            "signature": "passed",
            "merkle path": "passed",
            "anchor": "passed",
            "chain": "skipped",
        }

    def test_people_see_a_table(self, verify: Callable[..., Result], given: Given) -> None:
        result = verify(given.signed)
        assert result.exit_code == 0
        assert "merkle path" in result.stdout
        assert "verdict: valid" in result.stdout
        assert "nothing more" in result.stdout  # what the embedded ledger shows, and no more

    def test_an_event_without_media_or_signature(
        self, verify: Callable[..., Result], given: Given
    ) -> None:
        result = verify(given.plain, "--json")
        assert verdict(result) == (0, "valid")
        assert steps(result)["media"][0] == "skipped"
        assert steps(result)["signature"][0] == "skipped"

    def test_a_folder_with_the_files(self, run: Run, home: Path, files: Files) -> None:
        for name, content in files.items():
            (home / name).write_bytes(content)
        for path in (home, Path(), "event.json"):
            assert verdict(run("verify", path, "--json")) == (0, "valid")

    def test_a_package_with_its_media_inside_and_its_proof(
        self, run: Run, home: Path, given: Given
    ) -> None:
        (home / "my-package.json").write_text(json.dumps(given.package, indent=3))
        (home / "its-proof.json").write_text(json.dumps(given.proof))
        result = run("verify", "my-package.json", "--proof", "its-proof.json", "--json")
        assert verdict(result) == (0, "valid")
        assert steps(result)["media"][0] == "passed"

    def test_the_proof_beside_a_package_is_found(self, run: Run, home: Path, given: Given) -> None:
        (home / "my-package.json").write_text(json.dumps(given.package))
        (home / "proof.json").write_text(json.dumps(given.proof))
        (home / "media.jpg").write_bytes(b"another picture, which has nothing to do with it")
        assert verdict(run("verify", "my-package.json", "--json")) == (0, "valid")

    def test_a_proof_that_came_later_completes_a_zip(
        self, run: Run, verify: Callable[..., Result], home: Path, files: Files, given: Given
    ) -> None:
        without = {name: content for name, content in files.items() if name != "proof.json"}
        assert verdict(verify(without, "--json")) == (1, "incomplete")
        (home / "later.json").write_text(json.dumps(given.proof))
        assert verdict(verify(without, "--json", "--proof", "later.json")) == (0, "valid")
        shutil.unpack_archive(home / "evidence.zip", home / "folder")
        assert verdict(run("verify", "folder", "--json", "--proof", "later.json")) == (0, "valid")

    def test_no_settings_are_needed_and_nothing_is_written(
        self, verify: Callable[..., Result], home: Path, given: Given
    ) -> None:
        (home / "config").mkdir()
        (home / "config" / "default.toml").write_text("[broken")
        assert verify(given.signed).exit_code == 0
        assert {path.name for path in home.iterdir()} == {"config", "evidence.zip"}

    def test_a_script_can_trust_the_exit_status(
        self,
        run_process: Callable[..., subprocess.CompletedProcess[str]],
        home: Path,
        given: Given,
        files: Files,
    ) -> None:
        (home / "good.zip").write_bytes(given.signed)
        (home / "bad.zip").write_bytes(make_zip(files | {"media.jpg": b"x"}))
        (home / "cut.zip").write_bytes(given.signed[:1000])
        found = {name: run_process("verify", f"{name}.zip") for name in ("good", "bad", "cut")}
        assert {name: done.returncode for name, done in found.items()} == {
            "good": 0,
            "bad": 1,
            "cut": 2,
        }
        assert all("Traceback" not in done.stderr for done in found.values())


def without(name: str) -> Alter:
    return lambda files: {n: content for n, content in files.items() if n != name}


def with_json(name: str, alter: Callable[[Any], Any]) -> Alter:
    return lambda files: alter_json(files, name, alter)


class TestOtherVerdicts:
    def test_an_event_that_waits_is_pending(
        self, verify: Callable[..., Result], given: Given
    ) -> None:
        result = verify(given.pending, "--json")
        assert verdict(result) == (1, "pending")
        assert steps(result)["proof"][0] == "pending"

    @pytest.mark.parametrize(
        ("alter", "expected", "step"),
        [
            (without("proof.json"), "incomplete", "statement"),
            (without("event.json"), "incomplete", "statement"),
            (without("media.jpg"), "incomplete", "media"),
            (without("public-key.json"), "incomplete", "signature"),
            (without("signed-package.jws"), "incomplete", "signature"),
            (with_json("proof.json", lambda p: p.pop("anchor")), "incomplete", "anchor"),
            (with_json("proof.json", lambda p: p.pop("merkle")), "incomplete", "merkle path"),
            (with_json("proof.json", lambda p: p.pop("hash")), "incomplete", "statement"),
            (
                with_json("proof.json", lambda p: p.update(format="eventserver-proof/2")),
                "unsupported",
                "proof",
            ),
            (
                with_json("proof.json", lambda p: p["anchor"].update(chain="stone")),
                "unsupported",
                "anchor",
            ),
            (
                with_json("proof.json", lambda p: p["merkle"].update(algorithm="MD5")),
                "unsupported",
                "merkle path",
            ),
            (
                with_json("event.json", lambda e: e["annotations"][0].update(value="Art")),
                "invalid",
                "statement",
            ),
            (with_json("event.json", lambda e: e.update(more=1)), "invalid", "statement"),
            (lambda files: files | {"event.json": b"{"}, "invalid", "statement"),
            (lambda files: files | {"proof.json": b"{"}, "invalid", "proof"),
            (lambda files: files | {"media.jpg": files["media.jpg"] + b"x"}, "invalid", "media"),
            (lambda files: files | {"media.jpg": b""}, "invalid", "media"),
            (
                lambda files: files | {"signed-package.jws": files["signed-package.jws"][:-4]},
                "invalid",
                "signature",
            ),
            (with_json("public-key.json", lambda k: k.update(x=k["y"])), "invalid", "signature"),
            (
                with_json("proof.json", lambda p: p["merkle"].update(leafIndex=1)),
                "invalid",
                "merkle path",
            ),
            (
                with_json("proof.json", lambda p: p["anchor"].update(blockNumber=7)),
                "invalid",
                "anchor",
            ),
        ],
    )
    def test_what_is_wrong_is_told_with_its_step(
        self,
        verify: Callable[..., Result],
        files: Files,
        alter: Alter,
        expected: str,
        step: str,
    ) -> None:
        result = verify(alter(files), "--json")
        assert verdict(result) == (1, expected)
        outcome = {"incomplete": "missing", "invalid": "failed"}.get(expected, expected)
        assert steps(result)[step][0] == outcome
        pretty = verify(alter(files))
        assert pretty.exit_code == 1
        assert f"verdict: {expected}" in pretty.stdout

    def test_evidence_of_two_events_does_not_fit_together(
        self, verify: Callable[..., Result], files: Files, given: Given
    ) -> None:
        mixed = files | {"proof.json": unzip(given.plain)["proof.json"]}
        assert verdict(verify(mixed, "--json")) == (1, "invalid")

    def test_media_that_the_event_knows_not_of_is_told(
        self, verify: Callable[..., Result], files: Files, given: Given
    ) -> None:
        added = unzip(given.plain) | {"media.jpg": files["media.jpg"]}
        assert verdict(verify(added, "--json")) == (1, "invalid")

    def test_a_package_alone_is_incomplete(self, run: Run, home: Path, given: Given) -> None:
        (home / "my-package.json").write_text(json.dumps(given.package))
        assert verdict(run("verify", "my-package.json", "--json")) == (1, "incomplete")

    def test_a_package_whose_photo_was_changed_is_invalid(
        self, run: Run, home: Path, given: Given
    ) -> None:
        changed = json.loads(json.dumps(given.package))
        changed["media"]["data"] = "AAAA" + changed["media"]["data"][4:]
        (home / "my-package.json").write_text(json.dumps(changed))
        (home / "proof.json").write_text(json.dumps(given.proof))
        assert verdict(run("verify", "my-package.json", "--json")) == (1, "invalid")


class TestTheChain:
    def test_an_evm_proof_is_incomplete_until_the_chain_was_asked(
        self, verify: Callable[..., Result], files: Files, given: Given
    ) -> None:
        evm = files | {"proof.json": json.dumps(on_evm(given.proof)).encode()}
        result = verify(evm, "--json")
        assert verdict(result) == (1, "incomplete")
        assert steps(result)["chain"][0] == "missing"

    def test_a_node_that_does_not_answer_leaves_it_incomplete(
        self, verify: Callable[..., Result], files: Files, given: Given
    ) -> None:
        evm = files | {"proof.json": json.dumps(on_evm(given.proof)).encode()}
        result = verify(evm, "--json", "--rpc-url", f"http://127.0.0.1:{free_port()}/secret-key")
        assert verdict(result) == (1, "incomplete")
        outcome, detail = steps(result)["chain"]
        assert outcome == "missing"
        assert detail
        assert "secret-key" not in result.output

    def test_asking_it_needs_the_chain_plugin(
        self,
        verify: Callable[..., Result],
        files: Files,
        given: Given,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("eventserver_core.plugins.entry_points", lambda group: [])
        evm = files | {"proof.json": json.dumps(on_evm(given.proof)).encode()}
        result = verify(evm, "--json", "--rpc-url", "http://127.0.0.1:1/secret-key")
        assert verdict(result) == (1, "incomplete")
        outcome, detail = steps(result)["chain"]
        assert outcome == "missing"
        assert "pip install eventserver-chain-evm" in detail
        assert "secret-key" not in result.output

    def test_a_ledgers_proof_has_no_node_to_ask(
        self, verify: Callable[..., Result], given: Given
    ) -> None:
        result = verify(given.signed, "--json", "--rpc-url", "https://node.example")
        assert verdict(result) == (0, "valid")
        outcome, detail = steps(result)["chain"]
        assert outcome == "skipped"
        assert "--rpc-url does not apply" in detail


class TestHostileText:
    @pytest.mark.parametrize(
        "network", ["[/red]", "[bold]x", "\x1b[2J\x1b[Hverdict: valid", "a\rb"]
    )
    def test_what_a_proof_says_is_shown_as_it_is_and_moves_nothing(
        self, verify: Callable[..., Result], files: Files, given: Given, network: str
    ) -> None:
        evm = on_evm(given.proof, network=network)
        result = verify(files | {"proof.json": json.dumps(evm).encode()})
        assert result.exit_code == 1
        assert "verdict: incomplete" in result.stdout
        assert "\x1b" not in result.stdout
        assert "\r" not in result.stdout
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in network)
        assert shown in result.stdout
