"""Which of a bundle's engines a target means, and where that one then runs.

An engine is made for a backend, a device and a version; its place is only where that was to be had
when it was deployed. Interpreters move and bundles travel, so the place may be another one now.
"""

from __future__ import annotations

from collections.abc import Sequence

from roadworthy.backends.place import Where
from roadworthy.bundle.manifest import EngineRecord
from roadworthy.core.errors import UsageError
from roadworthy.core.target import Target


def choose(records: Sequence[EngineRecord], wanted: str, where: str) -> EngineRecord:
    """Return the engine of exactly this target, else the one that differs only in its place.

    Args:
        records: the bundle's engines.
        wanted: a target as on the command line, or an engine's slug.
        where: the bundle, for messages.

    Raises:
        UsageError: there is none, there are several and none of them is at that place, or it is no
            place at all.
    """
    for record in records:
        if wanted in _names(record):
            return record
    target = Target.parse(wanted)
    for record in records:
        if record.target == target:
            return record
    like = alike(records, target)
    if len(like) == 1:
        if target.where is not None:
            Where.parse(target.where)
        return like[0]
    if like:
        raise UsageError(
            f"{wanted!r} could be several of the bundle's engines, at other places: {_list(like)}",
            where=where,
            remedy="name one of them as it is written here; or deploy for one place only",
        )
    raise UsageError(
        f"the bundle holds no engine for {wanted!r}",
        where=where,
        remedy=f"choose one of: {_list(records)}; or deploy for that target",
    )


def alike(records: Sequence[EngineRecord], target: Target) -> list[EngineRecord]:
    """Return the engines of a target's backend, device and version, whatever their place."""
    return [record for record in records if record.target.anywhere == target.anywhere]


def placed(record: EngineRecord, wanted: str | None) -> Target:
    """Return where a chosen engine runs: where the target says, its own place if there is none."""
    if wanted is None or wanted in _names(record):
        return record.target
    return Target.parse(wanted)


def _names(record: EngineRecord) -> tuple[str, str]:
    return str(record.target), record.target.slug


def _list(records: Sequence[EngineRecord]) -> str:
    return ", ".join(str(record.target) for record in records)
