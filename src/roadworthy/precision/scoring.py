"""How near a quantised graph's answers are to the exact ones: one number to compare plans by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.core.signature import Answers, Feed, Signature
from roadworthy.core.target import Target

if TYPE_CHECKING:
    import onnx_ir as ir

# Q/DQ computed as ONNX defines them, operator by operator, in FP32: what a plan means.
LITERAL = Target("onnxruntime")
PLAIN = CompileOptions(optimise=False, spinning=False)


@dataclass(frozen=True, slots=True)
class Score:
    """How near answers are.

    Attributes:
        sqnr_db: signal to quantisation noise of the worst floating output, in dB; without one, the
            worst share of equal elements.
        outputs: the same for every output; others than floating ones as share of equal elements.
        is_share: `sqnr_db` is a share of equal elements, between 0 and 1.
    """

    sqnr_db: float
    outputs: Mapping[str, float]
    is_share: bool = False


def literal_answers(
    model: ir.Model, signature: Signature, feeds: Iterable[Feed]
) -> Iterable[Answers]:
    """Yield the answers of a graph computed as it is written, nothing fused or replaced."""
    # The engine isn't kept: its files are as large as the weights, which the session has.
    with find(LITERAL.backend).compile(model, signature, LITERAL, PLAIN).open() as session:
        for feed in feeds:
            yield session.run(feed)


def score(exact: Sequence[Answers], answers: Iterable[Answers]) -> Score:
    """Compare answers with the exact ones, over all samples together."""
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
    return Score(worst, outputs | shares, not outputs)


def sqnr_db(signal: float, noise: float) -> float:
    """Return 10·log10(signal power / noise power); infinite without noise, NaN is the worst."""
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return -math.inf
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf
