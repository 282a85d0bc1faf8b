"""What is read as a network address, and which ones are never called."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventserver_core.domain.network_address import NetworkAddress, refusal

EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))
LONGEST_NAME = ".".join(["a" * 63] * 3 + ["b" * 61])

READ = {
    "relay.example": ("relay.example", 443, "relay.example"),
    "Relay.EXAMPLE:8443": ("relay.example", 8443, "relay.example:8443"),
    "relay.example:443": ("relay.example", 443, "relay.example"),
    "localhost:1": ("localhost", 1, "localhost:1"),
    "xn--bcher-kva.example": ("xn--bcher-kva.example", 443, "xn--bcher-kva.example"),
    "1st.3com.example": ("1st.3com.example", 443, "1st.3com.example"),
    "1.2.3.4.example": ("1.2.3.4.example", 443, "1.2.3.4.example"),
    "cafe": ("cafe", 443, "cafe"),
    "0xz": ("0xz", 443, "0xz"),
    LONGEST_NAME: (LONGEST_NAME, 443, LONGEST_NAME),
    "8.8.8.8": ("8.8.8.8", 443, "8.8.8.8"),
    "8.8.8.8:65535": ("8.8.8.8", 65535, "8.8.8.8:65535"),
    "[2001:4860:4860::8888]": ("2001:4860:4860::8888", 443, "[2001:4860:4860::8888]"),
    "[2001:4860:4860:0:0:0:0:8888]:444": (
        "2001:4860:4860::8888",
        444,
        "[2001:4860:4860::8888]:444",
    ),
    "[2001:4860:4860::ABCD]:443": ("2001:4860:4860::abcd", 443, "[2001:4860:4860::abcd]"),
    "[::ffff:8.8.8.8]": ("::ffff:808:808", 443, "[::ffff:808:808]"),
}

NOT_READ = [
    "",
    " ",
    ":443",
    "relay.example:",
    "relay.example:0",
    "relay.example:65536",
    "relay.example:0443",
    "relay.example:+443",
    "relay.example:4 43",
    "relay.example:44\u0663",
    "relay.example:https",
    "relay.example:443:443",
    "relay.example:443/",
    "relay.example:443\n",
    "relay.example\n",
    " relay.example",
    "relay.example ",
    "relay .example",
    "relay\t.example",
    "relay\x00.example",
    "relay.example.",
    ".relay.example",
    "relay..example",
    "-relay.example",
    "relay-.example",
    "re_lay.example",
    "*.example",
    "a" * 64 + ".example",
    LONGEST_NAME + "c",
    "b\u00fccher.example",
    "\u212ailo.example",
    "relay\u3002example",
    "\uff11\uff12\uff17.0.0.1",
    "user@relay.example",
    "user:secret@relay.example",
    "https://relay.example",
    "//relay.example",
    "relay.example/health",
    "relay.example?x",
    "relay.example#x",
    "relay.example\\x",
    "relay%2eexample",
    # what resolvers read as an IPv4 address, each its own way
    "127.1",
    "127.0.1",
    "127.0.0.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0.0.0x1",
    "0X7F.0.0.1",
    "0177.0.0.1",
    "127.0.0.01",
    "127.0.0.08",
    "0",
    "0x",
    "relay.0x",
    "relay.1",
    "256.0.0.1",
    "1.2.3.4.",
    "169.254.169.254.0",
    # IPv6
    "::1",
    "2001:4860:4860::8888",
    "[]",
    "[::1",
    "::1]",
    "[[::1]]",
    "[::1]443",
    "[::1]:",
    "[::1]x:443",
    "[fe80::1%eth0]",
    "[fe80::1%25eth0]",
    "[::1 ]",
    "[127.0.0.1]",
    "[relay.example]",
    "[1:2:3:4:5:6:7:8:9]",
    "[::ffff:127.1]",
    "[v1.x]",
]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2600:1f18::1",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]

NEVER = {
    "0.0.0.0": "unspecified",  # noqa: S104
    "0.1.2.3": "unspecified",
    "::2": "unspecified",
    "::": "unspecified",
    "255.255.255.255": "broadcast",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
    "169.254.0.0": "link-local",
    "169.254.169.254": "link-local",
    "169.254.170.2": "link-local",
    "169.254.255.255": "link-local",
    "fe80::1": "link-local",
    "fe80::a9fe:a9fe": "link-local",
    "febf::1": "link-local",
    "fe80::1%eth0": "interfaces",
    "2606:4700::1111%1": "interfaces",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "192.0.0.192": "metadata",
    "fd00:ec2::254": "metadata",
    "fd00:ec2::23": "metadata",
    "fd20:ce::254": "metadata",
    "fd00:c1::a9fe:a9fe": "metadata",
    "fd00:42::42": "metadata",
    "fd00:a9fe:a9fe::1": "metadata",
    "fd00:100::100:200": "metadata",
    # the same by way of IPv6
    "::ffff:169.254.169.254": "link-local",
    "::ffff:168.63.129.16": "metadata",
    "::ffff:0.0.0.0": "unspecified",
    "::ffff:0:169.254.169.254": "link-local",
    "::169.254.169.254": "link-local",
    "64:ff9b::a9fe:a9fe": "link-local",
    "64:ff9b::168.63.129.16": "metadata",
    "64:ff9b:1::a9fe:a9fe": "link-local",
    "2002:a9fe:a9fe::1": "link-local",
    "2002:a83f:8110::": "metadata",
    "2001:0:a9fe:a9fe::": "link-local",
    "2001:0:808:808:0:0:5601:5601": "link-local",
}

NOT_PUBLIC = {
    "127.0.0.1": "loopback",
    "127.255.255.255": "loopback",
    "::1": "loopback",
    "10.0.0.0": "private",
    "10.255.255.255": "private",
    "172.16.0.0": "private",
    "172.31.255.255": "private",
    "192.168.0.0": "private",
    "192.168.255.255": "private",
    "fc00::1": "private",
    "fd12:3456::1": "private",
    "fec0::1": "private",
    "100.64.0.0": "share",
    "100.127.255.255": "share",
    "192.0.0.0": "reserved",
    "192.0.0.9": "reserved",
    "192.0.0.255": "reserved",
    "192.0.2.1": "documentation",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "198.18.0.1": "measurements",
    "198.19.255.255": "measurements",
    "192.88.99.1": "tunnel",
    "2002:808:808::1": "tunnel",
    "2001:0:808:808::f7f7:f7f7": "tunnel",
    "2001:2::1": "reserved",
    "2001:20::1": "reserved",
    "240.0.0.1": "reserved",
    "255.255.255.254": "reserved",
    "100::1": "reserved",
    "1fff::1": "reserved",
    "4000::1": "reserved",
    "5f00::1": "reserved",
    "64:ff9b:1::808:808": "reserved",
    "::8.8.8.8": "reserved",
    "::ffff:0:8.8.8.8": "reserved",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:10.0.0.1": "private",
    "64:ff9b::127.0.0.1": "loopback",
    "64:ff9b::10.0.0.1": "private",
}


@pytest.mark.parametrize("text", READ)
def test_an_address_is_read_in_one_form(text: str) -> None:
    address = NetworkAddress.parse(text)
    assert (address.host, address.port, str(address)) == READ[text]


@pytest.mark.parametrize("text", NOT_READ)
def test_nothing_else_is_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z0-9]"):
        NetworkAddress.parse(text)


def test_a_very_long_text_is_refused_without_being_repeated() -> None:
    for text in ("a." * 500_000 + "b", "1." * 500_000 + "1", "[" + ":" * 1_000_000 + "]"):
        with pytest.raises(ValueError) as caught:
            NetworkAddress.parse(text)
        assert len(str(caught.value)) < 100


def test_a_host_is_an_ip_address_or_a_name() -> None:
    assert NetworkAddress.parse("8.8.8.8:1").ip == IPv4Address("8.8.8.8")
    assert NetworkAddress.parse("[2606:4700::1111]").ip == IPv6Address("2606:4700::1111")
    assert NetworkAddress.parse("[::1]").is_ip
    assert not NetworkAddress.parse("relay.example").is_ip
    assert NetworkAddress.parse("relay.example").ip is None


@given(st.text(alphabet="0189afxX.:[]-", max_size=20))
def test_what_is_read_means_the_same_to_every_resolver(text: str) -> None:
    try:
        address = NetworkAddress.parse(text)
    except ValueError:
        return
    assert NetworkAddress.parse(str(address)) == address
    try:
        packed = socket.inet_aton(address.host)
    except OSError:
        return
    assert address.ip == IPv4Address(packed)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_may_be_called(text: str) -> None:
    assert refusal(ip_address(text)) is None


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_others_may_not_and_it_is_said_why(text: str) -> None:
    reason = refusal(ip_address(text))
    assert reason is not None
    assert NOT_PUBLIC[text] in reason


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_what_a_setting_lets_through_may_be_called(text: str) -> None:
    assert refusal(ip_address(text), EVERYTHING) is None


@pytest.mark.parametrize("text", NEVER)
def test_some_are_never_called_whatever_a_setting_says(text: str) -> None:
    for allowed in ((), EVERYTHING):
        reason = refusal(ip_address(text), allowed)
        assert reason is not None
        assert NEVER[text] in reason


def test_a_network_lets_through_its_own_addresses_only() -> None:
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd12::/16")]
    assert refusal(ip_address("10.1.2.3"), allowed) is None
    assert refusal(ip_address("::ffff:10.1.2.3"), allowed) is None
    assert refusal(ip_address("fd12::1"), allowed) is None
    assert refusal(ip_address("10.2.0.1"), allowed) == "10.2.0.1 is a private address"
    assert refusal(ip_address("::ffff:10.2.0.1"), allowed) == "10.2.0.1 is a private address"
    assert refusal(ip_address("fd13::1"), allowed) == "fd13::1 is a private address"


@given(st.ip_addresses())
def test_whatever_may_be_called_is_global_unicast(ip: IPv4Address | IPv6Address) -> None:
    if refusal(ip) is None:
        assert ip.is_global
        assert not ip.is_multicast
        assert not ip.is_private


@given(st.ip_addresses(v=4))
def test_ipv6_is_no_way_round_what_ipv4_may_not(ip: IPv4Address) -> None:
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        wrapped = IPv6Address(int(IPv6Address(prefix)) + int(ip))
        assert refusal(wrapped) == refusal(ip)
