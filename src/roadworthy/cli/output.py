"""What a command says: text for people on standard error, or one JSON document on standard output.

{"schema", "command", "exit_code", "error": {"code", "what", "where", "remedy"} | null, "result"}
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roadworthy.core.errors import EXIT_OK, RoadworthyError

SCHEMA = "roadworthy/command/1"


@dataclass
class Outcome:
    """How a command ended: its result, and the error if there was one."""

    result: Mapping[str, Any] | None = None
    error: RoadworthyError | None = None
    exit_code: int = EXIT_OK
    text: str = ""


@dataclass
class Reporter:
    """Writes what a command says, in the way that its options ask for."""

    command: str
    as_json: bool = False
    _said: list[str] = field(default_factory=list)

    def say(self, text: str = "") -> None:
        """Say something to a person; silent with --json."""
        if not self.as_json:
            from rich.console import Console

            Console(file=sys.stdout, highlight=False, soft_wrap=True).print(text)

    def finish(self, outcome: Outcome) -> int:
        """Write the end of the command and return its exit code."""
        if self.as_json:
            self._write_json(outcome)
        elif outcome.error is not None:
            self._write_error(outcome.error)
        return outcome.exit_code

    def _write_json(self, outcome: Outcome) -> None:
        from roadworthy.core.jsonable import dumps

        document = {
            "schema": SCHEMA,
            "command": self.command,
            "exit_code": outcome.exit_code,
            "error": outcome.error.to_json() if outcome.error is not None else None,
            "result": outcome.result,
        }
        sys.stdout.write(dumps(document))
        sys.stdout.flush()

    def _write_error(self, error: RoadworthyError) -> None:
        from rich.console import Console
        from rich.markup import escape

        console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        console.print(f"[bold red]error[/] {escape(error.what)}")
        if error.where:
            console.print(f"  [dim]where[/]   {escape(error.where)}")
        if error.remedy:
            console.print(f"  [dim]remedy[/]  {escape(error.remedy)}")
