"""The command line's entry: builds the commands, and turns every ending into an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import typer

from roadworthy.cli import bench, bundle, deploy, doctor, predict, report, verify
from roadworthy.cli.output import Outcome, Reporter
from roadworthy.core.errors import (
    EXIT_DEFECT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    RoadworthyError,
    UsageError,
)

app = typer.Typer(
    name="roadworthy",
    help="From a trained network to a fast engine, with proof that its answers are still right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("deploy")(deploy.deploy)
app.command("verify")(verify.verify)
app.command("bench")(bench.bench)
app.command("predict")(predict.predict)
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)
app.add_typer(bundle.app, name="bundle")


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    """Exit codes: 0 done and verified, 1 a defect in roadworthy, 2 bad usage or unreadable input,
    3 wrong answers, 4 target or precision not to be had here, 5 budget not met, 130 interrupted.
    """
    if version:
        from importlib import metadata

        typer.echo(metadata.version("roadworthy"))
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; prints, never raises on purpose."""
    as_json = "--json" in arguments
    command = _command_name(arguments)
    reporter = Reporter(command, as_json)
    try:
        code = typer.main.get_command(app).main(
            args=list(arguments), prog_name="roadworthy", standalone_mode=False
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return EXIT_USAGE
    except click.ClickException as error:
        problem = UsageError(
            error.format_message(), where=command, remedy=f"{_help_line(command)} shows the usage"
        )
        return reporter.finish(Outcome(error=problem, exit_code=EXIT_USAGE))
    except (KeyboardInterrupt, click.Abort, EOFError):
        return reporter.finish(Outcome(error=_InterruptedError(), exit_code=EXIT_INTERRUPTED))
    except RoadworthyError as error:
        return reporter.finish(Outcome(error=error, exit_code=error.exit_code))
    except BrokenPipeError:
        return EXIT_OK
    except Exception as error:
        return reporter.finish(Outcome(error=_defect(error, as_json), exit_code=EXIT_DEFECT))
    return code if isinstance(code, int) else EXIT_OK


class _InterruptedError(RoadworthyError):
    code = "interrupted"
    exit_code = EXIT_INTERRUPTED

    def __init__(self) -> None:
        super().__init__("interrupted; nothing was left half-written")


def _defect(error: Exception, as_json: bool) -> RoadworthyError:
    """Whatever else escapes is ours: say so, with the traceback for the report."""
    if not as_json:
        import traceback

        traceback.print_exception(error)
    frames = _frames(error)
    return RoadworthyError(
        f"this is a defect in roadworthy: {type(error).__name__}: {error}",
        where=frames,
        remedy="please report it, with the command and the traceback (without --json)",
    )


def _frames(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f"{code.co_qualname}, line {trace.tb_lineno}"


def _command_name(arguments: Sequence[str]) -> str:
    words = [word for word in arguments if not word.startswith("-")]
    if not words:
        return ""
    if words[0] == "bundle" and len(words) > 1:
        return f"bundle {words[1]}"
    return words[0]


def _help_line(command: str) -> str:
    return f"roadworthy {command} --help" if command else "roadworthy --help"


def _terminate(_signal: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line of this process."""
    # SIGTERM cleans up like Ctrl-C: partial files are removed on the way out.
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))
