"""Where a bundle's files lie: a folder or a zip. Reads only, follows no link, keeps nothing open.

Each read opens the file anew, so what was checked before may have changed since; whoever reads
checks digests (`Bundle.read`).
"""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from roadworthy.bundle.strict import DAMAGED, refuse
from roadworthy.bundle.zipcheck import read_entries
from roadworthy.core.errors import BundleError

_CHUNK = 1 << 20
# A bundle has a handful of folders, three deep; a tree beyond that isn't one.
_MOST_FILES = 500_000


class Store(Protocol):
    """The files of a bundle by name."""

    path: Path
    kind: str
    sizes: dict[str, int]

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file's content in parts; raises `BundleError` when it can't be read."""
        ...


def open_store(path: Path) -> Store:
    """List what is in a bundle's folder or zip.

    Raises:
        BundleError: nothing there, neither folder nor zip, links, special files, a zip of another
            form (`zipcheck`).
    """
    path = path.absolute()
    with translated(path):
        if not path.exists():
            refuse("there is no such bundle", str(path), "check the path")
        if path.is_dir():
            return FolderStore(path)
        if not path.is_file():
            refuse("a bundle is a file or a folder, this is neither", str(path), "check the path")
        return ZipStore(path)


class FolderStore:
    """A folder bundle."""

    kind = "folder"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes = dict(_walk(path))

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file's content, refusing links on the way to it."""
        with translated(self.path / name), _open_beneath(self.path, name) as file:
            yield from iter(lambda: file.read(_CHUNK), b"")


class ZipStore:
    """A zip bundle in our form; CRCs are checked as contents are read."""

    kind = "zip"

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            entries = read_entries(file, size, str(path))
        self._entries = {entry.name: entry for entry in entries}
        self.sizes = {entry.name: entry.size for entry in entries}

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file's content."""
        entry = self._entries[name]
        crc, left = 0, entry.size
        with translated(self.path), self.path.open("rb") as file:
            file.seek(entry.start)
            while left and (part := file.read(min(left, _CHUNK))):
                left -= len(part)
                crc = zlib.crc32(part, crc)
                yield part
        if left or crc != entry.crc:
            refuse(f"{name!r} in the zip is damaged: its checksum is wrong", str(self.path))


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into `BundleError`."""
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"the bundle can't be read: {error.strerror or error}",
            where=str(error.filename or path),
            remedy=DAMAGED,
        ) from error


def _walk(root: Path) -> Iterator[tuple[str, int]]:
    """Yield every file's name, with slashes, and its size; empty folders don't count."""
    folders = [""]
    count = 0
    while folders:
        prefix = folders.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                status = entry.stat(follow_symlinks=False)
                count += 1
                if stat.S_ISDIR(status.st_mode):
                    folders.append(f"{name}/")
                elif stat.S_ISREG(status.st_mode):
                    yield name, status.st_size
                else:
                    link = stat.S_ISLNK(status.st_mode)
                    kind = "a symbolic link" if link else "a special file"
                    refuse(f"{name!r} in the bundle is {kind}, not a file", str(root))
                if count > _MOST_FILES:
                    refuse("the folder holds more files than any bundle has", str(root))


def _open_beneath(root: Path, name: str) -> BinaryIO:
    """Open a file below a folder, one component at a time, so that no link is ever followed."""
    *folders, last = name.split("/")
    # NONBLOCK: a pipe put there meanwhile must not make us wait for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    folder = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        for component in folders:
            inner = os.open(component, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.fdopen(os.open(last, flags, dir_fd=folder), "rb")
    finally:
        os.close(folder)
