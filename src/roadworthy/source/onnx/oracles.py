"""Who is trusted with a bare ONNX file: two independent implementations, or we say "single oracle".

The judge is ONNX Runtime with its optimisations off. It is checked against ONNX's own reference
evaluator in FP64 (which also gives the noise floor; ONNX Runtime has no double Conv), in a child
process within a time budget because it can be 70 times slower, and against OpenVINO in FP32 where
that backend is installed. Oracles that disagree: neither can judge, exit 3, both shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from roadworthy.backends import registry
from roadworthy.backends.base import CompileOptions
from roadworthy.backends.session import Session
from roadworthy.core.certificate import SINGLE_ORACLE
from roadworthy.core.errors import OraclesDisagreeError, RoadworthyError
from roadworthy.core.progress import Progress
from roadworthy.core.reference import Oracle, Reference
from roadworthy.core.signature import Answers, Array, Feed, Signature, dtype_name
from roadworthy.core.target import Target
from roadworthy.graph.quantised import is_quantised
from roadworthy.graph.serial import is_large, weight_bytes
from roadworthy.source.onnx.evaluator import EVALUATOR_SECONDS, EvaluatorOracle
from roadworthy.verify.metrics import compare_pair
from roadworthy.verify.tolerance import (
    FP32_CEILING,
    MISMATCH_FLOOR,
    ORACLES_AGREE,
    QUANTISED_ORACLES_AGREE,
    is_floating,
)

# Feeds on which the oracles are compared, at most.
_COMPARED = 2
_INDEPENDENT_BACKENDS = ("openvino",)


class BackendOracle:
    """A backend used as an oracle: FP32, its own optimisations off where it has a switch."""

    def __init__(self, model: ir.Model, signature: Signature, backend: str) -> None:
        target = Target(backend)
        options = CompileOptions(optimise=False, spinning=False)
        engine = registry.find(backend).compile(model, signature, target, options)
        self._session: Session = engine.open()
        version = engine.fingerprint.get("version", "")
        # Not every runtime has a switch for its optimisations; then it says so in its proof.
        state = engine.proof.get("optimisations", "off")
        self.name = f"{backend} {version}, optimisations {state}, FP32".replace("  ", " ")

    def run(self, feed: Feed) -> Answers:
        """Return the answers, or raise `RunError`."""
        return self._session.run(feed)

    def close(self) -> None:
        """Give the session back, which has a copy of the weights; nothing can be asked any more."""
        self._session.close()


def onnx_reference(
    model: ir.Model,
    signature: Signature,
    feeds: Sequence[tuple[str, Feed]],
    progress: Progress,
    seconds: float = EVALUATOR_SECONDS,
) -> Reference:
    """Make the reference of a bare ONNX file and compare its oracles with one another.

    Args:
        model: the file as it came, before any pass.
        signature: its signature.
        feeds: real inputs, at least one; the first few are used.
        progress: called with what is being done.
        seconds: the evaluator's time budget.

    Raises:
        OraclesDisagreeError: two oracles contradict each other.
        UnavailableError: ONNX Runtime can't run the model at all.
    """
    judge = BackendOracle(model, signature, "onnxruntime")
    notes: list[str] = []
    agreement: dict[str, object] = {}
    witnesses = 0
    fine: Oracle | None = _evaluator(model, seconds, notes)
    agree = QUANTISED_ORACLES_AGREE if is_quantised(model) else ORACLES_AGREE
    others = [] if fine is None else [fine]
    for oracle in (*others, *_other_oracles(model, signature, notes)):
        progress(f"oracle: {oracle.name}", 0.0)
        compared, worst = _compare(judge, oracle, feeds[:_COMPARED], agree, notes)
        if compared:
            witnesses += 1
            agreement[oracle.name] = {"feeds": compared, "worst_difference": worst}
        elif oracle is fine:
            fine = None
    labels = () if witnesses else (SINGLE_ORACLE,)
    # At derived inputs, which may be harder on FP32 than samples, no engine could be judged beyond.
    limit = max(agree, FP32_CEILING)
    return Reference(judge, fine, "oracles", labels, tuple(notes), {"agreement": agreement}, limit)


def _evaluator(model: ir.Model, seconds: float, notes: list[str]) -> Oracle | None:
    """Return ONNX's evaluator; None, and a note, for a model too large to be copied in FP64."""
    if not is_large(model):
        return EvaluatorOracle(model, seconds)
    notes.append(
        f"{EvaluatorOracle.name}: not asked: the network has {weight_bytes(model) / 1e9:.1f} GB of "
        "weights, which it would hold several times over in FP64"
    )
    return None


def _other_oracles(model: ir.Model, signature: Signature, notes: list[str]) -> list[Oracle]:
    found: list[Oracle] = []
    for name in _INDEPENDENT_BACKENDS:
        if name not in registry.names():
            continue
        support = registry.find(name).supports(Target(name))
        if not support.ok:
            continue
        try:
            found.append(BackendOracle(model, signature, name))
        except RoadworthyError as error:
            notes.append(f"{name} can't be an oracle here: {error.what}")
    return found


def _compare(
    judge: Oracle,
    other: Oracle,
    feeds: Sequence[tuple[str, Feed]],
    agree: float,
    notes: list[str],
) -> tuple[int, float]:
    """Return (feeds compared, worst difference); raise when they contradict each other."""
    worst, count = 0.0, 0
    for name, feed in feeds:
        expected = judge.run(feed)
        try:
            answers = other.run(feed)
        except RoadworthyError as error:
            notes.append(f"{other.name}: {error.what}")
            break
        for output, array in expected.items():
            difference, limit = _difference(array, answers[output], agree)
            if not difference <= limit:
                apart = f"differ by {difference:.3g} (limit {limit:.0e})"
                if array.shape != answers[output].shape:
                    apart = "give arrays of other shapes"
                raise OraclesDisagreeError(
                    f"two trusted implementations contradict each other on output {output!r}: "
                    f"{judge.name} and {other.name} {apart}; "
                    f"{_summary(array)} against {_summary(answers[output])}",
                    where=f"sample {name}",
                    remedy="give trusted answers: --reference FILE.npz, or the source framework",
                )
            worst = max(worst, difference)
        count += 1
    return count, worst


def _difference(judge: Array, other: Array, agree: float) -> tuple[float, float]:
    if judge.shape != other.shape:
        return float("inf"), 0.0
    if is_floating(dtype_name(judge.dtype)):
        wide = np.complex128 if judge.dtype.kind == "c" else np.float64
        pair = compare_pair(other.astype(wide), judge.astype(wide))
        return (float("inf") if pair.nonfinite else pair.relative_l2), agree
    same_kind = other.astype(judge.dtype)
    return compare_pair(same_kind, judge).mismatch_share, 10 * MISMATCH_FLOOR


def _summary(array: Array) -> str:
    flat = array.reshape(-1)[:3]
    return f"shape {list(array.shape)}, first values {[v.item() for v in flat]}"
