"""Settings, backends and services put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventserver_core.backends.auth import IssuesCertificates
from eventserver_core.backends.guard import GuardedBackend
from eventserver_core.db.migrate import Migrations
from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_core.services.identity import require_issuer
from eventserver_core.wiring import Services, load_configuration, open_database, prepare_schema

from .conftest import Install

Make = Callable[..., Services]

LIMITER = """
    from eventserver_core.errors import ConfigurationError
    from eventserver_core.hookspecs import hookimpl

    class Counter:
        def hit(self, identity, quota, cost=1): ...
        def check(self): {check}

    @hookimpl
    def eventserver_ratelimit_backend(settings):
        {begin}
        return Counter()
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make services in a folder of their own, with settings as environment variables."""
    made: list[Services] = []

    def make_services(**environ: str) -> Services:
        data = {"EVENTSERVER__SERVER__DATA_DIR": str(tmp_path / "data")}
        made.append(Services(load_configuration(tmp_path, data | environ)))
        return made[-1]

    yield make_services
    for services in made:
        services.database.close()


def install_limiter(install: Install, check: str = "pass", begin: str = "pass") -> None:
    modules = {"counter_module": LIMITER.format(check=check, begin=begin)}
    install("counter", "[eventserver.ratelimit]\ncounter = counter_module\n", modules)


def test_every_backend_is_guarded_and_keeps_its_abilities(make: Make) -> None:
    services = make()
    services.load_backends()
    for backend in (
        services.auth,
        services.limiter,
        services.storage,
        services.chain,
        services.provisioning,
    ):
        assert isinstance(backend, GuardedBackend)
    assert isinstance(services.auth, IssuesCertificates)
    require_issuer(services.auth)


def test_a_plugins_call_takes_no_longer_than_the_settings_allow(
    make: Make, install: Install
) -> None:
    install_limiter(install, check="__import__('threading').Event().wait()")
    services = make(
        EVENTSERVER__PLUGINS__RATELIMIT="counter", EVENTSERVER__PLUGINS__TIME_LIMIT="0.05"
    )
    with pytest.raises(BackendUnavailableError, match="ratelimit=counter: check did not answer"):
        services.limiter.check()


def test_what_several_backends_find_wrong_is_told_at_once(make: Make, install: Install) -> None:
    install_limiter(install, begin="raise ConfigurationError(['first', 'second'])")
    services = make(EVENTSERVER_ENVIRONMENT="production", EVENTSERVER__PLUGINS__RATELIMIT="counter")
    with pytest.raises(ConfigurationError) as caught:
        services.load_backends()
    assert any("JWT_SECRET" in fault for fault in caught.value.faults)
    assert caught.value.faults[-2:] == ["first", "second"]


def test_an_auth_backend_that_issues_nothing_is_told() -> None:
    class Doorman:
        """Only looks at certificates."""

        def authenticate(self, token: str) -> None: ...

        def check(self) -> None: ...

    with pytest.raises(ConfigurationError, match="does not issue certificates"):
        require_issuer(Doorman())  # type: ignore[arg-type]


def test_an_embedded_database_is_brought_up_to_date_by_itself(make: Make, tmp_path: Path) -> None:
    services = make()
    assert Migrations(services.database).pending()
    prepare_schema(services.database)
    assert not Migrations(services.database).pending()
    assert (tmp_path / "data" / "eventserver.sqlite3").is_file()


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environ = {"EVENTSERVER__SERVER__DATA_DIR": str(tmp_path / "file" / "data")}
    with pytest.raises(ConfigurationError, match=r"server\.data_dir: .* cannot be made"):
        open_database(load_configuration(tmp_path, environ).settings)


def test_a_new_relay_is_no_part_of_health(make: Make) -> None:
    services = make()
    prepare_schema(services.database)
    assert set(services.health().check().services) == {
        "storage",
        "blockchain",
        "database",
        "auth",
        "ratelimit",
    }
