"""What TVM raises, told apart from defects of ours and said in one line."""

from __future__ import annotations

import contextlib
from typing import Iterator


def said(error: BaseException) -> str:
    """Return the telling line of an exception: TVM's carry whole programs and C++ traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return "%s: %s" % (type(error).__name__, text[:300]) if text else type(error).__name__


def is_foreign(error: BaseException) -> bool:
    """Tell what TVM raised (any class at all: much of it is Python) from our own defects."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__package__") != __package__


@contextlib.contextmanager
def plainly(what: str) -> Iterator[None]:
    """Turn TVM's exceptions, which carry C++ traces, into one line."""
    try:
        yield
    except Exception as error:  # TVM's own classes, and whatever its bindings raise
        if type(error) is RuntimeError and str(error).startswith("TVM"):
            raise
        raise RuntimeError("TVM %s: %s" % (what, said(error))) from error
