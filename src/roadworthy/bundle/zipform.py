"""The one form of zip that bundles have: stored entries end to end, nothing else, byte for byte.

Every byte outside the files' contents follows from their names, sizes and CRCs. So the writer and
the reader share these functions: the reader builds what the writer would have written and
compares. No zip library interprets a field in its own way in between, and there is no place to
hide anything: no gaps, overlaps, comments, extra fields or links.

Layout and field values: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central
header), 4.3.14 to 4.3.16 (end records), 4.5.3 (Zip64 extra field).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from roadworthy.core.errors import UsageError

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR64 = struct.Struct("<4sIQI")

FULL16 = 0xFFFF
FULL32 = 0xFFFFFFFF

_STORED = 0
_UTF8 = 0x800
_MADE_ON_UNIX = 3 << 8
# 1980-01-01, the first day that the format knows: contents alone decide the bytes.
_DATE = (1980 - 1980) << 9 | 1 << 5 | 1
# A regular file that its owner may write and all may read.
REGULAR_FILE = 0o100644 << 16
_PLAIN_VERSION = 20
_ZIP64_VERSION = 45


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored file: its name, CRC-32, size in bytes, and where its local header starts."""

    name: str
    crc: int
    size: int
    offset: int

    @property
    def start(self) -> int:
        """Where its content starts."""
        return self.offset + len(local_header(self))

    @property
    def end(self) -> int:
        """Where the next entry, or the central directory, starts."""
        return self.start + self.size


def local_header(entry: Entry) -> bytes:
    """Return what stands before the content."""
    name = entry.name.encode()
    big = entry.size >= FULL32
    extra = _extra64([entry.size, entry.size]) if big else b""
    size = FULL32 if big else entry.size
    version = _ZIP64_VERSION if big else _PLAIN_VERSION
    head = (b"PK\3\4", version, _UTF8, _STORED, 0, _DATE, entry.crc, size, size)
    return LOCAL.pack(*head, len(name), len(extra)) + name + extra


def central_header(entry: Entry) -> bytes:
    """Return the entry's record in the central directory."""
    name = entry.name.encode()
    big = entry.size >= FULL32
    far = entry.offset >= FULL32
    extra = _extra64([entry.size, entry.size] * big + [entry.offset] * far)
    size = FULL32 if big else entry.size
    offset = FULL32 if far else entry.offset
    version = _ZIP64_VERSION if extra else _PLAIN_VERSION
    head = (b"PK\1\2", _MADE_ON_UNIX | version, version, _UTF8, _STORED, 0, _DATE, entry.crc)
    tail = (size, size, len(name), len(extra), 0, 0, 0, REGULAR_FILE, offset)
    return CENTRAL.pack(*head, *tail) + name + extra


def end_records(count: int, size: int, offset: int) -> bytes:
    """Return what stands after a central directory of `count` records in `size` bytes."""
    records = b""
    if count >= FULL16 or size >= FULL32 or offset >= FULL32:
        version = (_MADE_ON_UNIX | _ZIP64_VERSION, _ZIP64_VERSION)
        after_size = END64.size - 12  # the record's own length counts from behind that field
        records = END64.pack(b"PK\6\6", after_size, *version, 0, 0, count, count, size, offset)
        records += LOCATOR64.pack(b"PK\6\7", 0, offset + size, 1)
    counts = min(count, FULL16)
    return records + END.pack(
        b"PK\5\6", 0, 0, counts, counts, min(size, FULL32), min(offset, FULL32), 0
    )


def directory(entries: Iterable[Entry]) -> bytes:
    """Return the central directory of all entries."""
    return b"".join(map(central_header, entries))


def _extra64(values: list[int]) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""


class ZipWriter:
    """Writes entries one after another; `close()` writes the directory and the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._entries: list[Entry] = []

    def add(self, name: str, content: bytes) -> None:
        """Write one file.

        Raises:
            UsageError: a name that a zip can't hold.
        """
        try:
            length = len(name.encode())
        except UnicodeEncodeError as error:
            raise UsageError(
                f"the name {name!r} isn't valid Unicode, so it can't be stored",
                remedy="rename it",
            ) from error
        if length > FULL16:
            raise UsageError(
                f"the name {name[:40]!r}… is too long to be stored", remedy="rename it"
            )
        offset = self._entries[-1].end if self._entries else 0
        entry = Entry(name, zlib.crc32(content), len(content), offset)
        self._file.write(local_header(entry))
        self._file.write(content)
        self._entries.append(entry)

    def close(self) -> None:
        """Write the central directory and the end records. The file itself stays open."""
        offset = self._entries[-1].end if self._entries else 0
        central = directory(self._entries)
        self._file.write(central)
        self._file.write(end_records(len(self._entries), len(central), offset))
