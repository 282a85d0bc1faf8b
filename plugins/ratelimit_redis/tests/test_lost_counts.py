"""Counts that Redis lost are noticed, and never make a flood."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from eventserver_ratelimit_redis import RedisRateLimiter
from structlog.testing import capture_logs

from eventserver_core.backends.ratelimit import Quota
from eventserver_core.testing.clock import RealClock
from eventserver_core.testing.parts import Valkey

pytestmark = pytest.mark.real

MakeLimiter = Callable[..., RedisRateLimiter]
Take = Callable[..., int]
SHARE = 5


class ForgetfulValkey(Valkey):
    """Keeps nothing when it ends."""

    def command(self) -> list[str]:
        return [*super().command(), "--appendonly", "no"]


@pytest.fixture
def forgetful_valkey(tmp_path: Path) -> Iterator[ForgetfulValkey]:
    with ForgetfulValkey(tmp_path / "forgetful") as part:
        yield part


def test_a_fresh_deployment_has_full_limits(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Take
) -> None:
    limiters = [make_limiter(own_valkey.url) for _ in range(3)]
    with capture_logs() as lines:
        assert sum(take(limiter, quota, 25) for limiter in limiters) == quota.limit
    assert lines == []


@pytest.mark.parametrize("on_failure", ["local", "closed"])
def test_after_a_flush_everybody_gets_the_share_only(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Take, on_failure: str
) -> None:
    limiters = [make_limiter(own_valkey.url, on_failure=on_failure) for _ in range(3)]
    assert take(limiters[0], quota) == quota.limit
    for limiter in limiters:
        limiter.check()
    own_valkey.ask("FLUSHALL")
    with capture_logs() as lines:
        for who in ("caller", "another"):
            assert sum(take(limiter, quota, who=who) for limiter in limiters) == SHARE
    assert [line["event"] for line in lines] == ["rate_limit_counts_lost"]


def test_where_everything_is_let_through_on_failure_a_loss_lowers_nothing(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Take
) -> None:
    limiter = make_limiter(own_valkey.url, on_failure="open")
    assert take(limiter, quota) == quota.limit
    own_valkey.ask("FLUSHALL")
    assert take(limiter, quota) == quota.limit


def test_a_window_later_the_full_limit_is_back(
    own_valkey: Valkey, make_limiter: MakeLimiter, take: Take
) -> None:
    quota = Quota("short", limit=50, window=1)
    limiter = make_limiter(own_valkey.url)
    limiter.check()
    own_valkey.ask("FLUSHALL")
    refused = limiter.hit("caller", quota, SHARE + 1)
    assert not refused.allowed
    RealClock().advance(refused.retry_after)
    assert limiter.hit("caller", quota, quota.limit).allowed


def test_who_began_after_the_loss_is_told_by_who_was_there_before(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Take
) -> None:
    old, young = make_limiter(own_valkey.url), make_limiter(own_valkey.url)
    assert take(old, quota) == quota.limit
    own_valkey.ask("FLUSHALL")
    assert take(young, quota, 2) == 2
    assert take(old, quota, 1) == 1
    assert take(young, quota) == SHARE - 3


def test_a_redis_that_comes_back_with_an_older_copy_has_lost_counts(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Take
) -> None:
    limiter = make_limiter(own_valkey.url)
    assert take(limiter, quota, 1) == 1
    kept, copy = own_valkey.directory / "appendonlydir", own_valkey.directory / "copy"
    own_valkey.stop()
    shutil.copytree(kept, copy)
    own_valkey.start()
    assert take(limiter, quota) == quota.limit - 1
    own_valkey.stop()
    shutil.rmtree(kept)
    shutil.move(copy, kept)
    own_valkey.start()
    with capture_logs() as lines:
        assert take(limiter, quota) == SHARE - 1
    assert [line["event"] for line in lines] == ["rate_limit_counts_lost"]


def test_a_redis_that_was_killed_and_kept_everything_has_lost_nothing(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Take
) -> None:
    limiter = make_limiter(own_valkey.url)
    assert take(limiter, quota, 20) == 20
    own_valkey.restart(kill=True)
    assert take(limiter, quota) == quota.limit - 20


def test_an_outage_that_loses_all_counts_keeps_to_the_documented_bound(
    forgetful_valkey: ForgetfulValkey, make_limiter: MakeLimiter, quota: Quota, take: Take
) -> None:
    """limit * (1 + share * (processes + losses)), and that much is reached."""
    limiters = [make_limiter(forgetful_valkey.url) for _ in range(3)]
    granted = sum(take(limiter, quota) for limiter in limiters)
    assert granted == quota.limit
    forgetful_valkey.kill()
    granted += sum(take(limiter, quota) for limiter in limiters)
    assert granted == quota.limit + 3 * SHARE
    forgetful_valkey.start()
    for limiter in limiters:
        limiter.check()
    granted += sum(take(limiter, quota) for limiter in limiters)
    assert granted == quota.limit + (3 + 1) * SHARE
    forgetful_valkey.restart(kill=True)
    granted += sum(take(limiter, quota) for limiter in limiters)
    assert granted == quota.limit + (3 + 2) * SHARE


def test_an_outage_that_keeps_the_counts_costs_the_local_shares_only(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Take
) -> None:
    limiters = [make_limiter(own_valkey.url) for _ in range(3)]
    granted = take(limiters[0], quota)
    for _ in range(2):
        own_valkey.kill()
        granted += sum(take(limiter, quota) for limiter in limiters)
        own_valkey.start()
        for limiter in limiters:
            limiter.check()
        granted += sum(take(limiter, quota) for limiter in limiters)
    assert granted == quota.limit + 3 * SHARE
