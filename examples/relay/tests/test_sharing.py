"""What one address may take of a relay, and all of them together."""

from __future__ import annotations

import socket
import ssl
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from eventserver_client.testing import ScriptedServer, problem
from eventserver_relay.sharing import Shares, whose

from .relays import EVENTS, Authority, RelayProcess, package, wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, and all of 127.0.0.0/8"),
]
POST = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LARGEST = 16 * 1024 * 1024
MEBIBYTE = 1024 * 1024


def connected(relay: RelayProcess, source: str) -> socket.socket:
    """Return a connection from another address of the loopback interface."""
    port = int(relay.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))


def secured(relay: RelayProcess, source: str) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connected(relay, source))


def is_hung_up_on(relay: RelayProcess, source: str) -> bool:
    with closing(connected(relay, source)) as one_more:
        one_more.settimeout(0.2)
        try:
            return one_more.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


def memory(relay: RelayProcess, member: str) -> int:
    """Return what the kernel says of a relay's memory, in bytes."""
    assert relay._process is not None
    lines = Path(f"/proc/{relay._process.pid}/status").read_text().splitlines()
    (line,) = (one for one in lines if one.startswith(f"{member}:"))
    return int(line.split()[1]) * 1024


def test_one_address_does_not_keep_others_out(relay: RelayProcess) -> None:
    with ExitStack() as opened:
        for _ in range(64):  # they never begin a handshake
            opened.enter_context(closing(connected(relay, "127.0.0.2")))
        wait_until(lambda: is_hung_up_on(relay, "127.0.0.2"), "it has enough")
        assert relay.post(package()).status_code == 201


def test_an_operator_says_how_many_connections_one_address_gets(
    document: Path, authority: Authority, tmp_path: Path
) -> None:
    arguments = ["--enrollment", str(document), "--max-per-address", "2"]
    with RelayProcess(tmp_path, authority.root_pem, *arguments) as relay, ExitStack() as opened:
        for _ in range(2):
            opened.enter_context(closing(connected(relay, "127.0.0.2")))
        wait_until(lambda: is_hung_up_on(relay, "127.0.0.2"), "it has enough")
        assert not is_hung_up_on(relay, "127.0.0.3")


def test_no_parser_sees_what_anyone_sends(relay: RelayProcess, server: ScriptedServer) -> None:
    # as Python's objects it would be thirty times as large
    server.script("POST", EVENTS, problem(400, "invalid_package"))
    before = memory(relay, "VmRSS")
    body = b'{"a":[' + b"{}," * ((LARGEST - 20) // 3) + b"{}]}"
    answer = relay.post(body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_package")
    assert memory(relay, "VmHWM") - before < 120 * MEBIBYTE


def lade(relay: RelayProcess, source: str) -> list[ssl.SSLSocket]:
    """Have an address take all of the room that it gets, and go no further."""
    made = []
    for _ in range(2):
        connection = secured(relay, source)
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n{" % LARGEST)
        connection.sendall(b" " * (LARGEST - 2))
        made.append(connection)
    wait_until(lambda: has_read_all(relay), "all of it is read")
    return made


def has_read_all(relay: RelayProcess) -> bool:
    """Tell whether the kernel holds nothing that was sent to a relay."""
    port = f":{int(relay.url.rpartition(':')[2]):04X}"
    found = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    unread = [one[4].partition(":")[2] for one in found if one[1].endswith(port)]
    unsent = [one[4].partition(":")[0] for one in found if one[2].endswith(port)]
    return not any(int(size, 16) for size in unread + unsent)


def test_so_many_bytes_are_held_at_once(relay: RelayProcess) -> None:
    with ExitStack() as opened:
        for source in ("127.0.0.2", "127.0.0.3"):
            for connection in lade(relay, source):
                opened.enter_context(connection)
        refused = relay.post(package())
        assert (refused.status_code, refused.json()["code"]) == (503, "relay_unavailable")
        assert refused.headers["Retry-After"]
        assert relay.health()["status"] == "healthy"
    wait_until(lambda: relay.post(package()).status_code == 201, "there is room again")


def test_one_address_gets_half_of_the_room(relay: RelayProcess) -> None:
    with ExitStack() as opened:
        for connection in lade(relay, "127.0.0.2"):
            opened.enter_context(connection)
        with secured(relay, "127.0.0.2") as third:
            third.sendall(POST + b"Content-Length: 2\r\n\r\n{}")
            assert b" 503 " in third.recv(65536).split(b"\r\n")[0]
        assert relay.post(package(filler="x" * 100_000)).status_code == 201


def test_what_is_given_back_can_be_taken_again() -> None:
    shares = Shares(most=10, most_each=6)
    assert shares.take("a", 6)
    assert not shares.take("a", 1)
    assert not shares.take("b", 5)
    assert shares.take("b", 4)
    shares.give_back("a", 2)
    assert not shares.take("b", 3)
    assert shares.take("b", 2)
    shares.give_back("a", 4)
    shares.give_back("b", 6)
    assert shares.take("c", 6)


@pytest.mark.parametrize(
    ("address", "whom"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_who_has_a_whole_network_is_one(address: str, whom: str) -> None:
    assert whose(address) == whom
