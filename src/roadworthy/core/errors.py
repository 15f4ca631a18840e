"""Everything that roadworthy raises on purpose, and the exit code each one means.

    RoadworthyError             exit 1   a defect in roadworthy, unless a class below says otherwise
    ├── UsageError              exit 2   the command or the call makes no sense as written
    │   └── InputError          exit 2   a file, array or folder isn't what it should be
    │       ├── SamplesError    exit 2   samples are missing, malformed, or of another shape
    │       ├── WeightsError    exit 2   weights don't fit the network
    │       ├── BundleError     exit 2   a bundle is damaged, incomplete, or of another version
    │       └── UntrustedError  exit 2   reading it would run code; say --trust to allow that
    ├── WrongAnswersError       exit 3   verification failed
    │   └── OraclesDisagreeError exit 3  the trusted answers contradict each other
    ├── UnavailableError        exit 4   this target or precision isn't to be had here
    │   ├── MissingExtraError   exit 4   a package is missing; the remedy is one command
    │   ├── CompileError        exit 4   a runtime refused the model
    │   └── RunError            exit 4   a runtime failed while running the model
    │       └── DiedError       exit 4   it can't go on: its process died or hung, memory ran out
    └── BudgetError             exit 5   it works, but not within the stated budget

Messages say what happened (`what`), where (`where`: node, tensor, file) and what to do (`remedy`).
Foreign exceptions are translated where they enter, with `raise … from`.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_OK = 0
EXIT_DEFECT = 1
EXIT_USAGE = 2
EXIT_WRONG = 3
EXIT_UNAVAILABLE = 4
EXIT_BUDGET = 5
EXIT_INTERRUPTED = 130

# `deploy` with several targets reports the worst of theirs, in this order (DESIGN.md).
EXIT_SEVERITY = (EXIT_DEFECT, EXIT_WRONG, EXIT_BUDGET, EXIT_UNAVAILABLE)


class RoadworthyError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: one sentence, what happened.
        where: the node, tensor, file or option concerned.
        remedy: what the user can do about it, as a sentence or a command.
    """

    code: ClassVar[str] = "defect"
    exit_code: ClassVar[int] = EXIT_DEFECT

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.remedy:
            parts.append(f"  remedy: {self.remedy}")
        return "\n".join(parts)

    def to_json(self) -> dict[str, str | None]:
        """Return the `error` object of the command line's JSON document."""
        return {
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "remedy": self.remedy,
        }


class UsageError(RoadworthyError):
    """The command or the call makes no sense as written."""

    code = "usage"
    exit_code = EXIT_USAGE


class InputError(UsageError):
    """A file, array or folder isn't what it should be."""

    code = "input"


class SamplesError(InputError):
    """Samples are missing, malformed, or of another shape than the network takes."""

    code = "samples"


class WeightsError(InputError):
    """Weights don't fit the network."""

    code = "weights"


class BundleError(InputError):
    """A bundle is damaged, incomplete, or of an unknown version."""

    code = "bundle"


class UntrustedError(InputError):
    """Reading this would run code that the file brings along."""

    code = "untrusted"


class WrongAnswersError(RoadworthyError):
    """An engine's answers differ from the reference by more than the tolerance."""

    code = "wrong-answers"
    exit_code = EXIT_WRONG


class OraclesDisagreeError(WrongAnswersError):
    """Two trusted sources of the reference contradict each other, so neither can judge."""

    code = "oracles-disagree"


class UnavailableError(RoadworthyError):
    """This target or precision isn't to be had here."""

    code = "unavailable"
    exit_code = EXIT_UNAVAILABLE


class MissingExtraError(UnavailableError):
    """An optional package is missing; the remedy is the one command that installs it."""

    code = "missing-extra"

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed",
            where=f"import {package}",
            remedy=f'pip install "roadworthy[{extra}]"',
        )


class CompileError(UnavailableError):
    """A runtime refused the model."""

    code = "compile"


class RunError(UnavailableError):
    """A runtime failed while running the model."""

    code = "run"


class DiedError(RunError):
    """A runtime can't go on: its process died or hung, or memory ran out. No answer, good or bad.

    Unlike a model that a runtime refuses to run on some input, which is a failed verification.
    """

    code = "died"


class BudgetError(RoadworthyError):
    """The engine works, but not within the budget that was asked for."""

    code = "budget"
    exit_code = EXIT_BUDGET


def worst_exit_code(codes: list[int]) -> int:
    """Return the exit code that stands for several targets: 0 only when all are 0.

    The order of gravity is DESIGN.md's: 1, 3, 5, 4; any other code comes after those.
    """
    failures = [code for code in codes if code != EXIT_OK]
    if not failures:
        return EXIT_OK
    for code in EXIT_SEVERITY:
        if code in failures:
            return code
    return failures[0]
