"""What to do about a bundle's engine that can't be opened: run it elsewhere, or build it anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from roadworthy.backends.base import REBUILD, Engine
from roadworthy.bundle.choice import alike
from roadworthy.bundle.reader import Bundle
from roadworthy.core.errors import MissingExtraError, RoadworthyError, UnavailableError
from roadworthy.core.target import Target
from roadworthy.pipeline.rebuild import differences_here


@contextlib.contextmanager
def naming_remedy(
    bundle: Bundle, engine: Engine, target: str | None, anew: bool = False
) -> Iterator[None]:
    """Where an engine of a bundle can't be had, have the error name the command that works.

    1. Its own place isn't to be had, and the user named no other: where else it can run.
    2. It was built elsewhere: building it anew, unless that is what failed.

    Args:
        bundle: an open bundle.
        engine: one of its engines.
        target: as the user named it; None where the bundle's own was taken.
        anew: it is being built anew here.
    """
    try:
        yield
    except UnavailableError as error:
        settled = target is None and engine.target.where is not None
        outdated = not anew and not isinstance(error, MissingExtraError)
        if settled or outdated:
            differences = _differences(engine)
            if settled and differences is None:
                error.remedy = _another_place(bundle, engine.target, error.remedy)
            elif outdated and differences:
                error.remedy = REBUILD
        raise


def _differences(engine: Engine) -> tuple[str, ...] | None:
    """Say where its place isn't what it was verified on; None where that can't be had at all."""
    try:
        return differences_here(engine)
    except RoadworthyError:
        return None


def _another_place(bundle: Bundle, target: Target, remedy: str | None) -> str:
    """Return the remedy for a place that can't be had, followed by what would bring it back."""
    here = target.anywhere
    like = [each.target for each in alike(bundle.manifest.engines, target) if each.target != target]
    if like:
        said = "choose it at another place: " + ", or ".join(f"--target {each}" for each in like)
    else:
        said = (
            f"say where it shall run: --target {here} for here, or "
            f"--target {here}@python=/path/to/python"
        )
    return f"{said}; or else: {remedy}" if remedy else said
