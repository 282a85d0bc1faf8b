"""Storage backends that each break a promise."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Self

import pytest

from eventserver_core.backends.storage import KEY_PATTERN, StoredObject, Upload
from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.errors import BackendUnavailableError, ConflictError, ObjectNotFoundError
from eventserver_core.testing.contracts.storage import StorageContract


class PlainStorage:
    """Hands everything on to a storage that works, so that one thing can be broken."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.good = FilesystemStorage(root)

    def put(self, key: str, content: bytes) -> StoredObject:
        return self.good.put(key, content)

    def upload(self, key: str | None = None) -> Upload:
        return self.good.upload(key)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        return self.good.read(key, offset, length)

    def stat(self, key: str) -> StoredObject | None:
        return self.good.stat(key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        return self.good.list(prefix)

    def check(self) -> None:
        self.good.check()


class PlainUpload:
    """Hands everything on to an upload that works, so that one thing can be broken."""

    def __init__(self, storage: PlainStorage, key: str | None) -> None:
        self.storage = storage
        self.key = key
        self.good = storage.good.upload(key)
        self.committed = False

    def __enter__(self) -> Self:
        self.good.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.good.__exit__(*exc_info)

    def write(self, chunk: bytes) -> None:
        self.good.write(chunk)

    def commit(self, key: str) -> StoredObject:
        stored = self.good.commit(key)
        self.committed = True
        return stored


def suite(kind: Callable[[Path], object], *catches: str) -> type:
    class Suite(StorageContract):
        @pytest.fixture
        def backend_factory(self, tmp_path: Path) -> Callable[..., object]:
            def make(*, down: bool = False) -> object:
                backend = kind(tmp_path / "data" / "objects")
                if down:
                    shutil.rmtree(tmp_path / "data")
                return backend

            return make

    Suite.catches = frozenset(catches)  # type: ignore[attr-defined]
    return Suite


def uploading(kind: type[PlainUpload], *catches: str) -> type:
    class Storage(PlainStorage):
        def upload(self, key: str | None = None) -> Upload:
            return kind(self, key)

    return suite(Storage, *catches)


TestPlainStorage = suite(PlainStorage)


class NoCheck:
    def __init__(self, root: Path) -> None:
        good = FilesystemStorage(root)
        self.put, self.upload, self.read = good.put, good.upload, good.read
        self.stat, self.list = good.stat, good.list


TestNoCheck = suite(
    NoCheck,
    "test_it_is_a_storage_backend",
    "test_a_store_that_works_passes_its_check",
    "test_a_store_that_is_down_is_reported",
)


class InMemory(PlainStorage):
    """Keeps everything in the memory of the process."""

    stores: ClassVar[dict[Path, dict[str, bytes]]] = {}

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.objects = self.stores.setdefault(root, {})

    def put(self, key: str, content: bytes) -> StoredObject:
        if not KEY_PATTERN.match(key):
            raise ValueError(key)
        self.good.check()
        self.objects[key] = content
        return StoredObject(key, len(content), f"memory:{key}")

    def upload(self, key: str | None = None) -> Upload:
        return CollectingUpload(self, key)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.good.check()
        if key not in self.objects:
            raise ObjectNotFoundError(key)
        content = self.objects[key]
        end = len(content) if length is None else min(len(content), offset + length)
        return (content[at : min(at + 1024, end)] for at in range(offset, end, 1024))

    def stat(self, key: str) -> StoredObject | None:
        self.good.check()
        return self.put(key, self.objects[key]) if key in self.objects else None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        self.good.check()
        found = (self.stat(key) for key in sorted(self.objects) if key.startswith(prefix))
        return (stored for stored in found if stored)


class CollectingUpload(PlainUpload):
    def __init__(self, storage: PlainStorage, key: str | None) -> None:
        super().__init__(storage, key)
        self.content = bytearray()

    def write(self, chunk: bytes) -> None:
        self.content += chunk

    def commit(self, key: str) -> StoredObject:
        return self.storage.put(key, bytes(self.content))


TestInMemory = suite(
    InMemory,
    "test_a_put_is_durable_on_return",
    "test_a_commit_is_durable_on_return",
    "test_an_upload_takes_little_memory",
)


class AnyKey(InMemory):
    def put(self, key: str, content: bytes) -> StoredObject:
        self.good.check()
        self.objects[key] = content
        return StoredObject(key, len(content), f"memory:{key}")


TestAnyKey = suite(
    AnyKey, "test_a_key_that_the_core_does_not_make_is_refused", *TestInMemory.catches
)


class LosesWhatIsEmpty(PlainStorage):
    def put(self, key: str, content: bytes) -> StoredObject:
        return self.good.put(key, content) if content else StoredObject(key, 0, "nowhere")


TestLosesWhatIsEmpty = suite(LosesWhatIsEmpty, "test_what_was_put_is_read_again")


class WritesInPlace(PlainUpload):
    def __enter__(self) -> Self:
        self.file = (self.storage.root / (self.key or "unnamed")).open("wb")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.file.close()

    def write(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.file.flush()
        time.sleep(0.02)  # so that a reader surely comes by

    def commit(self, key: str) -> StoredObject:
        stored = self.storage.stat(key)
        if stored is None:
            raise BackendUnavailableError("storage=broken", "gone")
        return stored


TestWritesInPlace = uploading(
    WritesInPlace,
    "test_a_reader_never_sees_a_part",
    "test_a_store_that_is_down_is_reported",
    "test_an_object_is_not_visible_before_it_is_committed",
    "test_an_upload_need_not_know_its_key",
    "test_an_upload_that_is_not_committed_is_discarded",
    "test_objects_are_listed_in_order",
)


class CopiesAtCommit(PlainUpload):
    def __enter__(self) -> Self:
        self.chunks: list[bytes] = []
        return self

    def __exit__(self, *exc_info: object) -> None:
        return

    def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def commit(self, key: str) -> StoredObject:
        self.storage.put(key, b"")
        with (self.storage.root / key).open("ab", buffering=0) as file:
            for chunk in self.chunks:
                file.write(chunk)
                time.sleep(0.02)  # so that a reader surely comes by
        return self.storage.put(key, b"".join(self.chunks))


TestCopiesAtCommit = uploading(
    CopiesAtCommit, "test_a_reader_never_sees_a_part", "test_an_upload_takes_little_memory"
)


class RefusesToPutAgain(PlainStorage):
    def put(self, key: str, content: bytes) -> StoredObject:
        if self.stat(key):
            raise ConflictError(key)
        return self.good.put(key, content)


TestRefusesToPutAgain = suite(
    RefusesToPutAgain,
    "test_a_commit_to_a_key_that_exists_has_the_same_outcome",
    "test_a_reader_never_sees_a_part",
    "test_putting_again_changes_nothing",
)


class RefusesToCommitAgain(PlainUpload):
    def commit(self, key: str) -> StoredObject:
        if self.storage.stat(key):
            raise ConflictError(key)
        return super().commit(key)


TestRefusesToCommitAgain = uploading(
    RefusesToCommitAgain,
    "test_a_commit_to_a_key_that_exists_has_the_same_outcome",
    "test_a_reader_never_sees_a_part",
)


class WantsTheKeyAtOnce(PlainStorage):
    def upload(self, key: str | None = None) -> Upload:
        if key is None:
            raise BackendUnavailableError("storage=broken", "no key")
        return self.good.upload(key)


TestWantsTheKeyAtOnce = suite(WantsTheKeyAtOnce, "test_an_upload_need_not_know_its_key")


class CommitsInAnyCase(PlainUpload):
    def __exit__(self, *exc_info: object) -> None:
        if not self.committed and self.key:
            self.good.commit(self.key)
        super().__exit__(*exc_info)


TestCommitsInAnyCase = uploading(
    CommitsInAnyCase,
    "test_an_upload_that_is_not_committed_is_discarded",
    "test_objects_are_listed_in_order",
)


TestCollects = uploading(CollectingUpload, "test_an_upload_takes_little_memory")


class OneChunk(PlainStorage):
    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        return iter([b"".join(self.good.read(key, offset, length))])


TestOneChunk = suite(OneChunk, "test_chunks_are_small")


class ForgetsTheLength(PlainStorage):
    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        return self.good.read(key, offset)


TestForgetsTheLength = suite(ForgetsTheLength, "test_any_range_can_be_read")


class ReadsItAll(PlainStorage):
    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        wanted = range(offset, 2**63 if length is None else offset + length)
        return self.cut(self.good.read(key), wanted)

    def cut(self, chunks: Iterator[bytes], wanted: range) -> Iterator[bytes]:
        at = 0
        for chunk in chunks:
            yield chunk[max(wanted.start - at, 0) : max(wanted.stop - at, 0)]
            at += len(chunk)


TestReadsItAll = suite(ReadsItAll, "test_a_range_is_answered_without_reading_the_whole")


class LooksUpLater(PlainStorage):
    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        yield from self.good.read(key, offset, length)


TestLooksUpLater = suite(
    LooksUpLater,
    "test_a_key_that_the_core_does_not_make_is_refused",
    "test_a_store_that_is_down_is_reported",
    "test_an_object_is_looked_up_at_once",
    "test_an_object_is_not_visible_before_it_is_committed",
    "test_an_upload_that_is_not_committed_is_discarded",
)


class KnowsEverything(PlainStorage):
    def stat(self, key: str) -> StoredObject | None:
        return self.good.stat(key) or StoredObject(key, 0, "everywhere")


TestKnowsEverything = suite(
    KnowsEverything,
    "test_a_key_that_the_core_does_not_make_is_refused",
    "test_an_object_is_not_visible_before_it_is_committed",
    "test_an_upload_that_is_not_committed_is_discarded",
    "test_what_is_not_there_is_not_found",
)


class Unordered(PlainStorage):
    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        return reversed(list(self.good.list(prefix)))


TestUnordered = suite(Unordered, "test_objects_are_listed_in_order")


class TellsItsPath(PlainStorage):
    def put(self, key: str, content: bytes) -> StoredObject:
        return self.told(self.good.put(key, content))

    def stat(self, key: str) -> StoredObject | None:
        found = self.good.stat(key)
        return found and self.told(found)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        return map(self.told, self.good.list(prefix))

    def upload(self, key: str | None = None) -> Upload:
        return CollectingUpload(self, key)

    def told(self, stored: StoredObject) -> StoredObject:
        return StoredObject(stored.key, stored.size, str(self.root / stored.key))


TestTellsItsPath = suite(
    TellsItsPath,
    "test_a_location_is_no_path_of_this_machine",
    "test_an_upload_takes_little_memory",
)


class LeavesItsProbe(PlainStorage):
    def check(self) -> None:
        self.good.put("probe-" + "0" * 64, b"probe")


TestLeavesItsProbe = suite(LeavesItsProbe, "test_a_store_that_works_passes_its_check")


class LetsErrorsThrough(PlainStorage):
    def stat(self, key: str) -> StoredObject | None:
        self.root.stat()
        return self.good.stat(key)


TestLetsErrorsThrough = suite(LetsErrorsThrough, "test_a_store_that_is_down_is_reported")
