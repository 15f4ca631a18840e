"""Standard output and standard error, as commands use them.

With `--json` standard output is kept for one document: whatever else writes to it, be it a user's
module or a library's C++ code, is sent to standard error. A reader that went away
(`roadworthy … | head`) ends the talking, not the work.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TextIO

# Where the document goes; None as long as nobody claimed standard output.
_document: TextIO | None = None
# All control characters but tab and line feed, and those that turn the direction of writing.
_STEERING = (range(9), range(11, 32), range(127, 160), range(0x202A, 0x202F), range(0x2066, 0x206A))
_SHOWN = {code: ascii(chr(code))[1:-1] for codes in _STEERING for code in codes}


def claim_output() -> None:
    """Keep standard output for the document; file descriptor 1 becomes standard error."""
    global _document
    if _document is not None or sys.stdout is None:
        return
    sys.stdout.flush()
    _document = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    if sys.stderr is None:
        sys.stdout = io.StringIO()
        return
    os.dup2(2, 1)
    sys.stdout = sys.stderr


def speak_any_text() -> None:
    """Let no character that a terminal can't show, nor a file's odd name, end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def readable(text: str) -> str:
    """Return text with what would steer a terminal written out: names come from others' files."""
    return text.translate(_SHOWN)


def put_document(text: str) -> None:
    """Write the document and flush it.

    Raises:
        OSError: it couldn't be delivered; a reader that went away is no error.
    """
    if _document is None:
        put(sys.stdout, text)
        return
    with _document:
        put(_document, text)


def put(stream: TextIO | None, text: str) -> None:
    """Write text and flush it; None, as Python has it for a closed stream, takes nothing.

    Raises:
        OSError: it couldn't be delivered; a reader that went away is no error.
    """
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # What is still in the buffer would fail once more when Python shuts down.
        _discard_from_now_on(stream)
        if error.errno != errno.EPIPE:
            raise


def _discard_from_now_on(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor, or closed
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()
