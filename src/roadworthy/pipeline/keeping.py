"""`--keep FILE`: where an unfinished calibration lies, so that it can be continued."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roadworthy.core.errors import UsageError
from roadworthy.core.files import check_file
from roadworthy.precision.unfinished import Unfinished


def check_keep(keep: Path | None, out: Path | None, read: Sequence[Any]) -> None:
    """Refuse before the work a file that can't be kept or continued after it.

    Args:
        keep: the file, which may exist already.
        out: what is written besides.
        read: what is read; paths among it count.

    Raises:
        UsageError: it is, or lies in, something that is read or written; or it has no folder.
        InputError: it is no calibration.
    """
    if keep is None:
        return
    own = keep.resolve()
    for path in (out, *read):
        if isinstance(path, str | Path) and Path(path).resolve() in (own, *own.parents):
            raise UsageError(
                f"a calibration can't be kept in {path}, which is "
                f"{'written' if path is out else 'read'} here",
                where=f"--keep {keep}",
                remedy="name another file, in another folder",
            )
    check_file(keep)
    if keep.exists():
        Unfinished.load(keep)
