"""The command line's entry: builds the commands, and turns every ending into an exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

import typer

from roadworthy.cli import (
    bench,
    bundle,
    deploy,
    doctor,
    interrupts,
    predict,
    profile,
    quantize,
    report,
    verify,
)
from roadworthy.cli.output import Outcome, Reporter
from roadworthy.cli.run import run as run_command
from roadworthy.cli.streams import claim_output, put, speak_any_text
from roadworthy.core.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    RoadworthyError,
    UnavailableError,
    UsageError,
)

# Click's ClickException, reached so that it is the right one whether Typer brings its own Click
# along (from 0.26) or uses the installed one: BadParameter < UsageError < ClickException.
_ClickError = typer.BadParameter.__mro__[2]
# What the system may refuse to anyone; every other OSError that escapes is a defect.
_REFUSALS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.ELOOP, errno.ETXTBSY),
    }
)

app = typer.Typer(
    name="roadworthy",
    help="From a trained network to a fast engine, with proof that its answers are still right.",
    epilog="Exit codes: 0 done and verified, 1 a defect in roadworthy, 2 bad usage or unreadable "
    "input, 3 wrong answers, 4 target or precision not to be had here, 5 budget not met, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("deploy")(deploy.deploy)
app.command("quantize")(quantize.quantize)
app.command("verify")(verify.verify)
app.command("bench")(bench.bench)
app.command("run")(run_command)
app.command("profile")(profile.profile)
app.command("predict")(predict.predict)
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)
app.add_typer(bundle.app, name="bundle")


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    """What holds before any command."""
    if version:
        from importlib import metadata

        typer.echo(metadata.version("roadworthy"))
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; prints, never raises on purpose."""
    command = _command_name(arguments)
    reporter = Reporter(command, "--json" in arguments)
    try:
        code = typer.main.get_command(app).main(
            args=list(arguments), prog_name="roadworthy", standalone_mode=False
        )
    except (KeyboardInterrupt, Exception) as error:
        return _finish(reporter, _explained(error, command))
    # Typer itself turns Ctrl-C into this number.
    if code == EXIT_INTERRUPTED:
        return _finish(reporter, _InterruptedError())
    return code if isinstance(code, int) else EXIT_OK


def _finish(reporter: Reporter, error: RoadworthyError) -> int:
    if isinstance(error, _HelpError):
        put(sys.stdout, f"{error.what}\n")
        return EXIT_USAGE
    if error.__cause__ is not None and error.exit_code == RoadworthyError.exit_code:
        import traceback

        put(sys.stderr, "".join(traceback.format_exception(error.__cause__)))
    return reporter.finish(Outcome(error=error, exit_code=error.exit_code))


class _InterruptedError(RoadworthyError):
    code = "interrupted"
    exit_code = EXIT_INTERRUPTED

    def __init__(self) -> None:
        super().__init__("interrupted; nothing was left half-written")


class _HelpError(UsageError):
    """Not an error: a command that is nothing by itself shows what can follow it."""


def _explained(error: BaseException, command: str) -> RoadworthyError:
    """Return whatever ended a command as one of our errors."""
    if isinstance(error, RoadworthyError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return _InterruptedError()
    if isinstance(error, _ClickError):
        message: str = error.format_message()  # type: ignore[attr-defined]  # of either Click
        if type(error).__name__ == "NoArgsIsHelpError":
            return _HelpError(message)
        return UsageError(
            message.replace("\n", " "),
            where=command or None,
            remedy=f"{_help_line(command)} shows the usage",
        )
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return UsageError(
            f"the system refuses: {error.strerror}",
            where=None if error.filename is None else str(error.filename),
            remedy="make room or give permission there, then run it again",
        )
    if isinstance(error, MemoryError):
        return UnavailableError(
            f"there isn't enough memory: {error}" if str(error) else "there isn't enough memory",
            remedy="narrow the ranges in --inputs, give smaller samples, or use a larger machine",
        )
    return _defect(error)


def _defect(error: BaseException) -> RoadworthyError:
    """Whatever else escapes is ours: say so; the traceback for the report goes before it."""
    found = RoadworthyError(
        f"this is a defect in roadworthy: {type(error).__name__}: {error}",
        where=_innermost(error),
        remedy="please report it, with the command and the traceback",
    )
    found.__cause__ = error
    return found


def _innermost(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    frame = trace.tb_frame
    module = frame.f_globals.get("__name__", "?")
    return f"{module}.{frame.f_code.co_qualname}, line {trace.tb_lineno}"


def _command_name(arguments: Sequence[str]) -> str:
    words = [word for word in arguments if not word.startswith("-")]
    if not words:
        return ""
    if words[0] == "bundle" and len(words) > 1:
        return f"bundle {words[1]}"
    return words[0]


def _help_line(command: str) -> str:
    """Return the longest part of a command line that exists, with --help."""
    known = {item.name for item in app.registered_commands} | {"bundle"}
    first, _, second = command.partition(" ")
    inner = {item.name for item in bundle.app.registered_commands}
    words = [first] if first in known else []
    words += [second] if words and second in inner else []
    return " ".join(["roadworthy", *words, "--help"])


def main() -> None:
    """Run the command line of this process."""
    arguments = sys.argv[1:]
    speak_any_text()
    if "--json" in arguments:
        claim_output()
    try:
        interrupts.listen()
        code = run(arguments)
    except KeyboardInterrupt:  # while another ending was being told
        interrupts.stop_listening()
        code = EXIT_INTERRUPTED
    interrupts.stop_listening()
    sys.exit(code)
