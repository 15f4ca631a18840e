"""Let torch's exporters talk to us instead of to the terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

_LOGGERS = ("torch", "onnxscript", "onnx_ir", "onnx")
_KEPT = 200
# Said on every export, whatever the network is; of no use to anyone.
_NOISE = (
    "torchvision is not installed",
    "legacy TorchScript-based ONNX export",
    "The feature will be removed",
    "isinstance(treespec, LeafSpec)",
)


class _OneThread(io.TextIOBase):
    """A stream that keeps what one thread writes and passes other threads' writing on.

    A progress display that lives in another thread must go on reaching the terminal.
    """

    def __init__(self, stream: TextIO, lines: list[str]) -> None:
        self._stream = stream
        self._lines = lines
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() != self._thread:
            return self._stream.write(text)
        self._lines += [line for line in text.splitlines() if line.strip()]
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in typeshed
        return self._stream.encoding


class _Keeping(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{record.levelname.lower()}: {record.getMessage()}")


@contextlib.contextmanager
def quietly() -> Iterator[list[str]]:
    """Catch what this thread prints, logs and warns; yield the lines, complete when it ends."""
    lines: list[str] = []
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(_OneThread(sys.stdout, lines)),
        contextlib.redirect_stderr(_OneThread(sys.stderr, lines)),
        _handlers_replaced(_Keeping(lines)),
    ):
        warnings.simplefilter("always")
        try:
            yield lines
        finally:
            lines += [_one_line(warning) for warning in caught]
            lines[:] = _useful(lines)


def _one_line(warning: warnings.WarningMessage) -> str:
    text = str(warning.message).strip()
    return f"{warning.category.__name__}: {text.splitlines()[0] if text else ''}"


def _useful(lines: list[str]) -> list[str]:
    kept = [line for line in lines if not any(noise in line for noise in _NOISE)]
    return list(dict.fromkeys(kept))[:_KEPT]


@contextlib.contextmanager
def _handlers_replaced(handler: logging.Handler) -> Iterator[None]:
    """Give the exporters' loggers one handler, ours, for the duration."""
    loggers = [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in _LOGGERS
    ]
    known = {logger.name for logger in loggers}
    loggers += [logging.getLogger(name) for name in _LOGGERS if name not in known]
    before: list[tuple[logging.Logger, list[Any], bool]] = []
    for logger in loggers:
        before.append((logger, logger.handlers, logger.propagate))
        top = logger.name in _LOGGERS
        logger.handlers, logger.propagate = [handler] if top else [], not top
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
