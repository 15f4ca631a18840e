"""What OpenVINO raises, said plainly."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, Sequence

_NO_NEWS = (
    "Exception from ",
    "FrontEnd API failed with ",
    "Model wasn't fully converted",
    "Summary:",
    "To facilitate the conversion of unsupported operations",
)


@contextmanager
def plainly() -> Iterator[None]:
    """Raise OpenVINO's errors as RuntimeError with the sentence that matters first."""
    try:
        yield
    except Exception as error:
        foreign = isinstance(error, (RuntimeError, ValueError)) or (
            type(error).__module__.startswith("openvino")
        )
        if not foreign:
            raise
        raise RuntimeError(_message(str(error))) from error


def _message(text: str) -> str:
    """Return what was wrong, without the lines that only tell where in OpenVINO it was raised."""
    lines = [line.strip().lstrip("- ") for line in text.splitlines()]
    useful = [line for line in lines if line and not line.startswith(_NO_NEWS)]
    # "Check 'x == y' failed at file:12:" stands before its own explanation, if there is one.
    told = [line for line in useful if not line.startswith("Check '")] or useful
    return " ".join(told[:4]) or text.strip()


def some(names: Sequence[str]) -> str:
    """Return some of the names, and how many more there are."""
    return ", ".join(names[:3]) + (" and %d more" % (len(names) - 3) if len(names) > 3 else "")
