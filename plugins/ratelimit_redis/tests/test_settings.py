"""The plugin as the core finds it, its settings, and addresses good and bad."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from eventserver_ratelimit_redis import (
    RateLimitSettings,
    RedisRateLimiter,
    eventserver_ratelimit_backend,
    eventserver_settings,
)
from eventserver_ratelimit_redis.address import connection_maker

from eventserver_core.backends.ratelimit import DependsOnService, RateLimiter
from eventserver_core.errors import ConfigurationError
from eventserver_core.plugins import Plugins
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources
from eventserver_core.testing.parts import Valkey


def settings(**keys: str) -> Settings:
    environ = {f"EVENTSERVER__{name.upper()}": value for name, value in keys.items()}
    return Sources(environ=environ).load([*CORE_SECTIONS, *eventserver_settings()])


def test_the_core_finds_the_plugin_and_gets_a_backend(valkey: Valkey) -> None:
    plugins = Plugins({"ratelimit": "redis"})
    assert plugins.sections() == [RateLimitSettings]
    backend = plugins.backend("ratelimit", settings(redis__url=valkey.url))
    assert isinstance(backend, RedisRateLimiter)
    backend.check()


def test_the_backend_has_the_role_and_the_ability(
    make_limiter: Callable[..., RedisRateLimiter],
) -> None:
    for protocol in (RateLimiter, DependsOnService):
        assert isinstance(make_limiter("redis://127.0.0.1:1"), protocol)


def test_the_defaults_are_local_a_tenth_and_50_ms() -> None:
    section = settings()[RateLimitSettings]
    assert section == RateLimitSettings(on_failure="local", local_share=0.1, timeout=0.05)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("on_failure", "shut"),
        ("local_share", "0"),
        ("local_share", "1.01"),
        ("local_share", "nan"),
        ("timeout", "0.051"),
        ("timeout", "0"),
        ("timeout", "50"),
        ("timeout", "-0.01"),
    ],
)
def test_a_setting_out_of_its_bounds_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"ratelimit\.{key}"):
        settings(**{f"ratelimit__{key}": value})


def test_every_setting_is_documented() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    for spec in RateLimitSettings.options():
        assert f"| `{spec.key}` | `{spec.default}` |" in readme


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379",
        "redis://redis",
        "redis://redis/",
        "redis://redis:6380/15",
        "redis://user:pass%40word@redis/1",
        "redis://[::1]:6379/0",
        "rediss://:password@redis:6380/0?ssl_ca_certs=/etc/ca.pem",
        "unix:///run/redis.sock?db=1",
        "unix://user@/run/redis.sock?password=word",
        "redis://redis?client_name=eventserver&db=2&ssl_cert_reqs=",
    ],
)
def test_an_address_is_taken_without_asking_it(url: str) -> None:
    assert connection_maker(url)()


@pytest.mark.parametrize(
    "url",
    [
        "canary",
        "http://:canary@redis:6379",
        "redis://",
        "redis://:canary@",
        "redis://:canary@redis:0",
        "redis://:canary@redis:99999",
        "redis://:canary@redis:port",
        "redis://:can/ary@redis:6379",
        "redis://:can#ary@redis:6379",
        "redis://:canary#1@redis:6379",
        "redis://:can?ary@redis:6379",
        "redis://:canary@redis/name",
        "redis://:canary@redis/0/1",
        "redis://:canary@redis:6379/0\n",
        "redis://:canary@redis?canary=1",
        "redis://:canary@redis?protocol=7",
        "redis://:canary@redis?db=canary",
        "redis://:canary@redis?max_connections=5",
        "redis://:canary@redis?health_check_interval=1",
        "redis://:canary@redis?ssl_canary=1",
        "redis://:canary@redis?=canary",
        "rediss://:canary@redis?ssl_cert_reqs=canary",
        "unix://:canary@",
        "redis://:canary@[redis:6379",
    ],
)
def test_a_wrong_address_is_named_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        eventserver_ratelimit_backend(settings(redis__url=url))
    said = str(caught.value)
    assert said.startswith("redis.url: expected")
    assert len(caught.value.faults) == 1
    for line in traceback.format_exception(caught.value):
        assert "canary" not in line
        assert "ary@" not in line
