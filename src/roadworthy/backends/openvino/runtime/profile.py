"""Where the time goes: the executed steps of a model that was compiled with counters."""

from __future__ import annotations

import statistics
from typing import Any, Dict, List, Mapping

import numpy as np

from .arrays import lend
from .failure import plainly
from .library import ov
from .ports import Ports
from .steps import steps_of, usual_precision


def rows_of(
    compiled: Any, inputs: Ports, feed: Mapping[str, np.ndarray], runs: int
) -> List[Dict[str, Any]]:
    """Return one row per executed step with its median time; see `Runner.profile`."""
    taken: Dict[str, List[float]] = {}
    kinds: Dict[str, str] = {}
    with plainly():
        request = compiled.create_infer_request()
        kept = lend(request, inputs, feed)
        for number in range(runs + 1):
            request.infer(share_outputs=True)
            for step in request.profiling_info if number else ():  # the first one warms up
                if step.status == ov.ProfilingInfo.Status.EXECUTED:
                    micro = step.real_time.total_seconds() * 1e6
                    taken.setdefault(step.node_name, []).append(micro)
                    kinds[step.node_name] = step.node_type
    del kept
    origins = {step["name"]: step for step in steps_of(compiled)}
    medians = {name: statistics.median(values) for name, values in taken.items()}
    total = sum(medians.values()) or 1.0
    return [
        {
            "name": name,
            "onnx": origins.get(name, {}).get("origins", []),
            "kind": kinds[name],
            "precision": usual_precision(origins.get(name, {}).get("precision", "")),
            "tactic": origins.get(name, {}).get("primitive", ""),
            "median_us": median,
            "share": median / total,
        }
        for name, median in medians.items()
    ]
