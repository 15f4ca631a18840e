"""What a command says: text for people, or with `--json` one document on standard output.

{"schema", "command", "exit_code", "error": {"code", "what", "where", "remedy"} | null, "result"}
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from roadworthy.cli import interrupts
from roadworthy.cli.streams import put, put_document, readable
from roadworthy.core.errors import EXIT_OK, EXIT_USAGE, RoadworthyError

SCHEMA = "roadworthy/command/1"
# Columns of text below which a terminal had better break lines by itself.
_NARROWEST = 24


@dataclass
class Outcome:
    """How a command ended: its result, and the error if there was one."""

    result: Mapping[str, Any] | None = None
    error: RoadworthyError | None = None
    exit_code: int = EXIT_OK


@dataclass
class Reporter:
    """Writes what a command says, in the way that its options ask for."""

    command: str
    as_json: bool = False

    def say(self, text: str = "") -> None:
        """Say something to a person, in Rich's markup; silent with --json."""
        if not self.as_json:
            put(sys.stdout, _rendered(text, sys.stdout))

    def tell(self, text: str, hang: int = 8) -> None:
        """Say a line that a terminal breaks at words, what follows indented by `hang` columns.

        Where nobody watches, in a file or a pipe, it stays one line.
        """
        for line in _broken(text, hang):
            self.say(line)

    def finish(self, outcome: Outcome) -> int:
        """Write the end of the command and return its exit code.

        Where the document can't be delivered (a full disk), that is what the exit code says.
        """
        if not self.as_json:
            interrupts.stop_listening()
            if outcome.error is not None:
                self._write_error(outcome.error)
            return outcome.exit_code
        text = self._document(outcome)
        interrupts.stop_listening()
        try:
            put_document(text)
        except OSError as error:
            self._write_error(
                RoadworthyError(f"the document can't be written to standard output: {error}")
            )
            return outcome.exit_code or EXIT_USAGE
        return outcome.exit_code

    def _document(self, outcome: Outcome) -> str:
        from roadworthy.core.jsonable import dumps

        return dumps(
            {
                "schema": SCHEMA,
                "command": self.command,
                "exit_code": outcome.exit_code,
                "error": outcome.error.to_json() if outcome.error is not None else None,
                "result": outcome.result,
            }
        )

    def _write_error(self, error: RoadworthyError) -> None:
        from rich.markup import escape

        lines = [f"[bold red]error[/]   {escape(error.what)}"]
        if error.where:
            lines.append(f"[dim]where[/]   {escape(error.where)}")
        if error.remedy:
            lines.append(f"[dim]remedy[/]  {escape(error.remedy)}")
        put(sys.stderr, "".join(_rendered(line, sys.stderr) for line in lines))


def _broken(text: str, hang: int) -> list[str]:
    """Return a line of Rich's markup as the lines of this terminal; no word of it is lost."""
    import shutil

    from rich.console import Console
    from rich.text import Text

    width = shutil.get_terminal_size().columns
    line = Text.from_markup(text, emoji=False)
    watched = sys.stdout is not None and sys.stdout.isatty()
    if not watched or line.cell_len <= width or width - hang < _NARROWEST:
        return [text]
    head, rest = line.divide([hang])
    parts = rest.wrap(Console(file=sys.stdout), width - hang)
    for part in parts:
        part.rstrip()
    return [head.markup + parts[0].markup, *(" " * hang + part.markup for part in parts[1:])]


def _rendered(text: str, stream: TextIO | None) -> str:
    """Return text as the stream shows it: with colours on a terminal, plain elsewhere."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, soft_wrap=True, emoji=False)
    with console.capture() as capture:
        console.print(readable(text))
    return capture.get()
