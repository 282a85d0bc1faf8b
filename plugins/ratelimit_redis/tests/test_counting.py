"""What is counted in Redis: by all processes together, in one round trip, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import redis
from eventserver_ratelimit_redis import RedisRateLimiter
from eventserver_ratelimit_redis.counting import PREFIX, STATE_KEY, counter_key

from eventserver_core.backends.ratelimit import Quota
from eventserver_core.testing.parts import Valkey

MakeLimiter = Callable[..., RedisRateLimiter]

PROCESS = """
import sys
from eventserver_core.backends.ratelimit import Quota
from eventserver_ratelimit_redis import RedisRateLimiter

url, policy, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
limiter = RedisRateLimiter(url, pool_size=2, on_failure="closed", local_share=0.1, timeout=10)
limiter.check()
print("ready", flush=True)
sys.stdin.readline()
print(sum(limiter.hit("caller", Quota(policy, limit, 60)).allowed for _ in range(limit)))
"""


def test_two_processes_share_a_limit_exactly(valkey: Valkey) -> None:
    quota = Quota("two processes", limit=300, window=60)
    command = [sys.executable, "-c", PROCESS, valkey.url, quota.policy, str(quota.limit)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        allowed = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(allowed) == quota.limit


def test_threads_that_are_more_than_the_connections_are_all_counted(
    valkey: Valkey, make_limiter: MakeLimiter, quota: Quota
) -> None:
    limiter = make_limiter(valkey.url, pool_size=2)
    with ThreadPoolExecutor(16) as pool:
        decisions = list(pool.map(lambda _: limiter.hit("caller", quota), range(400)))
    assert sum(decision.allowed for decision in decisions) == quota.limit


@pytest.mark.real
def test_a_call_is_one_round_trip(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota
) -> None:
    limiter = make_limiter(own_valkey.url)
    limiter.hit("caller", quota)
    client = redis.Redis(port=own_valkey.port)
    with client.monitor() as monitor:
        for number in range(70):
            limiter.hit("caller", quota, 1 + number % 3)
        own_valkey.ask("ECHO", "the-end")
        sent = []
        while "the-end" not in (command := monitor.next_command())["command"]:
            if command["client_type"] != "lua":
                sent.append(command["command"].split()[0].upper())
    assert sent == ["EVALSHA"] * 70


@pytest.mark.real
def test_a_server_that_forgot_the_script_is_told_it_again(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Callable[..., int]
) -> None:
    limiter = make_limiter(own_valkey.url)
    assert take(limiter, quota, 10) == 10
    assert own_valkey.ask("SCRIPT", "FLUSH") == b"+OK"
    assert take(limiter, quota) == quota.limit - 10


def test_what_is_refused_changes_nothing(
    valkey: Valkey, make_limiter: MakeLimiter, quota: Quota
) -> None:
    limiter = make_limiter(valkey.url)
    client = redis.Redis(port=valkey.port)
    key = PREFIX + counter_key("caller", quota)
    limiter.hit("caller", quota, 40)
    before = client.hgetall(key), client.pexpiretime(key), client.hgetall(STATE_KEY)
    for cost in (11, 50, 51, 10**30):
        assert not limiter.hit("caller", quota, cost).allowed
    assert (client.hgetall(key), client.pexpiretime(key), client.hgetall(STATE_KEY)) == before


def test_counts_expire_soon_after_their_window(
    valkey: Valkey, make_limiter: MakeLimiter, quota: Quota
) -> None:
    limiter = make_limiter(valkey.url)
    client = redis.Redis(port=valkey.port)
    limiter.hit("caller", quota)
    assert 50_000 < client.pttl(PREFIX + counter_key("caller", quota)) <= 62_000
    assert client.ttl(STATE_KEY) == -1


def test_an_identity_takes_one_small_key(
    valkey: Valkey, make_limiter: MakeLimiter, quota: Quota
) -> None:
    limiter = make_limiter(valkey.url)
    client = redis.Redis(port=valkey.port)
    for identity in ("", "somebody", "\0" * 10_000, "\ud800"):
        limiter.hit(identity, quota)
        key = PREFIX + counter_key(identity, quota)
        assert client.object("encoding", key) == b"listpack"
        assert client.memory_usage(key) < 1000


def test_a_limit_above_what_a_number_holds_is_a_high_limit(
    valkey: Valkey, make_limiter: MakeLimiter
) -> None:
    limiter = make_limiter(valkey.url)
    quota = Quota("endless", limit=10**30, window=1)
    assert limiter.hit("caller", quota, 10**15).allowed
    assert limiter.hit("caller", quota, 10**15).remaining > 10**15


def test_a_call_that_costs_nothing_is_a_mistake(make_limiter: MakeLimiter, quota: Quota) -> None:
    for cost in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            make_limiter("redis://127.0.0.1:1").hit("caller", quota, cost)


def test_a_changed_limit_holds_for_what_was_used_already(
    valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Callable[..., int]
) -> None:
    limiter = make_limiter(valkey.url)
    assert take(limiter, quota) == quota.limit
    raised = Quota(quota.policy, quota.limit + 7, quota.window)
    assert take(limiter, raised) == 7


def test_its_check_says_that_all_is_well(valkey: Valkey, make_limiter: MakeLimiter) -> None:
    limiter = make_limiter(valkey.url)
    for _ in range(3):
        limiter.check()
