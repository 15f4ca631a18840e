"""Where a run's time goes: the calls of TVM's virtual machine, timed by its instrument."""

from __future__ import annotations

import statistics
import time
from typing import Any, Dict, List

_PRECISIONS = {"float16": "fp16", "float32": "fp32", "float64": "fp64"}


class Calls:
    """Time by function and run. Of a call that makes others (a branch), only its own share.

    Each call carries the instrument's own cost, a microsecond or so.
    """

    def __init__(self) -> None:
        self._runs: List[Dict[str, int]] = []
        self._precisions: Dict[str, str] = {}
        # Calls that haven't returned: when they began, and what they have spent in others.
        self._open: List[List[int]] = []

    def begin_run(self) -> None:
        """Count what follows as another run."""
        self._runs.append({})

    def instrument(
        self, _function: Any, name: str, before: bool, _result: Any, *arguments: Any
    ) -> None:
        """Be told of a call; see `VirtualMachine.set_instrument`."""
        now = time.perf_counter_ns()
        if before:
            if name not in self._precisions:
                self._precisions[name] = _precision(name, arguments)
            self._open.append([time.perf_counter_ns(), 0])
            return
        start, elsewhere = self._open.pop()
        run = self._runs[-1]
        run[name] = run.get(name, 0) + now - start - elsewhere
        if self._open:
            self._open[-1][1] += now - start

    def rows(self) -> List[Dict[str, Any]]:
        """Return the functions in the order of their first call, with their median time per run.

        The first run warms up and doesn't count.
        """
        taken: Dict[str, List[float]] = {}
        for run in self._runs[1:]:
            for name, nanoseconds in run.items():
                taken.setdefault(name, []).append(nanoseconds / 1e3)
        medians = {name: statistics.median(values) for name, values in taken.items()}
        total = sum(medians.values()) or 1.0
        order = sorted(medians, key=list(self._precisions).index)
        return [
            {
                "name": name,
                # TVM fuses nodes into functions and keeps no account of which.
                "onnx": [],
                "kind": "builtin" if _is_builtin(name) else "function",
                "precision": self._precisions[name],
                "tactic": "",
                "median_us": round(medians[name], 3),
                "share": round(medians[name] / total, 5),
            }
            for name in order
        ]


def _is_builtin(name: str) -> bool:
    """Tell the virtual machine's own work (memory, checks of shapes) from compiled functions."""
    return name.startswith("vm.builtin.")


def _precision(name: str, arguments: Any) -> str:
    """Return what a function computes in, by its last array: its result is written there."""
    dtypes = [str(argument.dtype) for argument in arguments if hasattr(argument, "dtype")]
    return _PRECISIONS.get(dtypes[-1], "other") if dtypes and not _is_builtin(name) else ""
