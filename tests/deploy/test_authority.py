"""The certificate authority is made as the files and pages say, and its root's key leaves."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_core.pki.files import ISSUING_CERTIFICATE, ISSUING_KEY, ROOT_CERTIFICATE, ROOT_KEY
from eventserver_core.settings.layers import variable_name
from eventserver_core.wiring import Services
from eventserver_core.wiring.authority import load_authority, read_root
from tests.deploy.files import (
    AUTHORITY,
    DEPLOY,
    compose,
    made_environment,
    pod_configuration,
    read,
)

DIRECTORY = variable_name("ca", "directory")
PASSPHRASE = variable_name("ca", "passphrase")
MADE = "/tmp/authority"  # noqa: S108 - a path in the container


def _job() -> str:
    (script,) = compose()["services"]["authority"]["command"]
    return str(script).replace("$$", "$")


def _in_pod(page: str) -> list[str]:
    """Return the scripts that the page has run in a pod or in a container."""
    return re.findall(r" sh -c '\s*(.*?)' < ", page, re.S)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that stands in for a container's, and what the processes in it are told."""

    folder: Path
    environ: Mapping[str, str]

    def run(self, script: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a script as the container does."""
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return subprocess.run(
            ["/bin/sh", "-ec", script],
            env={"PATH": path, "HOME": str(self.folder), **self.environ},
            cwd=self.folder,
            input=given,
            capture_output=True,
            check=False,
        )

    def actions(self) -> list[str]:
        """Return what the audit trail has."""
        trail = Services(read(self.environ, self.folder)).network.audit
        return [entry.action for entry in trail.page(0, 100)[0]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a place with a database, and the secrets that ``make-env.sh`` makes."""
    (tmp_path / "env").mkdir()
    told = compose(made_environment(tmp_path / "env"))["services"]["authority"]["environment"]
    folder = tmp_path / "place"
    folder.mkdir()
    # the rows are beside the point, so they are in a file
    environ = {name: value for name, value in told.items() if name != "DATABASE_URL"}
    environ["EVENTSERVER__SERVER__DATA_DIR"] = str(folder / "data")
    made = Place(folder, environ)
    done = made.run("eventserver migrate up")
    assert done.returncode == 0, done.stderr.decode()
    return made


def test_compose_keeps_what_instances_need_and_hands_the_roots_key_out(place: Place) -> None:
    script = _job()
    kept, root, made = (place.folder / name for name in ("kept", "root", "made"))
    for folder in (kept, root):
        folder.mkdir(mode=0o700)
    here = script.replace("/etc/eventserver-root/", f"{root}/").replace("/tmp/made", str(made))  # noqa: S108
    place = Place(place.folder, {**place.environ, DIRECTORY: str(kept)})
    done = place.run(here)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == (made / ROOT_KEY).read_bytes()
    assert set(os.listdir(kept)) == {ROOT_CERTIFICATE, ISSUING_CERTIFICATE, ISSUING_KEY}
    assert os.listdir(root) == [ROOT_CERTIFICATE]
    assert (kept / ISSUING_KEY).stat().st_mode & 0o077 == 0
    services = Services(read(place.environ, place.folder))
    assert services.network.authority().root_pem == read_root(services.settings)
    assert place.actions() == ["authority_made"]

    again = place.run(here)
    assert again.returncode == 1
    assert not again.stdout
    assert place.actions() == ["authority_made"]

    worker = {name: value for name, value in place.environ.items() if name != PASSPHRASE}
    told = read({**worker, DIRECTORY: str(root)}, place.folder)
    assert read_root(told.settings) == services.network.authority().root_pem
    with pytest.raises(BackendUnavailableError):
        Services(told).network.authority()


def test_nothing_is_kept_where_the_roots_key_cannot_be_handed_out(place: Place) -> None:
    script = _job()
    kept, root, made = (place.folder / name for name in ("kept", "root", "made"))
    for folder in (kept, root):
        folder.mkdir(mode=0o700)
    here = script.replace("/etc/eventserver-root/", f"{root}/").replace("/tmp/made", str(made))  # noqa: S108
    done = Place(place.folder, {**place.environ, DIRECTORY: str(kept)}).run(f"exec >&-\n{here}")
    assert done.returncode != 0
    assert (made / ROOT_KEY).exists()
    assert not os.listdir(kept)
    assert not os.listdir(root)


def test_the_page_makes_the_authority_in_a_pod_and_leaves_nothing_there(place: Place) -> None:
    page = (DEPLOY / "README.md").read_text("utf-8")
    (script,) = (found for found in _in_pod(page) if MADE in found)
    here = place.folder / "authority"
    passphrase = place.environ[PASSPHRASE].encode()
    place = Place(place.folder, {n: v for n, v in place.environ.items() if n != PASSPHRASE})
    done = place.run(script.replace(MADE, str(here)), passphrase)
    assert done.returncode == 0, done.stderr.decode()
    assert not here.exists()
    assert place.actions() == ["authority_made"]

    unpacked = place.folder / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xC", str(unpacked)], input=done.stdout, check=True)
    names = {ROOT_KEY, ROOT_CERTIFICATE, ISSUING_KEY, ISSUING_CERTIFICATE}
    assert set(os.listdir(unpacked)) == names
    (unpacked / ROOT_KEY).unlink()
    (unpacked / ISSUING_KEY).chmod(0o440)  # as the secret is mounted
    told = {PASSPHRASE: passphrase.decode(), DIRECTORY: str(unpacked)}
    assert load_authority(read({**place.environ, **told}, place.folder).settings)


def test_an_instance_without_an_authority_says_so_when_it_is_asked_for_one() -> None:
    network = Services(pod_configuration("api")).network
    assert not AUTHORITY.exists()
    with pytest.raises(BackendUnavailableError, match="ca"):
        network.authority()
    with pytest.raises(ConfigurationError, match=str(AUTHORITY)):
        read_root(pod_configuration("api").settings)


def test_the_page_makes_the_first_admin_of_a_key_that_stays_at_home(place: Place) -> None:
    page = (DEPLOY / "README.md").read_text("utf-8")
    assert page.count("admin keygen ") == 2
    assert not re.search(r"< \S*admin\.pem$", page, re.M)
    scripts = {found for found in _in_pod(page) if "admin bootstrap" in found}
    (script,) = scripts  # the same for Compose and for Kubernetes
    assert page.count(script) == 2

    done = place.run("eventserver admin keygen admin.pem")
    assert done.returncode == 0, done.stderr.decode()
    key = (place.folder / "admin.pem.jwk").read_bytes()
    assert b'"d"' not in key
    place = Place(place.folder, {**place.environ, "JWT_SECRET": secrets.token_hex(32)})
    here = script.replace("/tmp/admin.jwk", str(place.folder / "sent.jwk"))  # noqa: S108
    done = place.run(here, key)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b".") == 2, "a certificate, and nothing else"
    assert place.actions() == ["admin_bootstrapped"]
