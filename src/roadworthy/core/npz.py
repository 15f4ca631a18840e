"""NumPy's own files, `.npz` and `.npy`: nothing is unpickled, and many samples stay on disk."""

from __future__ import annotations

import math
import os
import struct
import tempfile
import weakref
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

from roadworthy.core.errors import SamplesError
from roadworthy.core.signature import Array

# NumPy writes later versions only for structured arrays, which aren't anybody's inputs.
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_CHUNK = 1 << 20
# Of a zip's local file header (APPNOTE 4.3.7): its size, and where the lengths of what follows are.
_LOCAL_HEADER, _LENGTHS_AT = 30, 26


def read_npz(path: Path) -> dict[str, Array]:
    """Read an `.npz` without ever unpickling.

    Raises:
        SamplesError: not an npz, truncated, empty, or holding Python objects.
    """
    return _read_named(path, lambda archive, name: archive[name])


def open_npz(path: Path) -> dict[str, Array | Stack]:
    """Check all of an `.npz` as `read_npz` does, and leave its arrays on disk.

    What `numpy.savez` wrote is read where it lies. What `numpy.savez_compressed` wrote can't be
    read from the middle, so it is unpacked once, into a file without a name in the folder for
    temporary files (TMPDIR), as large as the arrays are. The system removes it when the arrays are
    no longer used, however the process ends.

    Raises:
        SamplesError: as `read_npz`; or there is no room to unpack it.
    """
    return _read_named(path, lambda archive, name: _open_array(archive, name, path))


def read_npy(path: Path) -> Array:
    """Read an `.npy` without ever unpickling.

    Raises:
        SamplesError: not an npy, truncated, or holding Python objects.
    """
    with _loaded(path) as array:
        if not isinstance(array, np.ndarray):
            raise SamplesError("the file holds several arrays, not one", where=str(path))
        return array


class Stack:
    """An array on disk: `stack[i]` reads what is at `i` of its first axis, as a copy.

    The file is mapped for that moment only, so that resident memory doesn't grow with what was
    read. Of an array in Fortran order every sample is spread over the whole file.

    Attributes:
        shape: as that of an array.
        ndim: the number of axes.
    """

    def __init__(self, file: IO[bytes], where: Path, offset: int, header: _Header) -> None:
        """Args: `file`: is closed with the stack; `offset`: of the array's first byte."""
        self.shape, self.ndim = header.shape, len(header.shape)
        self._file, self._where, self._offset, self._header = file, where, offset, header
        self._written = os.fstat(file.fileno()).st_mtime_ns
        weakref.finalize(self, file.close)

    def __getitem__(self, index: int) -> Array:
        if os.fstat(self._file.fileno()).st_mtime_ns != self._written:
            raise SamplesError(
                "the file was written to while its samples were in use",
                where=str(self._where),
                remedy="start again, and leave it alone until the end",
            )
        shape, order, dtype = self._header
        return np.array(np.memmap(self._file, dtype, "r", self._offset, shape, order)[index])


class _Header(NamedTuple):
    """What the head of an `.npy` says of its array."""

    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype[Any]


def _read_named(path: Path, read: Callable[[Any, str], Any]) -> dict[str, Any]:
    with _loaded(path) as archive:
        if isinstance(archive, np.ndarray):
            raise SamplesError("the file holds one array, not named ones", where=str(path))
        twice = next((name for name, count in Counter(archive.files).items() if count > 1), None)
        if twice is not None:
            raise SamplesError(
                f"the file holds {twice!r} more than once",
                where=str(path),
                remedy="write it again, each array under a name of its own",
            )
        arrays = {name: read(archive, name) for name in archive.files}
    strangers = [name for name, value in arrays.items() if isinstance(value, bytes)]
    if strangers:
        raise SamplesError(f"{strangers[0]!r} in the file is not an array", where=str(path))
    if not arrays:
        raise SamplesError("the file holds no arrays", where=str(path))
    return arrays


@contextmanager
def _loaded(path: Path) -> Iterator[Any]:
    """Yield what NumPy finds in a file: an array, or an archive of named ones."""
    try:
        # Opened here, because NumPy leaves a damaged .npz open.
        with path.open("rb") as file:
            yield np.load(file, allow_pickle=False)
    except SamplesError:
        raise
    # Damaged bytes raise what they like, from zlib, zipfile, tokenize, …
    except Exception as error:
        raise _unreadable(path, error) from error


def _open_array(archive: Any, name: str, path: Path) -> Stack | Array | bytes:
    """Read a member to its end, as NumPy does, but leave it on disk; NumPy reads what is odd."""
    members: zipfile.ZipFile = archive.zip
    member = members.getinfo(name if name in members.namelist() else f"{name}.npy")
    with members.open(member) as content:
        header = _header_of(content)
        if header is not None:
            start, size = content.tell(), math.prod(header.shape) * header.dtype.itemsize
            if member.compress_type != zipfile.ZIP_STORED:
                file = _unpacked(content, size, path)
                if file is not None:
                    return Stack(file, path, 0, header)
            elif _copied(content, size, None):
                file = path.open("rb")
                return Stack(file, path, _content_at(file, member) + start, header)
    # With fewer bytes than its header tells of it is for NumPy to say so.
    left: Array | bytes = archive[name]
    return left


def _header_of(content: IO[bytes]) -> _Header | None:
    """Return the header of an array that has samples; None for one that is left to NumPy.

    That is no array, one of Python objects or structures, and one without any bytes.
    """
    try:
        read = _HEADERS[npy.read_magic(content)]
    except (ValueError, KeyError):
        return None
    shape, fortran, dtype = read(content)
    if dtype.kind in "OV" or dtype.itemsize == 0 or min(shape, default=0) <= 0:
        return None
    return _Header(shape, "F" if fortran else "C", dtype)


def _copied(content: IO[bytes], size: int, to: IO[bytes] | None) -> bool:
    """Read so many bytes, which checks them, and write them; tell whether there were as many."""
    while size:
        chunk = content.read(min(size, _CHUNK))
        if not chunk:
            return False
        if to is not None:
            to.write(chunk)
        size -= len(chunk)
    return True


def _unpacked(content: IO[bytes], size: int, path: Path) -> IO[bytes] | None:
    """Return a temporary file with so many bytes; None where there are fewer."""
    try:
        with ExitStack() as closing:
            file = closing.enter_context(tempfile.TemporaryFile())
            if not _copied(content, size, file):
                return None
            file.flush()
            closing.pop_all()
            return file
    except OSError as error:
        raise SamplesError(
            f"the samples are compressed and couldn't be unpacked: {error.strerror or error}",
            where=str(path),
            remedy=f"set TMPDIR to a folder with room for {size / 1e6:,.0f} MB, or save them with "
            "numpy.savez, which doesn't compress",
        ) from error


def _content_at(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Return where in its zip file the content of a stored member begins."""
    file.seek(member.header_offset + _LENGTHS_AT)
    name, extra = struct.unpack("<HH", file.read(4))
    return member.header_offset + _LOCAL_HEADER + int(name) + int(extra)


def _unreadable(path: Path, error: Exception) -> SamplesError:
    objects = "allow_pickle" in str(error)
    if objects and not _begins_like_arrays_or_pickle(path):
        # NumPy calls every file that it doesn't know a pickle.
        return SamplesError(
            "the file holds no NumPy arrays", where=str(path), remedy="save it with numpy.savez"
        )
    text = str(error).strip() or type(error).__name__
    return SamplesError(
        "the file holds pickled Python objects, which are never loaded"
        if objects
        else f"the file can't be read as arrays: {text.splitlines()[0]}",
        where=str(path),
        remedy="save plain arrays with numpy.savez" if objects else "save it again",
    )


def _begins_like_arrays_or_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x93NUMPY", b"PK", b"\x80"))
