"""The backend keeps the contract of its role and of all three abilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from eventserver_auth_cert import CertificateAuth, eventserver_auth_backend, eventserver_settings
from joserfc.jwk import OKPKey

from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.contracts.auth import AuthContract, IssuesCertificatesContract
from eventserver_core.testing.contracts.auth_devices import (
    ChallengesDevicesContract,
    ChecksSignedPackagesContract,
)


class WithCertificateAuth:
    """Brings the one fixture that the suites ask for: under a secret, and under a key pair."""

    @pytest.fixture(params=["secret", "key pair"])
    def backend_factory(
        self, tmp_path: Path, request: pytest.FixtureRequest
    ) -> Callable[..., CertificateAuth]:
        key_file = tmp_path / "key.pem"
        if request.param == "key pair":
            key_file.write_bytes(OKPKey.generate_key("Ed25519").as_pem(private=True))
            key_file.chmod(0o600)

        def make(clock: ManualClock, *, audience: str = "") -> CertificateAuth:
            return CertificateAuth.from_settings(settings(tmp_path, audience), clock.now)

        return make


class TestCertificateAuth(WithCertificateAuth, AuthContract): ...


class TestIssuingCertificates(WithCertificateAuth, IssuesCertificatesContract): ...


class TestChallengingDevices(WithCertificateAuth, ChallengesDevicesContract): ...


class TestCheckingSignedPackages(WithCertificateAuth, ChecksSignedPackagesContract): ...


def test_the_hook_makes_the_backend(tmp_path: Path) -> None:
    backend = eventserver_auth_backend(settings(tmp_path))
    assert isinstance(backend, CertificateAuth)
    backend.check()


def settings(data_dir: Path, audience: str = "") -> Settings:
    key_file = data_dir / "key.pem"
    environ = {
        "EVENTSERVER__SERVER__DATA_DIR": str(data_dir),
        "EVENTSERVER__SECURITY__POW_DIFFICULTY": "2",
        "EVENTSERVER__AUTH__AUDIENCE": audience,
        "EVENTSERVER__AUTH__SIGNING_KEY_FILE": str(key_file) if key_file.exists() else "",
    }
    return Sources(environ=environ).load([*CORE_SECTIONS, *eventserver_settings()])
