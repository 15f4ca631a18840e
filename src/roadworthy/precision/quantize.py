"""From a network and real samples to an INT8 network for one dialect, with the reasons."""

from __future__ import annotations

import math
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
from roadworthy.precision.scales import make_plan

if TYPE_CHECKING:
    import onnx_ir as ir

AUTO = "auto"
# Held back from calibration to compare the methods on: every eighth sample, at most so many, so
# that they come from all over the data.
_HELD_BACK_EVERY = 8
_MOST_HELD_BACK = 8
_FEW_SAMPLES = 16
# Methods that score so near to each other on a few samples are alike.
_ALIKE_DB = 0.5
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
        scores: of the methods, best first; none where the method was given.
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
        return {
            **self.plan.summary(),
            "calibration": dict(self.plan.account),
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
    method: str = AUTO,
    threads: int | None = None,
    keep: Path | None = None,
    progress: Progress,
) -> Calibration:
    """Calibrate once for several placements, for a method or all; arguments as of `calibrate`."""
    # Not only where scales come from: with an island in between a tensor has one of its own.
    tensors = {name for placement in placements for name in placement.activations}
    return calibrate(
        model,
        samples,
        sorted(tensors),
        histograms=method != "minmax",
        threads=threads,
        keep=keep,
        progress=progress,
    )


def split(samples: Samples) -> tuple[Samples, Samples, tuple[str, ...]]:
    """Return what to calibrate with, what to compare methods on, and what to say about it."""
    if len(samples) < 4:
        note = f"{len(samples)} samples: the methods were compared on what they were calibrated on"
        usable = [item for item in samples.items if _is_finite(item.load())]
        # Where none is usable, calibration says so, sample by sample.
        return samples, Samples(samples.source, samples.kind, usable or samples.items), (note,)
    # Of few samples every fourth: one alone would be no judge.
    step = _HELD_BACK_EVERY if len(samples) >= _FEW_SAMPLES else _HELD_BACK_EVERY // 2
    chosen = range(step // 2, len(samples), step)[:_MOST_HELD_BACK]
    # With a NaN every method is as bad; calibration leaves such a sample out, and names it.
    nearest = (
        next((i for i in range(first, len(samples))[:step] if _is_finite(samples[i])), None)
        for first in chosen
    )
    held = {index for index in nearest if index is not None}
    parts = [
        Samples(samples.source, samples.kind, [samples.items[i] for i in indices])
        for indices in (
            [i for i in range(len(samples)) if i not in held],
            sorted(held),
        )
    ]
    return parts[0], parts[1], ()


def _is_finite(feed: Feed) -> bool:
    return all(np.isfinite(array).all() for array in feed.values() if array.dtype.kind == "f")


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
    if method != AUTO:
        plan = make_plan(model, placement, calibration, method)
        return Quantization(lower(model, plan, dialect), plan, (), 0)
    exact = list(literal_answers(model, signature, unseen))
    scores = []
    for index, name in enumerate(METHODS):
        progress(f"quantise: {name}", index / len(METHODS))
        lowered = lower(model, make_plan(model, placement, calibration, name), dialect)
        scores.append(_score(name, exact, literal_answers(lowered, signature, unseen)))
    chosen = _best(scores)
    plan = make_plan(model, placement, calibration, chosen)
    ranked = sorted(scores, key=lambda score: -score.sqnr_db)
    return Quantization(lower(model, plan, dialect), plan, tuple(ranked), len(unseen), notes)


def _best(scores: Sequence[MethodScore]) -> str:
    """Return the first method, the simplest, that is about as good as the best one."""
    best = max(score.sqnr_db for score in scores)
    return next(
        score.method
        for score in scores
        if score.sqnr_db == best or score.sqnr_db >= best - _ALIKE_DB
    )


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
            answer = got[name]
            # Another number of detections, say: nothing of it is right.
            alike = reference.shape == answer.shape
            if reference.dtype.kind != "f":
                same = float(np.mean(reference == answer)) if alike and reference.size else 1.0
                equal.setdefault(name, []).append(same if alike else 0.0)
                continue
            wanted = reference.astype(np.float64)
            error = wanted - answer if alike else wanted
            signal[name] = signal.get(name, 0.0) + float((wanted**2).sum())
            noise[name] = noise.get(name, 0.0) + float((error**2).sum())
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
