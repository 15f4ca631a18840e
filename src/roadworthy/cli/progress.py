"""Progress of long work: a bar on a terminal, plain lines elsewhere, nothing with --json."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from roadworthy.cli.streams import put, readable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


# A log wants to know that something is still going on, but not every second.
_SECONDS_BETWEEN_LINES = 10.0


class ProgressDisplay:
    """Call it with (what is being done, share done). Use in a `with` block.

    Where what is done begins with what was done, followed by "," or ";", it is the same stage with
    more said about it: on a terminal that is shown at once, as a plain line at most every ten
    seconds.
    """

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._started = time.monotonic()
        self._told = self._started

    def __enter__(self) -> Self:
        if not self._silent and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
            )
            from rich.table import Column

            self._bar = Progress(
                SpinnerColumn(),
                # What is done may name a file: no markup, no emoji, and no second line.
                TextColumn(
                    "{task.description}",
                    markup=False,
                    table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                ),
                BarColumn(bar_width=28),
                TimeElapsedColumn(),
                console=Console(file=sys.stderr, emoji=False),
                expand=True,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=1.0)
        return self

    def __call__(self, what: str, share: float) -> None:
        """Show it. Changes of `what` are the stages; the share is within one stage."""
        what = readable(what)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what, completed=share)
        elif not self._silent and what != self._stage and not self._is_too_soon(what):
            put(sys.stderr, f"[{time.monotonic() - self._started:6.1f} s] {what}\n")

    def _is_too_soon(self, what: str) -> bool:
        """Tell whether this is more about the same stage, and not its turn yet."""
        now = time.monotonic()
        if not (self._stage and what.startswith((f"{self._stage},", f"{self._stage};"))):
            self._stage, self._told = what, now
            return False
        if now - self._told < _SECONDS_BETWEEN_LINES:
            return True
        self._told = now
        return False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
