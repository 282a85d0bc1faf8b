"""Whom a limit counts: the identity behind a certificate, or the address that really called."""

from __future__ import annotations

from collections.abc import Callable

import falcon.testing
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.errors import ConfigurationError
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    CHALLENGE,
    EVENTS,
    SOLUTION,
    Answer,
    Client,
    assert_problem,
    bearer,
    certificate,
    post_event,
    subject_of,
)

LIMIT = 3


@pytest.fixture
def make_client(make_services: Callable[..., Services]) -> Callable[..., Client]:
    def make(proxies: str = "") -> Client:
        services = make_services(
            EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE=str(LIMIT),
            EVENTSERVER__SERVER__TRUSTED_PROXIES=proxies,
        )
        return falcon.testing.TestClient(services.application())

    return make


def ask(client: Client, peer: str, forwarded: str | None = None, path: str = CHALLENGE) -> Answer:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return client.simulate_post(path, headers=headers, extras={"REMOTE_ADDR": peer})


def left(answer: Answer) -> int:
    """Return how much a caller has left, or -1 where it was refused."""
    if answer.status_code == 429:
        return -1
    return int(answer.headers["ratelimit"].partition(";r=")[2].partition(";")[0])


class TestByAddress:
    def test_each_address_has_its_own(self, make_client: Callable[..., Client]) -> None:
        client = make_client()
        counted = [left(ask(client, "192.0.2.1")) for _ in range(4)]
        assert counted == [2, 1, 0, -1]
        assert left(ask(client, "192.0.2.2")) == 2
        assert left(ask(client, "2001:db8::1")) == 2

    def test_both_steps_of_the_proof_of_work_count(
        self, make_client: Callable[..., Client]
    ) -> None:
        client = make_client()
        paths = [CHALLENGE, SOLUTION, SOLUTION, SOLUTION, CHALLENGE]
        answers = [ask(client, "192.0.2.1", path=path) for path in paths]
        assert [left(answer) for answer in answers] == [2, 1, 0, -1, -1]
        for answer in answers[3:]:
            assert_problem(answer, 429, "rate_limited")

    def test_a_certificate_makes_no_difference_where_none_is_asked_for(
        self, make_client: Callable[..., Client]
    ) -> None:
        client = make_client()
        counted = []
        for n in range(4):
            headers = {"Authorization": f"Bearer made-up-{n}"}
            counted.append(left(client.simulate_post(CHALLENGE, headers=headers)))
        assert counted == [2, 1, 0, -1]

    @pytest.mark.parametrize("proxies", ["", "10.0.0.1", "10.0.0.0/24, 2001:db8::/32"])
    def test_what_a_stranger_says_of_its_address_is_ignored(
        self, make_client: Callable[..., Client], proxies: str
    ) -> None:
        client = make_client(proxies)
        counted = [left(ask(client, "192.0.2.1", f"198.51.100.{n}")) for n in range(4)]
        assert counted == [2, 1, 0, -1]

    @pytest.mark.parametrize("proxies", ["10.0.0.1", "10.0.0.0/24", "10.0.0.7/24"])
    def test_what_a_trusted_proxy_says_counts(
        self, make_client: Callable[..., Client], proxies: str
    ) -> None:
        client = make_client(proxies)
        assert [left(ask(client, "10.0.0.1", f"198.51.100.{n}")) for n in range(4)] == [2] * 4
        counted = [left(ask(client, "10.0.0.1", "198.51.100.9")) for _ in range(4)]
        assert counted == [2, 1, 0, -1]

    def test_only_what_the_nearest_proxies_added_counts(
        self, make_client: Callable[..., Client]
    ) -> None:
        client = make_client("10.0.0.0/24")
        chains = [
            "198.51.100.1, 192.0.2.1",
            "198.51.100.2, 192.0.2.1, 10.0.0.9",
            "10.0.0.5, 192.0.2.1,10.0.0.8, 10.0.0.9",
            "nonsense, 192.0.2.1",
        ]
        assert [left(ask(client, "10.0.0.1", chain)) for chain in chains] == [2, 1, 0, -1]

    @pytest.mark.parametrize("forwarded", ["", "unknown", "x" * 1000, ",,,", "1.2.3.4.5", "::g"])
    def test_what_is_no_address_leaves_the_proxys_own(
        self, make_client: Callable[..., Client], forwarded: str
    ) -> None:
        client = make_client("10.0.0.1")
        counted = [left(ask(client, "10.0.0.1", forwarded)) for _ in range(4)]
        assert counted == [2, 1, 0, -1]


class TestByIdentity:
    @pytest.fixture
    def services(self, make_services: Callable[..., Services]) -> Services:
        return make_services(EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE=str(LIMIT))

    def test_many_certificates_of_one_device_share_one_limit(
        self, services: Services, client: Client, device: Device
    ) -> None:
        tokens = [
            certificate(services, Role.DEVICE, subject_of(device), device.public_key)
            for _ in range(4)
        ]
        assert len(set(tokens)) == 4
        counted = [left(post_event(client, bearer(token), make_package())) for token in tokens]
        assert counted == [2, 1, 0, -1]

    def test_others_are_not_kept_out(self, services: Services, client: Client) -> None:
        for _ in range(LIMIT + 1):
            post_event(client, bearer(certificate(services, Role.RELAY, "relay-1")), {})
        token = certificate(services, Role.RELAY, "relay-2")
        assert post_event(client, bearer(token), make_package()).status_code == 201

    def test_the_address_makes_no_difference(self, services: Services, client: Client) -> None:
        headers = bearer(certificate(services, Role.RELAY, "relay-1"))
        path = f"/api/v1/events/{'0' * 64}"
        counted = [
            left(client.simulate_get(path, headers=headers, extras={"REMOTE_ADDR": f"192.0.2.{n}"}))
            for n in range(4)
        ]
        assert counted == [2, 1, 0, -1]

    def test_another_instance_counts_on(
        self, make_services: Callable[..., Services], services: Services, client: Client
    ) -> None:
        other = make_services(EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE=str(LIMIT))
        clients = [client, falcon.testing.TestClient(other.application())]
        headers = bearer(certificate(services, Role.RELAY, "relay-1"))
        counted = [left(post_event(clients[n % 2], headers, make_package())) for n in range(4)]
        assert counted == [2, 1, 0, -1]


class TestByRoute:
    def test_a_class_with_a_limit_of_its_own_shares_no_other(
        self, make_services: Callable[..., Services]
    ) -> None:
        services = make_services(
            EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="3",
            EVENTSERVER__SECURITY__RATE_LIMIT_EVENTS="5/30",
        )
        client = falcon.testing.TestClient(services.application())
        relay = bearer(certificate(services, Role.RELAY, "relay-1"))
        sent = post_event(client, relay, make_package())
        assert sent.headers["ratelimit-policy"] == '"events";q=5;w=30'
        assert left(sent) == 4
        looked_up = client.simulate_get(f"{EVENTS}/{sent.json['hash']}", headers=relay)
        assert looked_up.headers["ratelimit-policy"] == '"default";q=3;w=60'
        assert left(looked_up) == 2

    def test_a_large_body_counts_as_several_calls(
        self, make_services: Callable[..., Services]
    ) -> None:
        services = make_services(
            EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="10",
            EVENTSERVER__SECURITY__RATE_LIMIT_UNIT_SIZE="100",
        )
        client = falcon.testing.TestClient(services.application())
        relay = bearer(certificate(services, Role.RELAY, "relay-1"))
        counted = []
        for size in (99, 100, 399):
            counted.append(left(post_event(client, relay, "x" * size)))
        assert counted == [9, 7, 3]
        answer = post_event(client, relay, "x" * 399)
        assert "counts as 4" in assert_problem(answer, 429, "rate_limited")["detail"]

    def test_a_body_of_unknown_length_counts_as_the_largest(
        self, make_services: Callable[..., Services]
    ) -> None:
        services = make_services(
            EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="10",
            EVENTSERVER__SECURITY__RATE_LIMIT_UNIT_SIZE="100",
            EVENTSERVER__STORAGE__MAX_FILE_SIZE="500",
        )
        client = falcon.testing.TestClient(services.application())
        relay = bearer(certificate(services, Role.RELAY, "relay-1"))
        answer = client.simulate_post(EVENTS, headers=relay | {"Transfer-Encoding": "chunked"})
        assert left(answer) == 10 - 6

    def test_what_is_larger_than_all_calls_together_may_be_sent_by_who_is_patient(
        self, make_services: Callable[..., Services]
    ) -> None:
        services = make_services(
            EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="3",
            EVENTSERVER__SECURITY__RATE_LIMIT_UNIT_SIZE="10",
        )
        client = falcon.testing.TestClient(services.application())
        relay = bearer(certificate(services, Role.RELAY, "relay-1"))
        answer = post_event(client, relay, make_package())
        assert (answer.status_code, left(answer)) == (201, 0)

    @pytest.mark.parametrize("text", ["many", "0", "5/0", "-1/60", "5/", "5/60/60"])
    def test_what_is_no_rate_is_said_so(
        self, make_services: Callable[..., Services], text: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=r"rate_limit_reads.*CALLS/SECONDS"):
            make_services(EVENTSERVER__SECURITY__RATE_LIMIT_READS=text)
