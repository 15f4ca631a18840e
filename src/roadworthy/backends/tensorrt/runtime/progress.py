"""Signs of life during a long build, and TensorRT's own phases where it tells them."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict


class Heartbeat:
    """Says the phase and the elapsed time every few seconds while a long call works."""

    def __init__(self, say: Callable[[str], None], every: float = 2.0) -> None:
        self.phase = "starting"
        self._say, self._every = say, every
        self._start = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        while not self._stop.wait(self._every):
            self.tell()

    def tell(self) -> None:
        """Say where it stands, now."""
        self._say("%s, %.0f s" % (self.phase, time.monotonic() - self._start))

    def enter(self, phase: str) -> None:
        """Say that another phase has begun."""
        self.phase = phase
        self.tell()

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()


def attach_monitor(trt: Any, config: Any, beat: Heartbeat) -> Any:
    """Let TensorRT 10 and later tell the heartbeat its phases; returns what must stay alive."""
    if hasattr(trt, "IProgressMonitor"):

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # of Any: imported late
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)
                self._steps: Dict[str, int] = {}

            def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
                self._steps[phase_name] = num_steps
                beat.phase = phase_name

            def phase_finish(self, phase_name: str) -> None:
                self._steps.pop(phase_name, None)

            def step_complete(self, phase_name: str, step: int) -> bool:
                beat.phase = "%s %d/%d" % (phase_name, step + 1, self._steps.get(phase_name, 0))
                return True

        monitor = Monitor()
        config.progress_monitor = monitor
        return monitor
    return None
