"""Our zips are zips for other programs too, beyond 4 GB as well; and other zips are refused."""

import io
import struct
import warnings
import zipfile
import zlib

import pytest

from roadworthy.bundle import zipform
from roadworthy.bundle.zipcheck import read_entries
from roadworthy.bundle.zipform import Entry, ZipWriter
from roadworthy.core.errors import BundleError

FILES = {"a.txt": b"first", "b/c": b"", "ünï": b"third"}
GIB = 1 << 30


def packed(files=FILES) -> bytes:
    buffer = io.BytesIO()
    writer = ZipWriter(buffer)
    for name, data in files.items():
        writer.add(name, data)
    writer.close()
    return buffer.getvalue()


def entries(data: bytes):
    return read_entries(io.BytesIO(data), len(data), "x.rw")


def test_pythons_zipfile_reads_ours():
    with zipfile.ZipFile(io.BytesIO(packed())) as file:
        assert {name: file.read(name) for name in file.namelist()} == FILES
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_we_read_ours():
    data = packed()
    assert {e.name: data[e.start : e.end] for e in entries(data)} == FILES


def test_an_empty_zip_has_no_entries():
    assert entries(packed({})) == []


def test_files_and_offsets_beyond_4_gib(tmp_path):
    """A sparse file: 5 GiB of zeros take no space, and their content isn't read here."""
    path = tmp_path / "large.zip"
    sizes = {"small": 3, "large": 5 * GIB, "after": 7}
    placed: list[Entry] = []
    with path.open("wb") as file:
        for name, size in sizes.items():
            crc = zlib.crc32(bytes(size)) if size < GIB else 0
            entry = Entry(name, crc, size, placed[-1].end if placed else 0)
            file.seek(entry.offset)
            file.write(zipform.local_header(entry))
            placed.append(entry)
        file.seek(placed[-1].end)
        central = zipform.directory(placed)
        file.write(central)
        file.write(zipform.end_records(len(placed), len(central), placed[-1].end))
    with zipfile.ZipFile(path) as file:
        assert {info.filename: info.file_size for info in file.infolist()} == sizes
        assert [info.header_offset for info in file.infolist()] == [e.offset for e in placed]
        with file.open("after") as member:
            assert member.read() == bytes(7)
    with path.open("rb") as file:
        assert read_entries(file, path.stat().st_size, "large.zip") == placed


def test_more_than_65535_files():
    data = packed({f"{index:05d}": b"" for index in range(65_536)})
    assert len(entries(data)) == 65_536
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert len(file.namelist()) == 65_536


def by_zipfile(*members, **options) -> bytes:
    """A zip that another program made: (ZipInfo or name, content) each."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # duplicate names
        with zipfile.ZipFile(buffer, "w", **options) as file:
            for name, data in members:
                file.writestr(name, data)
    return buffer.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    return info


def folder(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o040755 << 16
    return info


def encrypted() -> bytes:
    data = bytearray(packed({"a": b"x"}))
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def with_size(size: int) -> bytes:
    data = bytearray(packed({"a": b"x"}))
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, size)
    return bytes(data)


def overlapping() -> bytes:
    """Two entries that share one content, as zip bombs do."""
    one = Entry("a", 0, 9, 0)
    content = zipform.local_header(one) + b"x" * 9
    central = zipform.directory([one, Entry("b", 0, 9, 0)])
    return content + central + zipform.end_records(2, len(central), len(content))


def end64(count: int, size: int, offset: int) -> bytes:
    return zipform.END64.pack(b"PK\6\6", 44, 0x32D, 45, 0, 0, count, count, size, offset) + (
        zipform.LOCATOR64.pack(b"PK\6\7", 0, 0, 1)
        + zipform.END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "isn't a zip"),
        (b"\x89PNG\r\n\x1a\n" * 9, "isn't a zip"),
        (b"PK", "isn't a zip"),
        (b"PK\3\4", "cut short"),
        (packed() + b"\n", "bytes before, between or after"),
        (b"PK" + packed(), "bytes before, between or after"),
        (b"#!/bin/sh\n" + packed(), "isn't a zip"),
        (packed()[:-1], "cut short"),
        (by_zipfile((link("a"), b"/etc/passwd")), "'a' in the zip is a symbolic link"),
        (by_zipfile((folder("a/"), b"")), "is a folder entry"),
        (by_zipfile(("a", b"x" * 999), compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (by_zipfile(("a", b"x" * 999), compression=zipfile.ZIP_LZMA), "is compressed"),
        (by_zipfile(("a", b"1"), ("a", b"2")), "holds 'a' twice"),
        (by_zipfile(("a", b"1")), "packed in another form"),
        (encrypted(), "is encrypted"),
        (with_size(2), "declares two sizes, 1 and 2 bytes"),
        (with_size(0xFFFFFFFF), "declares two sizes"),
        (overlapping(), "bytes before, between or after"),
        (b"PK" + b"\0" * 98 + end64(1, 2**64 - 1, 2**64 - 1), "cut short"),
        (b"PK" + b"\0" * 98 + end64(2**64 - 1, 10, 90), "cut short"),
        (b"PK\5\6" + b"\xff" * 16 + b"\0\0", "cut short"),
    ],
)
def test_any_other_zip_is_refused(data, message):
    with pytest.raises(BundleError) as caught:
        entries(data)
    assert message in caught.value.what
    assert caught.value.where == "x.rw"
    assert caught.value.remedy


def test_every_bit_outside_the_contents_is_checked():
    data = packed()
    contents = {i for e in entries(data) for i in range(e.start, e.end)}
    for index in set(range(len(data))) - contents:
        for bit in range(8):
            flipped = bytearray(data)
            flipped[index] ^= 1 << bit
            with pytest.raises(BundleError):
                entries(bytes(flipped))
