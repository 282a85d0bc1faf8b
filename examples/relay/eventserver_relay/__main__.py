"""Runs a relay: ``python -m eventserver_relay --help``."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from eventserver_client import RelayClient, RetryPolicy

from eventserver_relay import __version__
from eventserver_relay.enrollment import IdentityError
from eventserver_relay.files import make_directory
from eventserver_relay.forwarding import Forwarder
from eventserver_relay.health import health
from eventserver_relay.identity import Identity
from eventserver_relay.log import log
from eventserver_relay.outbox import Outbox
from eventserver_relay.serving import MAX_PER_ADDRESS, RelayServer

_QUICK_SECONDS = 3.0
_PATIENT_SECONDS = 10.0
_TRY_SECONDS = 2
"""A whole try takes so many times as long as the network may be silent."""
_GIGABYTE = 1024**3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a relay until SIGTERM or SIGINT, and return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.name and options.address is None:
        parser.error("--name is another name, and needs --address besides")
    try:
        _show_key(options.data_dir) if options.show_key else _run(options)
    except (IdentityError, OSError) as ex:
        log("relay_failed", detail=str(ex))
        return 1
    return 0


def _show_key(directory: Path) -> None:
    """Print the public key that an admin registers; make the key where there is none."""
    make_directory(directory)
    sys.stdout.write(json.dumps(Identity(directory, []).public_key) + "\n")


def _run(options: argparse.Namespace) -> None:
    directory: Path = options.data_dir
    make_directory(directory)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    host, port = options.address or (None, None)
    with ExitStack() as opened:
        opened.enter_context(_alone(directory))
        identity = Identity(directory, [host, *options.name] if host else [])
        identity.establish(options.enrollment)
        outbox = Outbox(directory / "outbox.sqlite", options.max_outbox * 1024 * 1024)
        opened.callback(outbox.close)
        quick, patient = (
            opened.enter_context(
                RelayClient(
                    identity.server_url,
                    identity.certificate,
                    timeout=seconds,
                    retry=RetryPolicy(deadline=_TRY_SECONDS * seconds, most_tries=1),
                    verify=identity.trust(),
                )
            )
            for seconds in (_QUICK_SECONDS, _PATIENT_SECONDS)
        )
        forwarder = Forwarder(outbox, quick, patient)
        report = partial(health, identity, outbox, forwarder)
        server = RelayServer(
            options.listen,
            identity,
            outbox,
            forwarder,
            report,
            options.max_per_address,
            options.signed_only,
        )
        # in this order: no more requests, those under way to their end, then the rest
        opened.enter_context(_thread("renewing", identity.keep_renewed, stopping, forwarder.wake))
        opened.callback(stopping.set)
        opened.enter_context(_thread("forwarding", forwarder.run))
        opened.callback(forwarder.stop)
        opened.callback(server.server_close)
        opened.enter_context(_thread("serving", server.serve_forever, 0.1))
        opened.callback(server.shutdown)
        bound = int(server.server_address[1])
        reached = host or next(iter(identity.names), options.listen[0])
        log("relay_started", address=f"https://{_join(reached, port or bound)}", listensOn=bound)
        stopping.wait()
        log("relay_stopping")
    log("relay_stopped")


@contextmanager
def _thread(name: str, run: Any, *arguments: Any) -> Iterator[None]:
    thread = threading.Thread(target=run, args=arguments, name=name)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other relays out of a data directory.

    Raises:
        IdentityError: one is there already.
    """
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as ex:
            raise IdentityError(f"another relay runs in {directory}") from ex
        yield
    finally:
        os.close(descriptor)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eventserver-relay",
        description="Take events from devices, keep them, and forward them to an EventServer.",
        epilog="It runs until SIGTERM. Log lines are JSON, on standard error.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--enrollment",
        type=Path,
        metavar="FILE",
        help="the document that an admin made for this relay; needed for the first start, and "
        "to enrol again",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="where its key, its certificates and the events that wait are kept",
    )
    parser.add_argument(
        "--listen",
        type=_listening,
        default=("0.0.0.0", 8443),  # noqa: S104 - a relay is there for all devices
        metavar="HOST:PORT",
        help="where to listen (default: 0.0.0.0:8443); port 0 takes a free one",
    )
    parser.add_argument(
        "--address",
        type=_reached,
        metavar="HOST[:PORT]",
        help="where devices reach it, a DNS name or an IP address: its TLS certificate is for it "
        "(default: all names that the server has on record)",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="NAME",
        help="another DNS name or IP address for its TLS certificate; may be repeated",
    )
    parser.add_argument(
        "--show-key",
        action="store_true",
        help="print its public key as a JWK, for an admin to register, and exit",
    )
    parser.add_argument(
        "--max-outbox",
        type=_positive,
        default=_GIGABYTE // 1024**2,
        metavar="MIB",
        help="how much is kept at most (default: %(default)s); beyond it devices get 503",
    )
    parser.add_argument(
        "--max-per-address",
        type=_positive,
        default=MAX_PER_ADDRESS,
        metavar="NUMBER",
        help="how many connections one address may have (default: %(default)s); more where "
        "devices come through a proxy",
    )
    parser.add_argument(
        "--signed-only",
        action="store_true",
        help="take only events that a device signed, as a relay on the open internet should",
    )
    return parser


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def _listening(text: str) -> tuple[str, int]:
    host, port = _reached(text)
    if port is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no port")
    return host, port


def _reached(text: str) -> tuple[str, int | None]:
    """Split HOST[:PORT]; an IPv6 address with a port is in brackets."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not host or (port and not (port.isascii() and port.isdigit() and int(port) < 2**16)):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST[:PORT]")
    return host, int(port) if port else None


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


if __name__ == "__main__":
    sys.exit(main())
