"""How long a call of a plugin may take: one limit, or one of its role's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventserver_core.plugins import PROTOCOLS
from eventserver_core.sections import PluginSettings
from eventserver_core.wiring import Services, load_configuration


def section(tmp_path: Path, **environ: str) -> PluginSettings:
    directory = {"EVENTSERVER__SERVER__DATA_DIR": str(tmp_path)}
    return load_configuration(tmp_path, directory | environ).settings[PluginSettings]


def test_where_none_is_set_the_plain_one_counts(tmp_path: Path) -> None:
    settings = section(tmp_path, EVENTSERVER__PLUGINS__TIME_LIMIT="7")
    assert {settings.time_limit_of(role) for role in PROTOCOLS} == {7}


@pytest.mark.parametrize("role", sorted(PROTOCOLS))
def test_a_role_may_have_its_own(tmp_path: Path, role: str) -> None:
    name = f"EVENTSERVER__PLUGINS__{role.upper()}_TIME_LIMIT"
    settings = section(tmp_path, **{name: "2.5"})
    limits = {other: settings.time_limit_of(other) for other in PROTOCOLS}
    assert limits.pop(role) == 2.5
    assert set(limits.values()) == {30}


def test_it_is_what_the_guard_goes_by(tmp_path: Path) -> None:
    environ = {
        "EVENTSERVER__SERVER__DATA_DIR": str(tmp_path),
        "EVENTSERVER__PLUGINS__STORAGE_TIME_LIMIT": "2.5",
    }
    services = Services(load_configuration(tmp_path, environ))
    assert services.storage._time_limit == 2.5  # type: ignore[attr-defined]
    assert services.chain._time_limit == 30  # type: ignore[attr-defined]
    services.database.close()
