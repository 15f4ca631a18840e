"""What TensorRT says while it works, collected."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from contextlib import contextmanager
from typing import Any, Deque, Iterator, List, Optional


class Lines:
    """What TensorRT said: (severity letter, text). Bounded; errors are kept apart."""

    def __init__(self, first: int = 1000, last: int = 3000) -> None:
        self._first: List[str] = []
        self._last: Deque[str] = deque(maxlen=last)
        self._most_first = first
        self._later = 0
        self.errors: List[str] = []
        self.warnings: List[str] = []
        self._harmless: Optional[List[str]] = None

    def add(self, letter: str, text: str) -> None:
        """Take one line."""
        if letter in "EF" and self._harmless is not None:
            self._harmless.append(text)
            letter = "I"
        kept = {"E": self.errors, "F": self.errors, "W": self.warnings}.get(letter)
        if kept is not None and text not in kept and len(kept) < 100:
            kept.append(text)
        line = "[%s] %s" % (letter, text)
        if len(self._first) < self._most_first:
            self._first.append(line)
        else:
            self._last.append(line)
            self._later += 1

    @property
    def all(self) -> List[str]:
        """The lines: how it began and how it ended, and how many are missing between."""
        missing = self._later - len(self._last)
        gap = ["[… %d lines are left out here …]" % missing] if missing else []
        return self._first + gap + list(self._last)

    def reason(self, fallback: str) -> str:
        """Return the errors as one text, without TensorRT's file positions; they are done then."""
        lines = list(self.errors or self.warnings[-3:])
        self.errors.clear()
        return self.told(lines) or fallback

    @staticmethod
    def told(lines: List[str]) -> str:
        """Return lines as one text, without TensorRT's file positions."""
        told = [_unwrapped(line) for line in lines]
        return "; ".join(OrderedDict.fromkeys(told[:6]))

    @contextmanager
    def harmless(self) -> Iterator[List[str]]:
        """Take errors, that TensorRT gets over by itself, for information; give them as a list."""
        found: List[str] = []
        self._harmless = found
        try:
            yield found
        finally:
            self._harmless = None


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
