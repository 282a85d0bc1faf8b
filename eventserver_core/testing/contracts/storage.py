"""The contract of the ``storage`` role; see ``eventserver_core.backends.storage``."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from eventserver_core.backends.storage import StorageBackend, StoredObject
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import BackendUnavailableError, ObjectNotFoundError
from eventserver_core.testing.contracts.processes import measured, run_and_kill

MIB = 1024 * 1024
_BAD_KEYS = (
    "",
    "media",
    "../media-" + "0" * 64,
    "media-" + "0" * 64 + "\n",
    "media-" + "0" * 63,
    "media-" + "A" * 64,
    "MEDIA-" + "0" * 64,
    "a/media-" + "0" * 64,
    "/" + "0" * 64,
    "media-" + "0" * 10_000,
    "m\N{LATIN SMALL LETTER E WITH ACUTE}dia-" + "0" * 64,
)


class StorageFactory(Protocol):
    """What the fixture ``backend_factory`` returns."""

    def __call__(self, *, down: bool = False) -> StorageBackend:
        """Return a new instance.

        Args:
            down: make one whose store can't be reached: another place than the others', or the
                same, since nothing else is asked of a store in the test that does this.
        """


class StorageContract:
    """What every storage backend must do.

    The fixture ``backend_factory`` gives a :class:`StorageFactory`. Each test begins with an empty
    store, or at least with one that no other test writes to; all instances made in a test share it.
    """

    @pytest.fixture
    def backend(self, backend_factory: StorageFactory) -> StorageBackend:
        """Return an instance for tests that need only one."""
        return backend_factory()

    def test_it_is_a_storage_backend(self, backend: StorageBackend) -> None:
        """It has every method of the Protocol."""
        assert isinstance(backend, StorageBackend)

    def test_what_was_put_is_read_again(self, backend_factory: StorageFactory) -> None:
        """Store a small object; as an upload that is written once and committed."""
        for content in (b"", b"x", bytes(range(256)) * 1024):
            key = key_of(content)
            stored = backend_factory().put(key, content)
            assert (stored.key, stored.size) == (key, len(content))
            assert read(backend_factory(), key) == content

    def test_a_put_is_durable_on_return(self, backend_factory: StorageFactory) -> None:
        """A put MUST be durable on return.

        As far as a process can tell: whoever called it is killed in that moment.
        """
        content = b"durable" * 1000
        run_and_kill(lambda: backend_factory().put(key_of(content), content))
        assert read(backend_factory(), key_of(content)) == content

    def test_a_commit_is_durable_on_return(self, backend_factory: StorageFactory) -> None:
        """The object MUST be durable on return, and MUST NOT be visible in part before.

        As far as a process can tell: whoever called it is killed in that moment.
        """
        chunks = [bytes([n]) * 100_000 for n in range(12)]
        key = key_of(b"".join(chunks))
        run_and_kill(lambda: upload(backend_factory(), key, *chunks))
        assert read(backend_factory(), key) == b"".join(chunks)

    def test_an_object_is_not_visible_before_it_is_committed(
        self, backend_factory: StorageFactory
    ) -> None:
        """The object MUST be durable on return, and MUST NOT be visible in part before."""
        key = key_of(b"not yet" * 2)
        with backend_factory().upload(key) as incoming:
            incoming.write(b"not yet")
            assert not is_visible(backend_factory(), key)
            incoming.write(b"not yet")
            assert not is_visible(backend_factory(), key)
            incoming.commit(key)
        assert is_visible(backend_factory(), key)

    def test_a_reader_never_sees_a_part(self, backend_factory: StorageFactory) -> None:
        """The object MUST be durable on return, and MUST NOT be visible in part before.

        Every method may be called from many threads at once.
        """
        content = bytes(range(256)) * 8192
        key = key_of(content)
        seen: list[bool] = []
        done = threading.Event()

        def watch() -> None:
            backend = backend_factory()
            while not done.is_set():
                try:
                    seen.append(read(backend, key) == content)
                except ObjectNotFoundError:
                    continue

        def write(turn: int) -> None:
            backend = backend_factory()
            if turn % 2:
                backend.put(key, content)
            else:
                upload(backend, key, content[:1000], content[1000:])

        with ThreadPoolExecutor(8) as pool:
            watching = [pool.submit(watch) for _ in range(2)]
            try:
                list(pool.map(write, range(12)))
            finally:
                done.set()
            for future in watching:
                future.result()
        assert all(seen)
        assert read(backend_factory(), key) == content

    def test_putting_again_changes_nothing(self, backend_factory: StorageFactory) -> None:
        """Putting the same key again MUST change nothing and succeed, so every caller may retry."""
        content = b"again"
        first = backend_factory().put(key_of(content), content)
        assert backend_factory().put(key_of(content), content) == first
        assert list(backend_factory().list()) == [first]
        assert read(backend_factory(), key_of(content)) == content

    def test_a_commit_to_a_key_that_exists_has_the_same_outcome(
        self, backend_factory: StorageFactory
    ) -> None:
        """Where the key exists already the outcome MUST be the same as if it had not."""
        content = b"twice" * 1000
        first = upload(backend_factory(), key_of(content), content)
        assert upload(backend_factory(), key_of(content), content) == first
        assert backend_factory().put(key_of(content), content) == first
        assert read(backend_factory(), key_of(content)) == content

    def test_an_upload_need_not_know_its_key(self, backend: StorageBackend) -> None:
        """key: the key that it will be committed under, where it is known already."""
        key = key_of(b"late")
        with backend.upload() as incoming:
            incoming.write(b"la")
            incoming.write(b"te")
            stored = incoming.commit(key)
        assert backend.stat(key) == stored
        assert read(backend, key) == b"late"

    def test_an_upload_that_is_not_committed_is_discarded(self, backend: StorageBackend) -> None:
        """An object on its way in, as a context manager; leaving it uncommitted discards it."""
        key = key_of(b"abandoned")
        with backend.upload(key) as incoming:
            incoming.write(b"abandoned")
        assert not is_visible(backend, key)

    def test_an_upload_takes_little_memory(self, backend: StorageBackend) -> None:
        """Take the next bytes; memory MUST stay flat however many come.

        Here 48 MiB come, and half of that is too much to hold at once.
        """
        chunk, count = bytes(MIB), 48
        key = key_of(chunk * count)
        with measured() as usage, backend.upload(key) as incoming:
            for _ in range(count):
                incoming.write(chunk)
            stored = incoming.commit(key)
        assert stored.size == count * MIB
        assert usage.peak_memory < count * MIB // 2

    def test_a_key_that_the_core_does_not_make_is_refused(self, backend: StorageBackend) -> None:
        """ValueError: the key is not one that the core makes."""
        for key in _BAD_KEYS:
            with pytest.raises(ValueError):
                backend.put(key, b"x")
            with pytest.raises(ValueError):
                upload(backend, key, b"x")
            with pytest.raises(ObjectNotFoundError):
                backend.read(key)
            assert backend.stat(key) is None
        assert list(backend.list()) == []

    def test_chunks_are_small(self, backend: StorageBackend) -> None:
        """Return an object's bytes in chunks of at most 1 MiB."""
        content = bytes(range(256)) * 12_288
        backend.put(key_of(content), content)
        chunks = list(backend.read(key_of(content)))
        assert max(len(chunk) for chunk in chunks) <= MIB
        assert b"".join(chunks) == content

    def test_any_range_can_be_read(self, backend: StorageBackend) -> None:
        """A range past the end gives what there is."""
        content = bytes(range(256)) * 8
        key = key_of(content)
        backend.put(key, content)
        for offset, length in (
            (0, 0),
            (0, 1),
            (5, 7),
            (2047, 1),
            (2000, None),
            (2000, 1000),
            (2048, 10),
            (5000, 10),
            (5000, None),
        ):
            end = None if length is None else offset + length
            assert read(backend, key, offset, length) == content[offset:end]

    def test_a_range_is_answered_without_reading_the_whole(self, backend: StorageBackend) -> None:
        """A range MUST be answered without reading the whole object.

        Seen from memory and, where the system tells, from the bytes that this process read.
        """
        content = bytes(8 * MIB) + b"the end"
        key = key_of(content)
        backend.put(key, content)
        with measured() as usage:
            assert read(backend, key, 8 * MIB, 7) == b"the end"
        assert usage.peak_memory < 4 * MIB
        assert usage.bytes_read < 4 * MIB

    def test_an_object_is_looked_up_at_once(self, backend: StorageBackend) -> None:
        """The object MUST be looked up before this returns, not at the first chunk."""
        with pytest.raises(ObjectNotFoundError):
            backend.read(key_of(b"nowhere"))

    def test_what_is_not_there_is_not_found(self, backend: StorageBackend) -> None:
        """Return what is known of an object, or None where there is none."""
        assert backend.stat(key_of(b"nowhere")) is None
        stored = backend.put(key_of(b"somewhere"), b"somewhere")
        assert backend.stat(key_of(b"somewhere")) == stored

    def test_objects_are_listed_in_order(self, backend_factory: StorageFactory) -> None:
        """Return the committed objects whose keys begin with ``prefix``, in the keys' order."""
        contents = [b"%d" % n for n in range(12)]
        backend = backend_factory()
        media = [backend.put(key_of(content, "media"), content) for content in contents]
        packs = [upload(backend, key_of(content, "pack"), content) for content in contents[:5]]
        with backend.upload(key_of(b"open", "pack")) as incoming:
            incoming.write(b"open")
            listed = list(backend_factory().list())
        in_order = sorted([*media, *packs], key=lambda stored: stored.key)
        assert listed == in_order
        assert list(backend.list("pack-")) == sorted(packs, key=lambda stored: stored.key)
        narrow = media[3].key[:10]
        assert list(backend.list(narrow)) == [o for o in in_order if o.key.startswith(narrow)]
        assert list(backend.list("nothing-")) == []

    def test_a_location_is_no_path_of_this_machine(self, backend: StorageBackend) -> None:
        """location: where it is, for people; never a machine's path."""
        location = backend.put(key_of(b"here"), b"here").location
        assert location
        assert not location.startswith(("/", "file:"))
        assert tempfile.gettempdir() not in location

    def test_a_store_that_works_passes_its_check(self, backend: StorageBackend) -> None:
        """Find out whether objects can be stored now; nothing that is listed is left behind."""
        backend.check()
        assert list(backend.list()) == []

    def test_a_store_that_is_down_is_reported(self, backend_factory: StorageFactory) -> None:
        """BackendUnavailableError: the store is down or full; a retry is safe."""
        down = backend_factory(down=True)
        key = key_of(b"down")
        calls: list[Callable[[], object]] = [
            lambda: down.put(key, b"down"),
            lambda: upload(down, key, b"down"),
            lambda: down.read(key),
            lambda: down.stat(key),
            lambda: list(down.list()),
            down.check,
        ]
        for call in calls:
            with pytest.raises(BackendUnavailableError):
                call()


def key_of(content: bytes, prefix: str = "media") -> str:
    """Return the key that the core makes for these bytes."""
    return f"{prefix}-{sha256_hex(content)}"


def read(backend: StorageBackend, key: str, offset: int = 0, length: int | None = None) -> bytes:
    """Return an object's bytes, or a range of them."""
    return b"".join(backend.read(key, offset, length))


def upload(backend: StorageBackend, key: str, *chunks: bytes) -> StoredObject:
    """Store an object chunk by chunk."""
    with backend.upload(key) as incoming:
        for chunk in chunks:
            incoming.write(chunk)
        return incoming.commit(key)


def is_visible(backend: StorageBackend, key: str) -> bool:
    """Tell whether an object can be seen in any way."""
    try:
        backend.read(key)
    except ObjectNotFoundError:
        readable = False
    else:
        readable = True
    return readable or backend.stat(key) is not None or key in [o.key for o in backend.list()]
