"""From a network and real samples to an INT8 network for one dialect, with the reasons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Answers, Feed, Signature
from roadworthy.core.target import Target
from roadworthy.precision.calibrate import Calibration, Progress, calibrate
from roadworthy.precision.dialect import Dialect
from roadworthy.precision.lower import lower
from roadworthy.precision.methods import METHODS
from roadworthy.precision.placement import Placement, place
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.scales import make_plan, scale_source

if TYPE_CHECKING:
    import onnx_ir as ir

AUTO = "auto"
# Held back from calibration to compare the methods on: every eighth sample, at most so many.
_HELD_BACK_EVERY = 8
_MOST_HELD_BACK = 8
# Q/DQ computed as ONNX defines them, operator by operator, in FP32: what a plan means.
LITERAL = Target("onnxruntime")
PLAIN = CompileOptions(optimise=False, spinning=False)


@dataclass(frozen=True, slots=True)
class MethodScore:
    """How well a method did on samples that it hadn't seen.

    Attributes:
        method: its name.
        sqnr_db: signal to quantisation noise of the worst floating output, in dB.
        outputs: the same for every output; others than floating ones as share of equal elements.
    """

    method: str
    sqnr_db: float
    outputs: Mapping[str, float]


@dataclass(frozen=True)
class Quantization:
    """An INT8 network.

    Attributes:
        model: the graph with Q/DQ in it.
        plan: which node and tensor runs in which dtype, and why.
        scores: of the methods, best first; one only where the method was given.
        held_back: how many samples the scores come from.
        notes: what a reader must know about the comparison.
    """

    model: ir.Model
    plan: PrecisionPlan
    scores: tuple[MethodScore, ...]
    held_back: int
    notes: tuple[str, ...] = ()

    def account(self) -> dict[str, Any]:
        """Return what a certificate says: nodes by dtype, exceptions with reasons, the methods."""
        plan = self.plan
        counts = Counter(item.dtype for item in plan.decisions)
        return {
            "precision": plan.precision,
            "dialect": plan.dialect,
            "nodes": dict(counts),
            "exceptions": [
                {
                    "node": item.node,
                    "op_type": item.op_type,
                    "dtype": item.dtype,
                    "why": item.reason,
                }
                for item in plan.exceptions
            ],
            "calibration": dict(plan.account),
            "scores": [
                {"method": item.method, "sqnr_db": item.sqnr_db, "outputs": dict(item.outputs)}
                for item in self.scores
            ],
            "held_back": self.held_back,
            "notes": list(self.notes),
        }


def named(model: ir.Model) -> ir.Model:
    """Return a copy whose nodes all have names of their own: plans speak of nodes by name."""
    from onnx_ir.passes.common import NameFixPass

    copy = model.clone()
    NameFixPass()(copy)
    return copy


def observe(
    model: ir.Model,
    placements: Iterable[Placement],
    samples: Samples,
    *,
    threads: int | None = None,
    keep: Path | None = None,
    progress: Progress,
) -> Calibration:
    """Calibrate once for several placements; arguments as of `calibrate`."""
    tensors = {
        scale_source(name, placement) for placement in placements for name in placement.activations
    }
    return calibrate(model, samples, sorted(tensors), threads=threads, keep=keep, progress=progress)


def split(samples: Samples) -> tuple[Samples, Samples, tuple[str, ...]]:
    """Return what to calibrate with, what to compare methods on, and what to say about it."""
    if len(samples) < 4:
        note = f"{len(samples)} samples: the methods were compared on what they were calibrated on"
        return samples, samples, (note,)
    chosen = range(_HELD_BACK_EVERY // 2, len(samples), _HELD_BACK_EVERY) or range(1)
    held = set(list(chosen)[:_MOST_HELD_BACK])
    parts = [
        Samples(samples.source, samples.kind, [samples.items[i] for i in indices])
        for indices in (
            [i for i in range(len(samples)) if i not in held],
            sorted(held),
        )
    ]
    return parts[0], parts[1], ()


def quantize(
    model: ir.Model,
    signature: Signature,
    dialect: Dialect,
    calibration: Calibration,
    unseen: Samples,
    *,
    method: str = AUTO,
    islands: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
    progress: Progress,
) -> Quantization:
    """Quantise a network for a dialect.

    Args:
        model: FP32, with named nodes; left as it is.
        signature: its inputs and outputs.
        dialect: whose rules.
        calibration: of this network, see `observe`.
        unseen: samples that the methods are compared on.
        method: "auto" keeps the best of all.
        islands: nodes that must stay in float, with the reason.
        notes: about the comparison, see `split`.
        progress: told what is being done.

    Raises:
        UsageError: an unknown method.
    """
    placement = place(model, dialect, islands)
    tried = tuple(METHODS) if method == AUTO else (method,)
    exact = list(literal_answers(model, signature, unseen))
    found = []
    for index, name in enumerate(tried):
        progress(f"quantise: {name}", index / len(tried))
        plan = make_plan(model, placement, calibration, name)
        lowered = lower(model, plan, dialect)
        score = _score(name, exact, literal_answers(lowered, signature, unseen))
        found.append((score, plan, lowered))
    # The first of equals: METHODS has the simplest first.
    found.sort(key=lambda item: -item[0].sqnr_db)
    best = found[0]
    scores = tuple(score for score, _, _ in found)
    return Quantization(best[2], best[1], scores, len(unseen), notes)


def literal_answers(
    model: ir.Model, signature: Signature, feeds: Iterable[Feed]
) -> Iterable[Answers]:
    """Yield the answers of a graph computed as it is written, nothing fused or replaced."""
    engine = find(LITERAL.backend).compile(model, signature, LITERAL, PLAIN)
    with engine.open() as session:
        for feed in feeds:
            yield session.run(feed)


def _score(method: str, exact: Sequence[Answers], answers: Iterable[Answers]) -> MethodScore:
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    equal: dict[str, list[float]] = {}
    for expected, got in zip(exact, answers, strict=True):
        for name, reference in expected.items():
            if reference.dtype.kind != "f":
                equal.setdefault(name, []).append(float((reference == got[name]).mean()))
                continue
            wanted = reference.astype(np.float64)
            signal[name] = signal.get(name, 0.0) + float((wanted**2).sum())
            noise[name] = noise.get(name, 0.0) + float(((wanted - got[name]) ** 2).sum())
    outputs = {name: sqnr_db(signal[name], noise[name]) for name in signal}
    worst = min(outputs.values(), default=-math.inf)
    shares = {name: float(np.mean(values)) for name, values in equal.items()}
    if not outputs:
        # Labels only: more equal ones are better.
        worst = min(shares.values(), default=0.0)
    return MethodScore(method, worst, outputs | shares)


def sqnr_db(signal: float, noise: float) -> float:
    """Return 10·log10(signal power / noise power); infinite without noise, NaN is the worst."""
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return -math.inf
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf
