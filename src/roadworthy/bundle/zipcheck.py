"""Read a zip's structure, and refuse every one that isn't byte for byte of our form."""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from roadworthy.bundle.strict import refuse
from roadworthy.bundle.zipform import (
    CENTRAL,
    END,
    END64,
    FULL16,
    FULL32,
    LOCATOR64,
    Entry,
    directory,
    end_records,
    local_header,
)

# A directory of this size lists half a million files; more is an attack on the memory.
_LARGEST_DIRECTORY = 64 << 20
_FOREIGN = "if you packed it yourself, unpack it and use the folder; otherwise fetch it again"
_CUT = "the zip is cut short, or has bytes before, between or after its files"


def read_entries(file: BinaryIO, size: int, where: str) -> list[Entry]:
    """Return the entries of a zip in our form, in the order in which they are stored.

    Args:
        file: open for reading, seekable.
        size: the file's size in bytes.
        where: what to call it in messages.

    Raises:
        BundleError: anything else; contents are not read, let alone written anywhere.
    """
    end = _end(file, size, where)
    central = _read(file, end.offset, end.size, where)
    entries = _entries(central, end.count, where)
    names = set()
    for entry in entries:
        if entry.name in names:
            refuse(f"the zip holds {entry.name!r} twice", where, _FOREIGN)
        names.add(entry.name)
    _check_form(file, entries, central, end, where)
    return entries


@dataclass(frozen=True, slots=True)
class _End:
    """What the end records say of the central directory."""

    count: int
    size: int
    offset: int


def _end(file: BinaryIO, size: int, where: str) -> _End:
    """Read the end records, which must be the last bytes of the file."""
    if size < 4 or _read(file, 0, 4, where)[:2] != b"PK":
        refuse("the file isn't a zip, so it isn't a bundle", where)
    if size < END.size:
        refuse(_CUT, where, _FOREIGN)
    signature, *numbers, comment = END.unpack(_read(file, size - END.size, END.size, where))
    if signature != b"PK\5\6" or comment != 0:
        refuse(_CUT, where, _FOREIGN)
    end = _End(numbers[3], numbers[4], numbers[5])
    if end.count == FULL16 or FULL32 in (end.size, end.offset):
        at = size - END.size - LOCATOR64.size - END64.size
        if at < 0:
            refuse(_CUT, where, _FOREIGN)
        large = END64.unpack(_read(file, at, END64.size, where))
        end = _End(large[7], large[8], large[9])
    after = end.offset + end.size
    if after > size:
        refuse(_CUT, where, _FOREIGN)
    expected = end_records(end.count, end.size, end.offset)
    if after + len(expected) != size or _read(file, after, len(expected), where) != expected:
        refuse(_CUT, where, _FOREIGN)
    if end.size > _LARGEST_DIRECTORY:
        refuse("the zip lists more files than any bundle has", where)
    return end


def _entries(central: bytes, count: int, where: str) -> list[Entry]:
    entries = []
    at = 0
    while at < len(central):
        if len(central) - at < CENTRAL.size:
            refuse("the zip's directory is damaged", where, _FOREIGN)
        record = CENTRAL.unpack_from(central, at)
        at += CENTRAL.size
        name_size, extra_size, comment_size = record[10:13]
        name = central[at : at + name_size]
        extra = central[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size + comment_size
        if record[0] != b"PK\1\2" or at > len(central):
            refuse("the zip's directory is damaged", where, _FOREIGN)
        entries.append(_entry(record, name, extra, where))
    if len(entries) != count:
        refuse(f"the zip says it holds {count} files, its directory {len(entries)}", where)
    return entries


def _entry(record: tuple[int, ...], raw_name: bytes, extra: bytes, where: str) -> Entry:
    """Turn one record into an entry; the frequent faults get a message of their own."""
    flags, method = record[3:5]
    crc, packed, size = record[7:10]
    attributes, offset = record[15:17]
    try:
        name = raw_name.decode()
    except UnicodeDecodeError:
        refuse(f"the zip holds a file whose name isn't UTF-8: {raw_name!r:.80}", where, _FOREIGN)

    def bad(what: str) -> NoReturn:
        refuse(f"{name!r} in the zip {what}", where, _FOREIGN)

    if stat.S_ISLNK(attributes >> 16):
        bad("is a symbolic link")
    if name.endswith("/") or stat.S_ISDIR(attributes >> 16):
        bad("is a folder entry")
    if flags & 1:
        bad("is encrypted")
    if method != 0:
        bad("is compressed, bundles store their files as they are")
    if packed != size:
        bad(f"declares two sizes, {packed} and {size} bytes")
    wide = [value for value in (size, packed, offset) if value == FULL32]
    if wide:
        if len(extra) != 4 + 8 * len(wide):
            bad("lacks its Zip64 sizes")
        values = list(struct.unpack(f"<{len(wide)}Q", extra[4:]))
        offset = values.pop() if offset == FULL32 else offset
        size = values[0] if values else size
    return Entry(name, crc, size, offset)


def _check_form(
    file: BinaryIO, entries: list[Entry], central: bytes, end: _End, where: str
) -> None:
    """Compare every byte outside the contents with what the writer writes."""
    expected = 0
    for entry in entries:
        if entry.offset != expected:
            refuse(_CUT, where, _FOREIGN)
        expected = entry.end
    if expected != end.offset:
        refuse(_CUT, where, _FOREIGN)
    foreign = "was packed in another form than roadworthy writes, or is damaged"
    for entry in entries:
        header = local_header(entry)
        if _read(file, entry.offset, len(header), where) != header:
            refuse(f"{entry.name!r} in the zip {foreign}", where, _FOREIGN)
    if directory(entries) != central:
        refuse(f"the zip {foreign}", where, _FOREIGN)


def _read(file: BinaryIO, offset: int, size: int, where: str) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        refuse(_CUT, where, _FOREIGN)
    return data
