"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called with what is being done and the share that is done, 0 to 1."""


def silent(_what: str, _share: float) -> None:
    """Report progress to nobody."""
