"""What ONNX Runtime's profiler wrote, as rows: which node took how long."""

from __future__ import annotations

import statistics
from typing import Any, Dict, List, Mapping, Tuple

from .graph import Tensors

# Operators that execute a graph of their own: their time contains that of the nodes in it.
_CONTAINERS = {"If", "Loop", "Scan", "SequenceMap"}
# ONNX Runtime's word for an element type, and ours. What isn't here keeps its name.
_TYPES = {"float": "fp32", "double": "fp64", "float16": "fp16", "bfloat16": "bf16"}
_SUFFIX = "_kernel_time"


def by_run(events: List[Dict[str, Any]], runs: int) -> List[List[Dict[str, Any]]]:
    """Return the node events of each run but the first, which warms up; they end with the run's."""
    found: List[List[Dict[str, Any]]] = [[]]
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_SUFFIX):
            found[-1].append(event)
        elif event["name"] == "model_run":
            found.append([])
    if len(found) != runs + 2:
        # Its buffer holds a million events.
        raise RuntimeError(
            "ONNX Runtime's profiler kept %d of %d runs: ask for fewer" % (len(found) - 2, runs)
        )
    return found[1:-1]


def rows_of(runs: List[List[Dict[str, Any]]], nodes: Tensors) -> List[Dict[str, Any]]:
    """Return one row per executed node; what a node took several times in a run is added up."""
    taken: Dict[Tuple[str, str], List[float]] = {}
    told: Dict[Tuple[str, str], Dict[str, Any]] = {}
    for number, run in enumerate(runs):
        for inside, event, own in _owned(run):
            key = (inside, event["name"][: -len(_SUFFIX)])
            told.setdefault(key, event["args"])
            taken.setdefault(key, [0.0] * len(runs))[number] += own
    medians = {key: statistics.median(values) for key, values in taken.items()}
    total = sum(medians.values()) or 1.0
    rows = []
    for (inside, name), median in medians.items():
        args = told[inside, name]
        inputs, outputs = ([], []) if inside else nodes.get(name, ([], []))
        rows.append(
            {
                "name": name,
                "onnx": [],
                "kind": args["op_name"],
                "precision": _precision(args),
                "tactic": args["provider"],
                "median_us": median,
                "share": median / total,
                "index": int(args["node_index"]),
                "inside": inside,
                "inputs": inputs,
                "outputs": outputs,
            }
        )
    return rows


def _owned(run: List[Dict[str, Any]]) -> List[Tuple[str, Dict[str, Any], float]]:
    """Return (container, event, microseconds without what it contains) in the order of starts.

    Events are written when they end: those that started within a container stand before it.
    """
    done: List[Tuple[str, Dict[str, Any], float]] = []
    for event in run:
        own = float(event["dur"])
        first = len(done)
        if event["args"]["op_name"] in _CONTAINERS:
            while first and done[first - 1][1]["ts"] >= event["ts"]:
                first -= 1
            inner, name = done[first:], event["name"][: -len(_SUFFIX)]
            own = max(0.0, own - sum(row[2] for row in inner))
            done[first:] = [
                (name + "/" + inside if inside else name, e, t) for inside, e, t in inner
            ]
        done.insert(first, ("", event, own))
    return done


def _precision(args: Mapping[str, Any]) -> str:
    """Return the element type of a node's first input, else of its first output."""
    for side in ("input_type_shape", "output_type_shape"):
        for kinds in args.get(side, ()):
            for kind in kinds:
                return str(_TYPES.get(kind, kind))
    return ""
