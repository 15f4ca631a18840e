"""What a process said before it died, in one line."""

from __future__ import annotations

_LINES = 8


def last_words(log: str) -> str:
    """Return the last lines of a log as one line, "" for an empty one.

    What a runtime said comes before Python's own account of a crash (faulthandler's), and tells
    more: everything after its headline is left out.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    fatal = [i for i, line in enumerate(lines) if line.startswith("Fatal Python error")]
    end = fatal[0] + 1 if fatal else len(lines)
    return " | ".join(lines[max(0, end - _LINES) : end])
