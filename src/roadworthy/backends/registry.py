"""Find backends by name. Ours live in this folder, one sub-package each (ADR 0003); others
register an object under the entry point group `roadworthy.backends`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib import metadata
from typing import cast

from roadworthy import backends
from roadworthy.backends.base import Backend, CompileOptions
from roadworthy.core.errors import UsageError

GROUP = "roadworthy.backends"


@cache
def names() -> tuple[str, ...]:
    """Return the names of all backends known here, usable or not."""
    own = {module.name for module in pkgutil.iter_modules(backends.__path__) if module.ispkg}
    others = {entry.name for entry in metadata.entry_points(group=GROUP)}
    return tuple(sorted(own | others))


@cache
def find(name: str) -> Backend:
    """Return the backend of this name.

    Raises:
        UsageError: there is none.
    """
    for entry in metadata.entry_points(group=GROUP):
        if entry.name == name:
            return cast(Backend, entry.load())
    if name not in names():
        raise UsageError(
            f"there is no backend {name!r}",
            where="--target",
            remedy=f"choose one of: {', '.join(names())}",
        )
    module = importlib.import_module(f"roadworthy.backends.{name}.compiler")
    return cast(Backend, module.BACKEND)


def check_options(name: str, options: CompileOptions) -> None:
    """Refuse before any work what the backend of this name would refuse when it compiles.

    Raises:
        UsageError: there is no such backend, it has no such option, or not of this value.
    """
    check = getattr(find(name), "check_options", None)
    if check is not None:
        check(options)
