"""What was acknowledged is there, whatever dies; and what is large takes little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from eventserver_storage_s3 import S3Storage
from minio import Minio

from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import SeaweedFS

MIB = 1024 * 1024
LARGE = bytes(range(256)) * 4096 * 11
BEGINNING = """
import hashlib, os, re, sys
from pathlib import Path
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Sources
from eventserver_storage_s3 import S3Settings, S3Storage
storage = S3Storage.from_settings(Sources().load([*CORE_SECTIONS, S3Settings]))
"""
UPLOADER = f"""{BEGINNING}
content = bytes(range(256)) * 4096 * 11
with storage.upload() as incoming:
    incoming.write(content)
    print("ready", flush=True)
    sys.stdin.readline()
    stored = incoming.commit(os.environ["THE_KEY"])
print(stored.size, flush=True)
"""
MEASURED = f"""{BEGINNING}
def peak():  # the most bytes that were resident, as the kernel counts them
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
chunk, count = bytes(range(256)) * 1024, 400
whole = hashlib.sha256()
for _ in range(count):
    whole.update(chunk)
key = "media-" + whole.hexdigest()
before = peak()
with storage.upload(key if sys.argv[1] == "known" else None) as incoming:
    for _ in range(count):
        incoming.write(chunk)
    assert incoming.commit(key).size == 100 * 1024 * 1024
assert sum(len(part) for part in storage.read(key)) == 100 * 1024 * 1024
print(peak() - before)
"""


def test_what_was_acknowledged_survives_the_death_of_the_store(
    make_storage: Callable[..., S3Storage],
    seaweedfs_alone: SeaweedFS,
) -> None:
    # out of the box it acknowledges what the operating system has; here, what the disk has
    seaweedfs_alone.sync_writes()
    storage = make_storage(storage__endpoint=seaweedfs_alone.url, s3__create_bucket="true")
    small = [b"%d" % number for number in range(20)]
    for content in small:
        storage.put(f"pack-{sha256_hex(content)}", content)
    with storage.upload() as incoming:
        incoming.write(LARGE)
        incoming.commit(f"media-{sha256_hex(LARGE)}")
    seaweedfs_alone.kill()
    with pytest.raises(BackendUnavailableError):
        storage.check()
    seaweedfs_alone.start()
    for content in small:
        assert b"".join(storage.read(f"pack-{sha256_hex(content)}")) == content
    assert b"".join(storage.read(f"media-{sha256_hex(LARGE)}")) == LARGE
    storage.check()


def test_an_upload_across_a_restart_of_the_store_is_whole_or_fails(
    make_storage: Callable[..., S3Storage], seaweedfs_alone: SeaweedFS
) -> None:
    storage = make_storage(
        storage__endpoint=seaweedfs_alone.url, s3__create_bucket="true", s3__max_retries="1"
    )
    key = f"media-{sha256_hex(LARGE)}"
    with storage.upload(key) as incoming:
        incoming.write(LARGE)
        seaweedfs_alone.kill()
        with pytest.raises(BackendUnavailableError):
            incoming.commit(key)
        seaweedfs_alone.start()
        try:
            incoming.commit(key)
        except BackendUnavailableError:
            assert storage.stat(key) is None
        else:
            assert b"".join(storage.read(key)) == LARGE


def test_two_processes_commit_the_same_key_at_once(
    storage: S3Storage, own_keys: dict[str, str], client: Minio, bucket: str
) -> None:
    key = f"media-{sha256_hex(LARGE)}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPLOADER],
            env=environ_of(own_keys) | {"THE_KEY": key},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        while (line := process.stdout.readline()) != "ready\n":
            assert line  # what is logged goes there too
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, said.splitlines()[-1]) == (0, str(len(LARGE)))
    assert b"".join(storage.read(key)) == LARGE
    names = [e.object_name for e in client.list_objects(bucket, recursive=True) if not e.is_dir]
    assert names == [key]


@pytest.mark.parametrize("how", ["unknown", "known"])
def test_a_hundred_megabytes_take_little_memory(own_keys: dict[str, str], how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, how],
        env=environ_of(own_keys),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    grown = int(done.stdout.splitlines()[-1])
    print(f"{grown / MIB:.1f} MiB")
    assert grown < 32 * MIB


def environ_of(keys: dict[str, str]) -> dict[str, str]:
    return os.environ | {f"EVENTSERVER__{name.upper()}": value for name, value in keys.items()}
