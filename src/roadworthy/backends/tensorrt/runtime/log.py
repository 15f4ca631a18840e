"""What TensorRT says while it works, collected."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, List


class Lines:
    """What TensorRT said: (severity letter, text). Bounded; errors are kept apart."""

    def __init__(self, most: int = 4000) -> None:
        self.all: List[str] = []
        self.errors: List[str] = []
        self.warnings: List[str] = []
        self._most = most

    def add(self, letter: str, text: str) -> None:
        """Take one line."""
        kept = {"E": self.errors, "F": self.errors, "W": self.warnings}.get(letter)
        if kept is not None and text not in kept and len(kept) < 100:
            kept.append(text)
        if len(self.all) < self._most:
            self.all.append("[%s] %s" % (letter, text))

    def reason(self, fallback: str) -> str:
        """Return the errors as one text, without TensorRT's file positions; they are done then."""
        lines = list(self.errors or self.warnings[-3:])
        self.errors.clear()
        told = [_unwrapped(line) for line in lines]
        return "; ".join(OrderedDict.fromkeys(told[:6])) or fallback


def _unwrapped(line: str) -> str:
    """Return the text of a message: TensorRT says "2: [x.cpp::f::12] text", and then once more
    "[x.cpp::f::12] Error Code 2: Internal Error (text)".
    """
    text = re.sub(r"^(\d+: )?\[[\w./:<>~]+\] ?", "", line)
    inside = re.match(r"^Error Code \d+: [\w ]+ \((.*)\)$", text)
    return (inside.group(1) if inside else text).strip()


def make_log(trt: Any, lines: Lines) -> Any:
    """Return an ILogger that collects; TensorRT calls it from several threads."""

    class Log(trt.ILogger):  # type: ignore[misc]  # of Any: its module is imported late
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            letter = str(severity).rsplit(".", 1)[-1][0]
            if letter != "V":
                lines.add("F" if "INTERNAL" in str(severity) else letter, msg)

    return Log()
