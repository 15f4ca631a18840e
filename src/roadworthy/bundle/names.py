"""The names of files inside a bundle: relative, portable, one spelling each.

Only ASCII letters, digits, `.`, `_`, `-` and `/` between them. So a bundle unpacks to the same
files on every system, and no name climbs out of its folder, names a drive, or hides another one
by case or Unicode form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from roadworthy.bundle.strict import refuse

_COMPONENT = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST = 240
# Windows opens a device for these, whatever ending follows.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def fault(name: str) -> str | None:
    """Return what is wrong with a file's name inside a bundle, None when nothing is."""
    components = name.split("/")
    if "\0" in name:
        return "holds a NUL character"
    if name.startswith(("/", "\\")):
        return "is an absolute path"
    if re.match(r"[A-Za-z]:", name):
        return "names a drive"
    if "\\" in name:
        return "holds a backslash"
    if ".." in components:
        return "climbs out with '..'"
    if "" in components or "." in components:
        return "has an empty component"
    if len(name) > _LONGEST:
        return f"is longer than {_LONGEST} characters"
    return next(filter(None, map(component_fault, components)), None)


def component_fault(name: str) -> str | None:
    """Return what is wrong with one file's or folder's own name, None when nothing is."""
    if not _COMPONENT.fullmatch(name) or name in {".", ".."}:
        return "has characters other than ASCII letters, digits, '.', '_' and '-'"
    if name.endswith("."):
        return "has a component that ends in '.'"
    if _DEVICES.fullmatch(name):
        return "is a device on some systems"
    return None


def check_names(names: Iterable[str], where: str) -> None:
    """Check names of one bundle: each safe, all distinct whatever the case, no file also a folder.

    Raises:
        BundleError: naming the first that isn't.
    """
    seen: dict[str, str] = {}
    for name in names:
        wrong = fault(name)
        if wrong:
            refuse(f"the file name {name!r} {wrong}", where)
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            refuse(f"the file names {other!r} and {name!r} differ only by case", where)
    for folded, name in seen.items():
        parent = folded.rpartition("/")[0]
        while parent:
            if parent in seen:
                refuse(f"{seen[parent]!r} is a file, and the folder of {name!r}", where)
            parent = parent.rpartition("/")[0]
