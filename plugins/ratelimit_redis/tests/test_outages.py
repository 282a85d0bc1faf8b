"""Redis slow, gone, refusing: the named mode holds within 50 ms, and it heals by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from statistics import median
from time import perf_counter

import pytest
import redis
from eventserver_ratelimit_redis import RedisRateLimiter
from structlog.testing import capture_logs

from eventserver_core.backends.ratelimit import Quota
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.contracts.ratelimit import MAX_DURATION
from eventserver_core.testing.parts import Valkey

pytestmark = pytest.mark.real

MakeLimiter = Callable[..., RedisRateLimiter]
WaitUntil = Callable[[Callable[[], object]], None]
SHARE = 5
"""What the local share leaves of the quota's 50 units."""


def lock(valkey: Valkey) -> None:
    """Change the password, and throw everybody out."""
    with redis.Redis(port=valkey.port) as client:
        client.config_set("requirepass", "changed")
        client.client_kill_filter(_type="normal", skipme=True)


def unlock(valkey: Valkey) -> None:
    with redis.Redis(port=valkey.port, password="changed") as client:
        client.config_set("requirepass", "")


Act = Callable[[Valkey], object]
FAULTS: dict[str, tuple[Act, Act, str]] = {
    "slow": (Valkey.pause, Valkey.resume, "TimeoutError"),
    "killed": (Valkey.kill, Valkey.start, "ConnectionError"),
    "stopped": (Valkey.stop, Valkey.start, "ConnectionError"),
    "out of memory": (
        lambda valkey: valkey.ask("CONFIG", "SET", "maxmemory", "1"),
        lambda valkey: valkey.ask("CONFIG", "SET", "maxmemory", "0"),
        "OutOfMemoryError",
    ),
    "read-only": (
        lambda valkey: valkey.ask("REPLICAOF", "127.0.0.1", "1"),
        lambda valkey: valkey.ask("REPLICAOF", "NO", "ONE"),
        "ReadOnlyError",
    ),
    "another password": (lock, unlock, "AuthenticationError"),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> tuple[Act, Act, str]:
    return FAULTS[request.param]


@pytest.fixture
def make_working(
    own_valkey: Valkey, make_limiter: MakeLimiter, wait_until: WaitUntil
) -> Callable[[str], RedisRateLimiter]:
    """Return a function that makes a limiter with the real time-out, which counts already."""

    def make(on_failure: str) -> RedisRateLimiter:
        limiter = make_limiter(own_valkey.url, on_failure=on_failure, timeout=MAX_DURATION)
        wait_until(lambda: is_well(limiter))
        return limiter

    return make


def is_well(limiter: RedisRateLimiter) -> bool:
    with suppress(BackendUnavailableError):
        limiter.check()
        return True
    return False


def outcome(limiter: RedisRateLimiter, quota: Quota, cost: int = 1) -> str:
    """Return what a call gets: yes, no, or 503."""
    try:
        return "yes" if limiter.hit("caller", quota, cost).allowed else "no"
    except BackendUnavailableError as ex:
        return "503" if ex.backend == "ratelimit=redis" else ex.backend


@pytest.mark.parametrize(
    ("on_failure", "expected"),
    [
        ("local", ["yes"] * SHARE + ["no"] * (100 - SHARE)),
        ("open", ["yes"] * 100),
        ("closed", ["503"] * 100),
    ],
)
def test_the_named_mode_holds_and_it_heals_by_itself(
    own_valkey: Valkey,
    make_working: Callable[[str], RedisRateLimiter],
    quota: Quota,
    wait_until: WaitUntil,
    fault: tuple[Act, Act, str],
    on_failure: str,
    expected: list[str],
) -> None:
    hurt, heal, kind = fault
    limiter = make_working(on_failure)
    hurt(own_valkey)
    with capture_logs() as lines:
        assert [outcome(limiter, quota) for _ in range(100)] == expected
        assert not is_well(limiter)
        heal(own_valkey)
        wait_until(lambda: outcome(limiter, quota) and len(lines) > 1)
    began, ended = lines
    assert (began["event"], ended["event"]) == ("rate_limit_degraded", "rate_limit_recovered")
    assert (began["on_failure"], began["error"]) == (on_failure, kind)
    assert ended["calls"] >= 100
    assert ended["seconds"] > 0


@pytest.mark.parametrize("on_failure", ["local", "open", "closed"])
def test_a_fault_costs_a_request_at_most_50_ms(
    own_valkey: Valkey,
    make_working: Callable[[str], RedisRateLimiter],
    quota: Quota,
    fault: tuple[Act, Act, str],
    on_failure: str,
) -> None:
    limiter = make_working(on_failure)
    fault[0](own_valkey)
    durations = []
    for _ in range(21):
        began = perf_counter()
        outcome(limiter, quota)
        durations.append(perf_counter() - began)
    assert median(durations) < MAX_DURATION


def test_a_hanging_redis_is_asked_once_in_a_while(
    own_valkey: Valkey, make_working: Callable[[str], RedisRateLimiter], quota: Quota
) -> None:
    limiter = make_working("local")
    own_valkey.pause()
    began = perf_counter()
    for _ in range(1000):
        outcome(limiter, quota)
    # had each call waited, this would have taken 45 seconds
    assert perf_counter() - began < 20


def test_what_costs_more_than_the_local_share_waits_for_redis(
    own_valkey: Valkey, make_working: Callable[[str], RedisRateLimiter], quota: Quota
) -> None:
    limiter = make_working("local")
    own_valkey.kill()
    assert outcome(limiter, quota, SHARE + 1) == "no"
    assert outcome(limiter, quota, SHARE) == "yes"


def test_an_open_limiter_lets_nothing_through_that_can_never_be_allowed(
    own_valkey: Valkey, make_working: Callable[[str], RedisRateLimiter], quota: Quota
) -> None:
    limiter = make_working("open")
    own_valkey.kill()
    assert outcome(limiter, quota, quota.limit) == "yes"
    assert outcome(limiter, quota, quota.limit + 1) == "no"


@pytest.mark.parametrize(
    ("hurt", "advice"),
    [
        (Valkey.pause, "load"),
        (Valkey.kill, "whether it runs"),
        (FAULTS["out of memory"][0], "maxmemory"),
        (FAULTS["read-only"][0], "primary"),
        (lock, "password"),
    ],
)
def test_its_check_says_what_to_do(
    own_valkey: Valkey,
    make_working: Callable[[str], RedisRateLimiter],
    hurt: Act,
    advice: str,
) -> None:
    limiter = make_working("local")
    hurt(own_valkey)
    with pytest.raises(BackendUnavailableError, match=advice):
        limiter.check()


def test_a_redis_that_is_loading_is_waited_for(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, wait_until: WaitUntil
) -> None:
    with redis.Redis(port=own_valkey.port) as client:
        client.mset({f"key {number}": "x" * 200 for number in range(1000)})
        client.execute_command("BGREWRITEAOF")
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    own_valkey.stop()
    options = ["--key-load-delay", "4000", "--loading-process-events-interval-bytes", "1024"]
    command = own_valkey.command()
    own_valkey.command = lambda: [*command, *options]  # type: ignore[method-assign]
    own_valkey.launch()
    wait_until(lambda: own_valkey.ask("PING").startswith(b"-LOADING"))
    limiter = make_limiter(own_valkey.url)
    with capture_logs() as lines:
        assert outcome(limiter, quota) == "yes"
        wait_until(lambda: outcome(limiter, quota) and len(lines) > 1)
    assert [line.get("error") for line in lines] == ["BusyLoadingError", None]


def test_a_redis_that_was_restarted_in_between_is_not_missed(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Callable[..., int]
) -> None:
    limiter = make_limiter(own_valkey.url)
    assert take(limiter, quota, 20) == 20
    own_valkey.restart(kill=True)
    with capture_logs() as lines:
        assert take(limiter, quota) == quota.limit - 20
    assert lines == []


def test_closed_makes_redis_a_needed_service_and_the_other_modes_do_not(
    make_limiter: MakeLimiter,
) -> None:
    for on_failure, needed in (("local", False), ("open", False), ("closed", True)):
        dependency = make_limiter("redis://127.0.0.1:1", on_failure=on_failure).dependency()
        assert (dependency.name, dependency.needed) == ("redis", needed)
