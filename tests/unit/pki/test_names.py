"""Names as people write them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from cryptography import x509

from eventserver_core.errors import InvalidInputError
from eventserver_core.pki.names import AllowedNames

from .samples import RELAY_ID


def test_names_are_sorted_into_hosts_and_addresses() -> None:
    allowed = AllowedNames.of(RELAY_ID, ["Relay.Example.org.", "localhost", "10.0.0.7", "::1"])
    assert allowed.hosts == {"relay.example.org", "localhost"}
    assert allowed.addresses == {ip_address("10.0.0.7"), ip_address("::1")}


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a-.example",
        "a_b.example",
        "bücher.example",
        "*.example.org",
        "relay.example.org:443",
        "https://relay.example.org",
        "relay.example.org/x",
        "[::1]",
        "fe80::1%eth0",
        "127.1",
        "127.0.0.1.",
        "relay.0x7f",
        "2130706433",
        "10.0.0.0/8",
        "relay.example.org\n",
        "x" * 64 + ".example",
        ".".join(["x" * 60] * 5),
        " relay.example.org",
        "\uff11\uff12\uff17.0.0.1",
    ],
    ids=repr,
)
def test_what_is_neither_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="neither a DNS name"):
        AllowedNames.of(RELAY_ID, [name])


def test_an_address_is_compared_by_its_value() -> None:
    allowed = AllowedNames.of(RELAY_ID, ["2001:DB8:0:0::7", "10.0.0.7"])
    assert allowed.hold(x509.IPAddress(ip_address("2001:db8::7")))
    assert allowed.hold(x509.IPAddress(ip_address("10.0.0.7")))


def test_an_address_is_not_the_one_that_maps_it() -> None:
    allowed = AllowedNames.of(RELAY_ID, ["10.0.0.7"])
    assert not allowed.hold(x509.IPAddress(ip_address("::ffff:10.0.0.7")))
    assert not allowed.hold(x509.IPAddress(ip_address("::a00:7")))


def test_an_address_as_a_host_name_is_none_of_them() -> None:
    allowed = AllowedNames.of(RELAY_ID, ["10.0.0.7"])
    assert not allowed.hold(x509.DNSName("10.0.0.7"))


def test_a_common_name_is_the_relays_or_one_of_its_names() -> None:
    allowed = AllowedNames.of(RELAY_ID, ["relay.example.org", "10.0.0.7"])
    for text in (RELAY_ID, "relay.example.org", "RELAY.example.org", "10.0.0.7"):
        assert allowed.hold_common_name(text)
    for text in ("", "other.example.org", "10.0.0.8", "::ffff:10.0.0.7", f"{RELAY_ID} "):
        assert not allowed.hold_common_name(text)
