"""A plugin's abilities are told without calling it, and hook calls can be traced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eventserver_core.plugins import Plugins, abilities
from eventserver_core.settings import Settings

from .conftest import Install

PLUGIN = """
    from __future__ import annotations
    from eventserver_core.backends.storage import RetainsObjects, StorageBackend
    from eventserver_core.hookspecs import hookimpl

    class Shelf:
        def put(self, key, content): ...
        def upload(self, key=None): ...
        def read(self, key, offset=0, length=None): ...
        def stat(self, key): ...
        def list(self, prefix=""): ...
        def check(self): ...

    {more}

    @hookimpl
    def eventserver_storage_backend(settings) -> {returned}:
        {body}
"""
VAULT = "class Vault(Shelf):\n        def retained_until(self, key): ..."
CANARY = "canary-of-this-test"


def install_shelf(
    install: Install, *, more: str = "", returned: str = "StorageBackend", body: str = "1 / 0"
) -> None:
    source = PLUGIN.format(more=more, returned=returned, body=body)
    install("shelf", "[eventserver.storage]\nshelf = shelf_module\n", {"shelf_module": source})


@pytest.mark.parametrize(
    ("more", "returned", "expected"),
    [
        ("", "Shelf", []),
        (VAULT, "Vault", ["RetainsObjects"]),
        ("", "StorageBackend", []),
        ("", "NotToBeHad", []),
        (VAULT, "Shelf", []),
        (VAULT, "StorageBackend", None),
        ("", "dict", []),
    ],
)
def test_a_backends_class_tells_its_abilities(
    install: Install, more: str, returned: str, expected: list[str] | None
) -> None:
    install_shelf(install, more=more, returned=returned)
    assert abilities("storage", "shelf") == expected


def test_abilities_of_the_builtins_and_of_our_plugins_can_be_told() -> None:
    assert abilities("provisioning", "static") == ["SweepsMachines"]
    assert abilities("auth", "cert") == [
        "IssuesCertificates",
        "ChallengesDevices",
        "ChecksSignedPackages",
        "AnswersPromptly",
    ]
    assert abilities("storage", "filesystem") == []


TRACED = f"""
import sys
from pathlib import Path
from eventserver_core.errors import ConfigurationError
from eventserver_core.wiring import load_configuration
from eventserver_core.serving.server import configure_logging

chosen = {{"EVENTSERVER__PLUGINS__STORAGE": "shelf", "EVENTSERVER__AUTH__ISSUER": "{CANARY}"}}
configuration = load_configuration(Path.cwd(), chosen)
configure_logging(configuration)
try:
    configuration.plugins.backend("storage", configuration.settings)
except ConfigurationError:
    print("refused")
"""


def run_traced(site: Path, home: Path, trace: str) -> subprocess.CompletedProcess[str]:
    home.mkdir()
    return subprocess.run(
        [sys.executable, "-c", TRACED],
        cwd=home,
        env={"PYTHONPATH": str(site), "EVENTSERVER_TRACE_HOOKS": trace},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_hook_calls_are_logged_with_their_time_and_without_values(
    install: Install, tmp_path: Path
) -> None:
    install_shelf(install, body=f"raise KeyError({CANARY!r})")
    done = run_traced(next(tmp_path.glob("site-shelf*")), tmp_path / "home", "1")
    first, _, second = done.stderr.partition("\n")
    settings_call = json.loads(first)
    assert settings_call.pop("timestamp")
    assert settings_call.pop("processing_time_ms") >= 0
    assert settings_call == {
        "event": "hook_called",
        "level": "info",
        "hook": "eventserver_settings",
        "plugin": settings_call["plugin"],
        "outcome": "returned",
    }
    assert "auth=cert" in settings_call["plugin"]
    # by now the settings say how to log: for people, in development
    for word in ("hook_called", "eventserver_storage_backend", "storage=shelf", "KeyError"):
        assert word in second
    assert done.stdout == "refused\n"
    assert CANARY not in done.stderr


@pytest.mark.parametrize("trace", ["", "0"])
def test_nothing_is_traced_unless_asked(install: Install, tmp_path: Path, trace: str) -> None:
    install_shelf(install)
    done = run_traced(next(tmp_path.glob("site-shelf*")), tmp_path / "home", trace)
    assert (done.stdout, done.stderr) == ("refused\n", "")


def test_a_traced_plugin_answers_as_any_other(
    install: Install, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .logging_state import logging_put_back

    install_shelf(install, body="return Shelf()")
    monkeypatch.setenv("EVENTSERVER_TRACE_HOOKS", "1")
    with logging_put_back():
        backend = Plugins({"storage": "shelf"}).backend("storage", settings)
    assert type(backend).__name__ == "Shelf"
