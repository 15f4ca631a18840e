"""The passes that `deploy` runs, in order. A new pass adds one line here."""

from __future__ import annotations

from roadworthy.passes.base import Pass
from roadworthy.passes.simplify import Simplify
from roadworthy.passes.slim import Slim
from roadworthy.passes.tidy import Tidy


def standard_passes() -> tuple[Pass, ...]:
    """Return new instances of the standard passes."""
    return (
        Tidy(),
        Simplify(),
        Slim(),
    )
