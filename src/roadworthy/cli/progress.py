"""Progress of long work: a bar on a terminal, plain lines elsewhere, nothing with --json."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from roadworthy.cli.streams import put

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressDisplay:
    """Call it with (what is being done, share done). Use in a `with` block."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._started = time.monotonic()

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
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what, completed=share)
        elif not self._silent and what != self._what:
            put(sys.stderr, f"[{time.monotonic() - self._started:6.1f} s] {what}\n")
        self._what = what

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
