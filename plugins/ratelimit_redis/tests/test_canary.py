"""No error, no line of the log and no repr holds the password."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from eventserver_ratelimit_redis import RedisRateLimiter, eventserver_settings
from structlog.testing import capture_logs

from eventserver_core.backends.ratelimit import Quota
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.sections import CORE_SECTIONS, RedisSettings
from eventserver_core.settings import Sources
from eventserver_core.testing.parts import Valkey

CANARY = "canary-in-the-mine"


class OldValkey(Valkey):
    """Knows no AUTH, and repeats what it doesn't know."""

    def command(self) -> list[str]:
        return [*super().command(), "--rename-command", "AUTH", ""]


@pytest.fixture
def old_valkey(tmp_path: Path) -> Iterator[OldValkey]:
    with OldValkey(tmp_path / "old") as part:
        yield part


def attempts(url: str, make: Callable[..., RedisRateLimiter], quota: Quota) -> list[str]:
    """Return all that is said while a limiter can't use its Redis."""
    said = []
    with capture_logs() as lines:
        limiter = make(url, on_failure="closed")
        for attempt in (lambda: limiter.hit("caller", quota), limiter.check):
            with pytest.raises(BackendUnavailableError) as caught:
                attempt()
            said += [repr(caught.value), *traceback.format_exception(caught.value)]
        said.append(repr(limiter))
        said.append(repr(vars(limiter)))
    return [*said, *map(repr, lines)]


@pytest.mark.real
def test_no_password_is_shown_however_redis_refuses_it(
    own_valkey: Valkey,
    old_valkey: OldValkey,
    make_limiter: Callable[..., RedisRateLimiter],
    quota: Quota,
) -> None:
    own_valkey.ask("CONFIG", "SET", "requirepass", "another")
    said: list[str] = []
    for port in (own_valkey.port, old_valkey.port, 1):
        for user in ("", "user"):
            said += attempts(f"redis://{user}:{CANARY}@127.0.0.1:{port}", make_limiter, quota)
    assert any("rate_limit_degraded" in line for line in said)
    assert any("another password" in line for line in said)
    assert not [line for line in said if CANARY in line]


@pytest.mark.real
def test_the_canary_would_be_found(old_valkey: OldValkey) -> None:
    client = redis.Redis(port=old_valkey.port, password=CANARY, protocol=2)
    with pytest.raises(redis.RedisError, match=CANARY):
        client.ping()


def test_the_settings_do_not_show_it() -> None:
    environ = {"EVENTSERVER__REDIS__URL": f"redis://user:{CANARY}@redis/1"}
    settings = Sources(environ=environ).load([*CORE_SECTIONS, *eventserver_settings()])
    assert CANARY in settings[RedisSettings].url
    assert CANARY not in repr(settings[RedisSettings])
