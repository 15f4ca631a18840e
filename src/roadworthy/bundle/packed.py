"""A bundle as one array of bytes: a zip in memory, checked like one on a disk."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadworthy.bundle.reader import Bundle, check_store, is_zip_name, read_bundle
from roadworthy.bundle.store import open_store, translated
from roadworthy.bundle.strict import refuse
from roadworthy.bundle.writer import check_replaceable
from roadworthy.bundle.zipcheck import read_entries
from roadworthy.bundle.zipform import ZipWriter
from roadworthy.core.errors import UsageError
from roadworthy.core.files import replacing_file

_CHUNK = 1 << 20

Packed = NDArray[np.uint8]


class PackedStore:
    """A zip bundle in memory; see `bundle.store`. The array isn't copied."""

    kind = "zip"

    def __init__(self, packed: Packed, name: str) -> None:
        self.path = Path(name)
        self._view = packed.data
        file = io.BufferedReader(_Reading(self._view))
        entries = read_entries(file, len(self._view), name)
        self._entries = {entry.name: entry for entry in entries}
        self.sizes = {entry.name: entry.size for entry in entries}

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file's content; its CRC is checked."""
        entry = self._entries[name]
        crc = 0
        for at in range(entry.start, entry.end, _CHUNK):
            part = bytes(self._view[at : min(at + _CHUNK, entry.end)])
            crc = zlib.crc32(part, crc)
            yield part
        if crc != entry.crc:
            refuse(f"{name!r} in the zip is damaged: its checksum is wrong", str(self.path))


def open_packed(packed: Packed, name: str) -> Bundle:
    """Open a bundle in memory and check all of it.

    Args:
        packed: the zip's bytes, one axis; kept, not copied.
        name: what to call it in messages.

    Raises:
        BundleError: the first thing that is wrong.
    """
    return check_store(PackedStore(packed, name))


def pack(path: Path) -> Packed:
    """Read a bundle, zip or folder, as the bytes of one zip.

    Raises:
        BundleError: it can't be read, or is damaged.
    """
    path = path.absolute()
    store = open_store(path)
    if store.kind == "zip":
        with translated(path):
            return np.fromfile(path, np.uint8)
    read_bundle(path)  # before a folder of who knows what is taken into memory
    buffer = io.BytesIO()
    archive = ZipWriter(buffer)
    for name in sorted(store.sizes):
        archive.add(name, b"".join(store.chunks(name)))
    archive.close()
    return np.frombuffer(bytearray(buffer.getbuffer()), np.uint8)


def unpack(packed: Packed, path: Path) -> None:
    """Write a packed bundle to `path`, beside first and then in one step.

    Raises:
        UsageError: `path` doesn't end in `.rw`, its folder can't be written to, or something that
            isn't a bundle stands there.
    """
    path = path.absolute()
    if not is_zip_name(path):
        raise UsageError(
            "a bundle in one file is named *.rw",
            where=str(path),
            remedy=f"save it as {path.name}.rw",
        )
    check_replaceable(path)
    with replacing_file(path) as partial:
        try:
            packed.tofile(partial)
        except OSError as error:
            raise UsageError(
                f"the bundle can't be written: {error.strerror or error}", where=str(path)
            ) from error
        check_replaceable(path)  # again: a user's file may have come there meanwhile


class _Reading(io.RawIOBase):
    """A read-only file over memory, without a copy of it."""

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self._view = view
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._at, len(self._view))[whence]
        self._at = max(start + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        part = self._view[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)
