"""Targets that compute in the types that the graph states, and the network as they take INT8.

TensorRT from 11 on always does; TensorRT 10 does where a graph is quantised. What isn't INT8 runs
there in the dtype of the scales beside it, so these are FP16 (ADR 0012).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from roadworthy.backends import registry
from roadworthy.core.progress import Progress
from roadworthy.core.samples import Samples
from roadworthy.core.target import Target
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.pipeline.account import Evidence
from roadworthy.precision.quantize import named, split
from roadworthy.precision.raising import HALF_SCALES, adds_otherwise, raised, same_answers
from roadworthy.precision.scoring import LITERAL, PLAIN
from roadworthy.precision.typed import opset_of
from roadworthy.verify.engine import judge_cases, tolerances

if TYPE_CHECKING:
    import onnx_ir as ir


class Stated(NamedTuple):
    """A network whose opset has FP16 scales, or as it was, and what a reader must know of that."""

    model: ir.Model
    note: str


def wants_types(target: Target) -> bool:
    """Tell whether a target computes in the types that the graph states, whatever it is told.

    TensorRT from 11 on does. Before, it chooses by its flags; 8.6 doesn't even keep to casts.
    """
    return _tensorrt(target) >= 11


def states_int8(target: Target, extra: Iterable[tuple[str, str]]) -> bool:
    """Tell whether a target computes an INT8 graph in the types that it states.

    TensorRT from 10 on does, and reads `HALF_SCALES`: 10.0 reads opset 20.

    Args:
        target: what is built for.
        extra: the backend's own options; `typing=weak` leaves the types to TensorRT 10.
    """
    version = _tensorrt(target)
    return version >= 11 or (version == 10 and ("typing", "weak") not in extra)


def _tensorrt(target: Target) -> int:
    """Return a target's major version of TensorRT; 0 for another backend, which isn't asked."""
    if target.backend != "tensorrt":
        return 0
    found = registry.find(target.backend).fingerprint(target)
    return int(found["version"].partition(".")[0])


def stated(model: ir.Model, evidence: Evidence, samples: Samples, progress: Progress) -> Stated:
    """Take a network to the opset that has FP16 scales, if its answers stay the same.

    They must have the same bits in ONNX Runtime. Where that itself adds up in another order from
    that opset on, they must be right by the FP32 tolerance.

    Args:
        model: FP32, with named nodes.
        evidence: its trusted answers.
        samples: that it is calibrated with; some are run.
        progress: told what is being done.
    """
    before = opset_of(model)
    found, reason = raised(model)
    if found is model and not reason:
        return Stated(model, "")
    if not reason:
        progress(f"opset {HALF_SCALES}", 0.0)
        signature = evidence.prepared.signature
        if not same_answers(model, found, signature, split(samples).held_back):
            reason = "its answers changed"
            if adds_otherwise(model) and _is_right(found, evidence, progress):
                reason = ""
    if reason:
        return Stated(
            model,
            f"scales and INT8 results are FP32: the network stays at ONNX opset {before}, which "
            f"has no FP16 for them, and couldn't be taken to {HALF_SCALES}: {reason}",
        )
    # The version converter's new nodes have no names.
    return Stated(named(found), f"taken from ONNX opset {before} to {HALF_SCALES}, for FP16 scales")


def _is_right(model: ir.Model, evidence: Evidence, progress: Progress) -> bool:
    """Judge a network computed literally as an FP32 engine is judged."""
    trusted = evidence.prepared.trusted
    engine = registry.find(LITERAL.backend).compile(
        model, evidence.prepared.signature, LITERAL, PLAIN
    )
    limits = tolerances(trusted, arithmetic_depth(evidence.model))
    return judge_cases(
        engine, trusted.cases, limits, lambda what, share: progress(f"opset: {what}", share)
    ).passed
