"""TVM's own options, from `--option name=value`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from roadworthy.backends.base import CompileOptions
from roadworthy.core.errors import UsageError

_KNOWN = {
    "tuning_seconds": "tuning_seconds=SECONDS measures schedules for so long (0: by rule only)",
    "mcpu": "mcpu=NAME builds for a CPU by LLVM's name, e.g. x86-64-v3 (default: the one it is on)",
}


@dataclass(frozen=True, slots=True)
class TvmOptions:
    """What `--option` can say to TVM.

    Attributes:
        tuning_seconds: how long to measure schedules on the machine that builds, in seconds.
        mcpu: LLVM's name of the CPU to build for; None is the CPU of the machine that builds.
    """

    tuning_seconds: float = 0.0
    mcpu: str | None = None

    @classmethod
    def parse(cls, options: CompileOptions) -> TvmOptions:
        """Read the textual options.

        Raises:
            UsageError: an unknown name or value.
        """
        given = dict(options.extra)
        for name in given:
            if name not in _KNOWN:
                raise _refusal(f"TVM has no option {name!r}")
        mcpu = given.get("mcpu")
        if mcpu is not None and not re.fullmatch(r"[A-Za-z0-9_.+-]+", mcpu):
            raise _refusal(f"TVM's option mcpu can't be {mcpu!r}")
        return cls(_seconds(given.get("tuning_seconds", "0")), mcpu)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not math.isfinite(value) or value < 0:
        raise _refusal(f"TVM's option tuning_seconds can't be {text!r}")
    return value


def _refusal(what: str) -> UsageError:
    known = "; ".join(f"tvm.{text}" for text in _KNOWN.values())
    return UsageError(what, where="--option", remedy=f"there are: {known}")
