"""Ctrl-C, SIGTERM and SIGHUP end a command alike: it cleans up behind itself and exits 130."""

from __future__ import annotations

import signal
import time
from types import FrameType

# `timeout`, supervisors and a second Ctrl-C repeat themselves; cleaning up isn't cut short by that.
_DEAF_SECONDS = 2.0
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class _Handler:
    """Raises `KeyboardInterrupt` where the main thread is, but not again within a moment."""

    def __init__(self) -> None:
        self._heard = float("-inf")

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._heard < _DEAF_SECONDS:
            return
        self._heard = now
        raise KeyboardInterrupt


def listen() -> None:
    """Take the signals over; those that somebody had ignored (`nohup`) stay ignored."""
    handler = _Handler()
    for number in _numbers():
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def stop_listening() -> None:
    """Ignore them from now on: the end is being written, and is written once."""
    for number in _numbers():
        if isinstance(signal.getsignal(number), _Handler):
            signal.signal(number, signal.SIG_IGN)


def _numbers() -> list[signal.Signals]:
    return [signal.Signals[name] for name in _NAMES if hasattr(signal, name)]
