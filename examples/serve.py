"""Leave a server running, with a certificate and curl lines to try it; ``make serve`` runs this.

Everything is as the settings have it; where they are silent it listens on 127.0.0.1, port 3000,
and keeps its data in ./data. Ctrl-C stops it.
"""

# ruff: noqa: S603 - it runs nothing but this project's own command

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from eventserver_core.demo.next_steps import program
from eventserver_core.demo.samples import PHOTO, make_event, statement_of

EVENTSERVER = [sys.executable, "-m", "eventserver_core"]
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what they are reached by


def main() -> int:
    settings = read_settings()
    if settings["server.host"]["source"] == "default":
        # a server to try things on is nobody else's business
        settings["server.host"]["value"] = os.environ["EVENTSERVER__SERVER__HOST"] = "127.0.0.1"
    host = settings["server.host"]["value"]
    port = os.environ["EVENTSERVER__SERVER__PORT"] = str(
        free_port(host, int(settings["server.port"]["value"]))
    )
    folder = Path(settings["server.data_dir"]["value"], "example")
    certificate, digest_hex = prepare(folder)
    # a session of its own: Ctrl-C comes here alone, and the server is then stopped in order
    server = subprocess.Popen([*EVENTSERVER, "serve", "--with-worker"], start_new_session=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: server.terminate())
    address = (ANY_ADDRESS.get(host, host), int(port))
    while server.poll() is None and not listens(address):
        time.sleep(0.1)
    if server.poll() is None:
        url = f"http://{address[0]}:{port}"
        seal_seconds = settings["anchoring.batch_max_age"]["value"]
        print(guide(url, folder, certificate, digest_hex, seal_seconds), flush=True)
    return server.wait()


def read_settings() -> dict[str, dict[str, str]]:
    """Return every setting, as the command line tells it, or end with what is wrong."""
    command = [*EVENTSERVER, "check-config", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        sys.exit(done.returncode)  # it has said why
    survey = json.loads(done.stdout)
    if survey["faults"]:
        print(*survey["faults"], sep="\n", file=sys.stderr)
        sys.exit(done.returncode)
    return {setting["name"]: setting for setting in survey["settings"]}


def free_port(host: str, port: int) -> int:
    """Return a port that can be listened on: this one, or any if it is 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as ex:
            sys.exit(
                f"Cannot listen on {host}, port {port}: {ex.strerror}.\n"
                "Choose another port with the setting server.port, such as:\n"
                "  EVENTSERVER__SERVER__PORT=3001 make serve"
            )
        return probe.getsockname()[1]


def prepare(folder: Path) -> tuple[str, str]:
    """Write what the curl lines need, and return a relay's certificate and the event's hash."""
    command = [*EVENTSERVER, "certificate", "issue", "--role", "relay", "--subject", "try-it"]
    issued = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if issued.returncode:
        sys.exit(issued.returncode)
    folder.mkdir(parents=True, exist_ok=True)
    event = make_event(PHOTO, {"category": "Landscape", "visitors": 120}, inline=False)
    (folder / "event.json").write_text(json.dumps(event, indent=2) + "\n")
    shutil.copyfile(PHOTO, folder / "photo.jpg")
    token = folder / "relay.jwt"
    token.touch(mode=0o600)
    token.write_text(issued.stdout)
    return issued.stdout.strip(), statement_of(event, PHOTO).digest_hex


def listens(address: tuple[str, int]) -> bool:
    """Tell whether anybody listens there."""
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def guide(url: str, folder: Path, certificate: str, digest_hex: str, seal_seconds: str) -> str:
    """Return what to do with the server, in lines that can be pasted."""
    event = f"{url}/api/v1/events/{digest_hex}"
    token = shlex.quote(str(folder / "relay.jwt"))
    bearer = f'-H "Authorization: Bearer $(cat {token})"'
    event_part = shlex.quote(f"event=@{folder / 'event.json'};type=application/json")
    media_part = shlex.quote(f"media=@{folder / 'photo.jpg'};type=image/jpeg")
    evidence = shlex.quote(str(folder / "evidence.zip"))
    return f"""
EventServer listens at {url}; Ctrl-C stops it.

A relay's certificate, good for a week (it is in {token} too):

{certificate}

Paste these into another terminal. First go where the files are:

  cd {shlex.quote(str(Path.cwd()))}

Send an event with its photo; the answer is 201, and 200 if you send it again:

  curl -i -w '\\n' {url}/api/v1/events \\
    {bearer} \\
    -F {event_part} \\
    -F {media_part}

Its hash can be known beforehand. Ask whether it is on the chain; events wait up to
{seal_seconds} seconds (anchoring.batch_max_age) to be anchored together:

  curl -w '\\n' {event}/verify

Fetch its proof; the answer is 202 while it waits, then 200:

  curl -i -w '\\n' {event}/proof

Download all the evidence of it, and check that:

  curl -f {event}/package \\
    {bearer} \\
    -o {evidence}
  {program()} verify {evidence}
"""


if __name__ == "__main__":
    sys.exit(main())
