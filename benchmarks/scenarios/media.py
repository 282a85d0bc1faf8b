"""A video of 100 MB in a form, against the bare client that sends the same bytes to the store."""

from __future__ import annotations

import hashlib
import json
import os

from benchmarks import floors
from benchmarks.figures import FLOOR, SERVER, Round, Row, at_least, at_most, pairs
from benchmarks.floor_processes import FloorProcesses
from benchmarks.load import expect, request_head, send_parts
from benchmarks.processes import forget_peak, peak_mib
from benchmarks.scenarios import Outcome
from benchmarks.stage import RunningServer, Stage
from eventserver_core.testing.factories import make_package

LARGE, SMALL = floors.VIDEO_SIZE, 10_000_000
_BOUNDARY = b"eventserver-benchmark"
_CREATED = expect(201)


def run(stage: Stage) -> Outcome:
    """Compare the megabytes a second, and the peaks of memory over a small and a large video."""
    rounds: list[Round] = []
    with (
        stage.server("media") as server,
        stage.floor(server.database, floors.media, processes=1, threads=1) as floor,
    ):
        content = bytearray(floors.video(LARGE))
        floor.run(0)
        for size in (LARGE, SMALL):
            _send(stage, server, content, size)
        small_peaks = [_send(stage, server, content, SMALL).more["peak MiB"] for _ in range(3)]
        for number in range(1, stage.pick(5, 2) + 1):
            rounds.append(_floor_round(stage, floor))
            rounds.append(_send(stage, server, content, LARGE))
            rates = ", ".join(f"{found.side} {found.rate:.0f} MB/s" for found in rounds[-2:])
            stage.say(f"round {number}: {rates}")
    paired = pairs(rounds, FLOOR, SERVER)
    speed = Row(
        f"a video of {LARGE // 1_000_000} MB, against the bare client",
        [mine.rate / bare.rate for bare, mine in paired],
        target=at_least(0.8),
        sides={
            side: ", ".join(f"{found.rate:,.0f}" for found in rounds if found.side == side)
            + " MB/s"
            for side in (FLOOR, SERVER)
        },
        by_cpu=[bare.cpu_total_ms / mine.cpu_total_ms for bare, mine in paired],
    )
    peaks = [mine.more["peak MiB"] for _, mine in paired]
    small = max(small_peaks)
    memory = Row(
        f"peak memory of a process: {LARGE // 1_000_000} MB against {SMALL // 1_000_000} MB",
        [peak / small for peak in peaks],
        target=at_most(1.1),
        sides={"small": f"{small:.0f} MiB", "large": f"{max(peaks):.0f} MiB"},
    )
    return Outcome([speed, memory], rounds)


def _floor_round(stage: Stage, floor: FloorProcesses) -> Round:
    meter = stage.meter(floor=floor.family)
    load = floor.run(0)  # once
    seconds = load.latencies_ms[0] / 1000
    megabytes = load.count * LARGE // 1_000_000
    return Round(FLOOR, megabytes, seconds, meter.milliseconds_each(megabytes))


def _send(stage: Stage, server: RunningServer, content: bytearray, size: int) -> Round:
    """Send the first bytes of a video, made another one first; count megabytes."""
    content[floors.HEAD_SIZE : floors.HEAD_SIZE + 16] = os.urandom(16)
    media = memoryview(content)[:size]
    sha256 = hashlib.sha256(media).hexdigest()
    described = {"type": "video/mp4", "name": "video.mp4", "size": size, "sha256": sha256}
    package = make_package() | {"media": described}
    before = b"".join(
        (
            _part(b'name="event"', b"application/json"),
            json.dumps(package).encode(),
            b"\r\n",
            _part(b'name="media"; filename="video.mp4"', b"video/mp4"),
        )
    )
    after = b"\r\n--" + _BOUNDARY + b"--\r\n"
    headers = {
        "Authorization": server.authorizations[0],
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY.decode()}",
    }
    head = request_head("POST", "/api/v1/events", headers, len(before) + len(media) + len(after))
    for worker in server.workers():
        forget_peak(worker)
    meter = stage.server_meter(server)
    seconds = send_parts(server.url, head, [before, media, after], _CREATED)
    megabytes = size // 1_000_000
    cpu_ms = meter.milliseconds_each(megabytes)
    peak = max(peak_mib(worker) for worker in server.workers())
    return Round(SERVER, megabytes, seconds, cpu_ms, more={"peak MiB": peak})


def _part(disposition: bytes, media_type: bytes) -> bytes:
    return b"".join(
        (
            b"--" + _BOUNDARY + b"\r\n",
            b"Content-Disposition: form-data; " + disposition + b"\r\n",
            b"Content-Type: " + media_type + b"\r\n\r\n",
        )
    )
