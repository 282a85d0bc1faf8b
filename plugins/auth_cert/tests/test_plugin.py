"""The plugin as the core finds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eventserver_auth_cert import AuthSettings, CertificateAuth

from eventserver_core.backends.auth import (
    AuthBackend,
    ChallengesDevices,
    ChecksSignedPackages,
    IssuesCertificates,
)
from eventserver_core.plugins import Plugins
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources


def test_the_core_finds_the_plugin_and_gets_a_backend(tmp_path: Path) -> None:
    plugins = Plugins({"auth": "cert"})
    assert plugins.sections() == [AuthSettings]
    environ = {"EVENTSERVER__SERVER__DATA_DIR": str(tmp_path / "data")}
    settings = Sources(None, environ).load([*CORE_SECTIONS, *plugins.sections()])
    backend = plugins.backend("auth", settings)
    assert isinstance(backend, CertificateAuth)
    backend.check()


def test_the_backend_has_every_ability(make_auth: Callable[..., CertificateAuth]) -> None:
    backend = make_auth()
    for ability in (AuthBackend, IssuesCertificates, ChallengesDevices, ChecksSignedPackages):
        assert isinstance(backend, ability)


def test_every_setting_is_documented(make_settings: Callable[..., Settings]) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    for option in AuthSettings.options():
        assert f"`{option.key}`" in readme
