"""Write files and folders so that nothing is lost: beside first, then exchanged in one step.

Whatever moment a process dies, the old file or folder is whole, or the new one is. Leftovers of
dead processes are recognised by their name and removed by the next writer of the same target.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from roadworthy.core.errors import UsageError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PARTIAL = re.compile(r"^\.(?P<name>.+)\.(?P<pid>\d+)(-[0-9a-f]+)?\.partial$")
# What carries our own pid may be another thread's, or that of a container which lives beside us.
_STALE_SECONDS = 3600.0


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success it takes the place of `path` in one step.

    Raises:
        UsageError: the folder doesn't exist, or `path` is a folder.
    """
    check_file(path)
    partial = _partial(path)
    try:
        with _naming(path):
            yield partial
            _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Refuse before the work what `replacing_file` would refuse after it.

    Raises:
        UsageError: the folder doesn't exist, or `path` is a folder.
    """
    _check_parent(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder, a file was to be written", where=str(path))


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; on success it takes the place of `path` in one step.

    An existing `path` must be a folder. It is exchanged atomically where the system can (Linux).
    """
    _check_parent(path)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, a folder was to be written", where=str(path))
    partial = _partial(path)
    partial.mkdir()
    try:
        with _naming(path):
            yield partial
            for item in sorted(partial.rglob("*")):
                _sync(item)
        _exchange(partial, path)
        _sync(path.parent)
    finally:
        _remove(partial)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say of a full disk where it is full: the system doesn't when it is written to."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            error.filename = str(path)
        raise


def cache_root() -> Path:
    """Return `$XDG_CACHE_HOME/roadworthy`, by default under `~/.cache`; nothing is made there.

    Raises:
        OSError: the user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if base and Path(base).is_absolute():
        return Path(base, "roadworthy")
    try:
        return Path.home() / ".cache" / "roadworthy"
    except RuntimeError as error:
        raise FileNotFoundError(f"there is no folder for caches: {error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file in one step."""
    with replacing_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _check_parent(path: Path) -> None:
    parent = path.absolute().parent
    if not parent.is_dir():
        raise UsageError(
            f"the folder {parent} doesn't exist",
            where=str(path),
            remedy=f"mkdir -p {parent}",
        )
    if not os.access(parent, os.W_OK):
        raise UsageError(f"the folder {parent} can't be written to", where=str(path))
    remove_leftovers(path)


def remove_leftovers(path: Path) -> None:
    """Remove what dead processes left beside `path` while they were writing it."""
    for item in path.absolute().parent.glob(f".{_escape(path.name)}.*.partial"):
        match = _PARTIAL.match(item.name)
        if match is None or match["name"] != path.name:
            continue
        pid = int(match["pid"])
        if _is_old(item) if pid == os.getpid() else not _is_alive(pid):
            _remove(item)


def _is_old(item: Path) -> bool:
    """Tell what nobody has written to for long."""
    try:
        return time.time() - item.lstat().st_mtime > _STALE_SECONDS
    except FileNotFoundError:
        return False  # it was another thread's, which has put it in its place


def _remove(item: Path) -> None:
    """Remove a file, a folder, or a link but not what it points to."""
    if item.is_dir() and not item.is_symlink():
        shutil.rmtree(item, ignore_errors=True)
    else:
        item.unlink(missing_ok=True)


def _escape(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        # Somebody else's process; or a number that no process has, so the file isn't ours.
        return True
    return True


def _partial(path: Path) -> Path:
    """Return a name of its own for each writer: threads and containers may share a pid."""
    own = f"{os.getpid()}-{secrets.token_hex(4)}"
    return path.absolute().parent / f".{path.name}.{own}.partial"


def _exchange(new: Path, path: Path) -> None:
    """Put the folder `new` at `path`; what stood there ends up at `new`."""
    if not path.exists():
        new.rename(path)
        return
    if _renameat2(new, path):
        return
    # No atomic exchange here: between these two steps `path` is missing, but its content is
    # whole under the `.old` name, which tells a person what it is.
    old = path.with_name(f".{path.name}.old")
    path.rename(old)
    new.rename(path)
    old.rename(new)


def _renameat2(one: Path, two: Path) -> bool:
    """Exchange two paths atomically (Linux renameat2); False where that isn't supported."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    result = libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE
    )
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(two))


def _sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk, so that a rename never precedes data."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
