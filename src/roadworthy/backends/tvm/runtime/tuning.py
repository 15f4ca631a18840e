"""Tiles tried out, as long as there is time."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from .schedules import Scheduled, Scheduler


class Tuner:
    """Measures tiles, the costliest functions first, until the time is used up."""

    def __init__(
        self, tvm: Any, target: Any, scheduler: Scheduler, say: Callable[[str], None]
    ) -> None:
        self.tvm, self.target, self.scheduler, self.say = tvm, target, scheduler, say
        self.budget = self.seconds = 0.0
        self.measured = self.tuned = self.improved = 0

    def account(self, functions: int) -> Dict[str, Any]:
        """Return what was done, of how many functions, as plain data."""
        return {
            "budget_seconds": self.budget,
            "seconds": round(self.seconds, 1),
            "candidates_measured": self.measured,
            "functions": functions,
            "functions_tuned": self.tuned,
            "functions_improved": self.improved,
        }

    def tune(self, functions: Dict[Any, Tuple[Any, Scheduled]], seconds: float) -> Dict[Any, Any]:
        """Return the functions for which something faster was found."""
        start = time.monotonic()
        self.budget, best = seconds, {}
        costly = sorted(functions, key=lambda name: -functions[name][1].steps)
        for count, name in enumerate(costly, 1):
            if time.monotonic() - start >= seconds:
                break
            plain, now = functions[name]
            first, fastest, found = self._fastest(plain, now, start + seconds)
            if found is not None:
                best[name] = found
            self.say(
                "tuning %d of %d, %s: %.3f ms, was %.3f ms"
                % (count, len(costly), name.name_hint, fastest * 1e3, first * 1e3)
            )
        self.seconds = time.monotonic() - start
        return best

    def _fastest(self, plain: Any, now: Scheduled, until: float) -> Tuple[float, float, Any]:
        """Return the rule's time, the best one, and the function that takes it if it is another."""
        arguments = self._arguments(plain)
        best = self._call(now.function)
        first = fastest = self._seconds(best, arguments)
        seen, found = {str(now.function)}, None
        for tile in self.scheduler.tiles():
            if time.monotonic() >= until:
                break
            tried = self.scheduler.schedule(plain, tile)
            if tried.kind != "tiled" or str(tried.function) in seen:
                continue
            seen.add(str(tried.function))
            call = self._call(tried.function)
            took = self._seconds(call, arguments)
            if took < fastest:
                # The best so far may have met a busy moment: it is measured again beside this one.
                fastest = min(fastest, self._seconds(best, arguments))
            if took < 0.97 * fastest:  # less is noise
                best, fastest, found = call, took, tried.function
        else:
            self.tuned += 1
        self.improved += found is not None
        return first, fastest, found

    def _arguments(self, function: Any) -> List[Any]:
        """Return arrays of the parameters' shapes; zeros, so that indices are valid."""
        tensors = []
        for buffer in function.params:
            shape = [int(size) for size in buffer.shape]
            tensors.append(self.tvm.runtime.tensor(np.zeros(shape, str(buffer.dtype))))
        return tensors

    def _call(self, function: Any) -> Any:
        """Compile one function by itself."""
        self.measured += 1
        module = self.tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
        return self.tvm.compile(module, self.target)["main"]

    def _seconds(self, call: Any, arguments: List[Any]) -> float:
        """Return the best time of several calls."""
        call(*arguments)
        times: List[float] = []
        while len(times) < 5 or (sum(times) < 0.03 and len(times) < 100):
            start = time.perf_counter()
            call(*arguments)
            times.append(time.perf_counter() - start)
        return min(times)
