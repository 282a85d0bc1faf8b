"""An authority for the tests, made once: keys are what takes time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from eventserver_core.domain import instant
from eventserver_core.pki.authority import CertificateAuthority, create_authority

from .samples import CRL_URL, ISSUER_URL, NOW, PASSPHRASE


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of an authority that nothing is changed in."""
    directory = tmp_path_factory.mktemp("pki") / "ca"
    create_authority(directory, PASSPHRASE, "Sample", NOW)
    return directory


@pytest.fixture
def directory(made: Path, tmp_path: Path) -> Path:
    """Return a copy of an authority, to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "ca"))


@pytest.fixture(scope="session")
def authority(made: Path) -> CertificateAuthority:
    """Return an authority that publishes where its list and its certificate are."""
    return CertificateAuthority.load(
        made,
        PASSPHRASE,
        crl_url=CRL_URL,
        issuer_url=ISSUER_URL,
        now=NOW,
    )


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """Return an authority that holds now, for programs that go by the clock."""
    directory = tmp_path_factory.mktemp("live") / "ca"
    create_authority(directory, PASSPHRASE, "Sample", instant.now())
    return CertificateAuthority.load(directory, PASSPHRASE, crl_url=CRL_URL, issuer_url=ISSUER_URL)
