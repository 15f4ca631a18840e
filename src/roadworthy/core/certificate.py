"""Everything measured about one engine, as plain data: a page for people, JSON for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roadworthy.core.account import SamplesAccount
from roadworthy.core.verdict import Verdict

SCHEMA = "roadworthy/certificate/1"

SMOKE_TEST = "smoke test"
ONE_SHAPE = "one shape only"
SINGLE_ORACLE = "single oracle"


@dataclass(frozen=True, slots=True)
class ModelAccount:
    """What the ONNX model is that was compiled."""

    source: str
    digest: str
    ir_version: int
    opset: int
    nodes: int
    parameters: int
    depth: int
    signature: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReferenceAccount:
    """Who judged, and how noisy the judge is.

    `noise` is, per output, the worst sample's FP32-against-FP64 relative L2 (share of differing
    elements for outputs that aren't floating); None where FP64 couldn't be had.
    """

    kind: str
    judge: str
    fine: str | None
    noise: Mapping[str, float | None]
    notes: tuple[str, ...] = ()
    account: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class ExportAttempt:
    """One exporter's try: `outcome` is "kept", "raised", "disagrees" or "not tried"."""

    exporter: str
    outcome: str
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PassRecord:
    """One guarded pass: kept, rolled back or not applicable, and why."""

    name: str
    outcome: str
    detail: str
    nodes_before: int
    nodes_after: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of single runs, in milliseconds; `p99_ms` only from 1,000 runs on.

    `warmup_runs` were thrown away until the times were steady (`steady` tells if they ever were).
    `throughput` is samples per second, one run after another. `threads` of one run; None is as many
    as the runtime took on another host.
    """

    subject: str
    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float | None
    mean_ms: float
    throughput: float
    batch: int
    threads: int | None
    warmup_runs: int
    steady: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two subjects timed in alternating blocks of one run, each idle while the other is timed.

    `ratio` is baseline time over subject time (above 1: the subject is faster), the median over
    the pairs of blocks, with a 95 % bootstrap interval over the pairs.
    """

    subject: Latency
    baseline: Latency
    ratio: float
    ratio_low: float
    ratio_high: float
    pairs: int
    sizes: Mapping[str, int]

    def in_words(self) -> str:
        """Say who is faster, or that this can't be told: where the interval holds 1."""
        first, second = self.subject.subject, self.baseline.subject
        if self.ratio_low > 1:
            said = f"{first} is faster than {second}"
        elif self.ratio_high < 1:
            said = f"{first} is slower than {second}"
        else:
            said = f"{first} can't be told apart from {second} in speed"
        interval = f"{self.ratio_low:.3f} to {self.ratio_high:.3f}"
        return f"{said}: {self.ratio:.3f} times as fast (95 % interval {interval})"


@dataclass(frozen=True, slots=True)
class Certificate:
    """All the evidence about one engine.

    `calling` is how Python calls the source and what that returns (`source.torch.structure`); None
    for an ONNX file. `lowering` says what was quantised, how, and what not and why; None where the
    model was compiled as it is. `choice` is what this engine was chosen by, where several could
    have shipped: each comparison's subject had to be shown to be faster than its baseline.
    """

    target: str
    precision: str
    passed: bool
    labels: tuple[str, ...]
    model: ModelAccount
    engine: Mapping[str, Any]
    samples: SamplesAccount
    reference: ReferenceAccount
    verdict: Verdict
    exports: tuple[ExportAttempt, ...]
    passes: tuple[PassRecord, ...]
    latency: Latency | None
    comparison: Comparison | None
    environment: Mapping[str, Any]
    created: str
    roadworthy: str
    calling: Mapping[str, Any] | None = None
    lowering: Mapping[str, Any] | None = None
    choice: tuple[Comparison, ...] = ()
    schema: str = SCHEMA
