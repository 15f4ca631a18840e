"""`roadworthy doctor`: what is here, what is missing, what to run."""

from __future__ import annotations

from typing import Annotated

import typer

from roadworthy.cli import options
from roadworthy.cli.output import Outcome, Reporter


def doctor(
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help=f"{options.TARGET}. Repeatable. Default: every backend."),
    ] = None,
    json: options.Json = False,
) -> int:
    """Say what is installed, what each target needs, and the command that installs it.

    With --target, exit 4 when one of those isn't to be had here.
    """
    from rich.markup import escape

    from roadworthy.core.errors import EXIT_OK, UnavailableError
    from roadworthy.pipeline.doctor import examine

    reporter = Reporter("doctor", json)
    found = examine(target or [])
    if not json:
        machine = found.environment
        reporter.say(
            f"machine   {escape(str(machine['cpu']))}, {machine['cpus_usable']} usable CPUs"
        )
        reporter.say(f"system    {escape(str(machine['distribution']))}, {machine['python']}")
        for name, version in machine["packages"].items():
            reporter.say(f"package   {name} {version}")
        for item in (*found.targets, *found.features):
            mark = "[green]✓[/]" if item.ok else "[yellow]–[/]"
            said = f"{item.kind:<9} {mark} {escape(item.name)}  {escape(item.detail)}"
            reporter.tell(said, hang=12)
            if item.remedy:
                reporter.say(f"            {escape(item.remedy)}")
    missing = [item for item in found.targets if not item.ok and item.asked]
    error = None
    if missing:
        first = missing[0]
        error = UnavailableError(first.detail, where=first.name, remedy=first.remedy)
    code = EXIT_OK if error is None else error.exit_code
    return reporter.finish(Outcome(found.to_json(), error, code))
