"""What a certificate's `lowering` holds, as checked types: the plan, its ranges, the methods.

As `precision.quantize.Quantization.account` writes it; a plan of casts has no methods to compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Exempt:
    """A node that was planned in another dtype than was asked for, and why."""

    node: str
    op_type: str
    dtype: str
    why: str


@dataclass(frozen=True, slots=True)
class Ranges:
    """What the calibration saw.

    Attributes:
        method: that chose the ranges.
        count: samples that were used.
        skipped: samples that were left out, with the reason.
        tensors: how many were observed.
        dead_channels: per tensor, how many of its channels never changed.
        saturation: per tensor, the share of values beyond the chosen range.
        findings: what a person should look at.
        seconds: how long it took.
        ranges: per tensor, its smallest and largest finite value, in the order of the network.
        source: where the samples come from.
        data_set: digest of all samples that were given, those that were held back too.
        samples: digest of those that calibrated. Certificates of before may lack the last four.
    """

    method: str
    count: int
    skipped: Mapping[str, str]
    tensors: int
    dead_channels: Mapping[str, int] = field(default_factory=dict)
    saturation: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    seconds: float = 0.0
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    source: str = ""
    data_set: str = ""
    samples: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """A method's SQNR in dB: of the worst output and of each; a discrete one's share of equals."""

    method: str
    sqnr_db: float
    outputs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Biases:
    """Whether correcting biases paid: nodes that have one, the score without and with it."""

    nodes: int
    without_db: float
    with_db: float
    kept: bool


@dataclass(frozen=True, slots=True)
class LoweringAccount:
    """How a network came to its reduced precision.

    Attributes:
        precision: what was planned for.
        dialect: the runtime whose rules placed it; empty where types were written into the graph.
        nodes: per dtype, how many nodes that compute.
        exceptions: the nodes in another dtype than `precision`.
        calibration: the ranges, and where they come from.
        scores: of the methods that were compared, best first.
        held_back: how many samples they were compared on.
        bias_correction: whether it paid; None where there was none to try.
        notes: what a reader must know about that comparison.
        split: how those that were held back were chosen; empty where nothing is recorded.
    """

    precision: str
    dialect: str
    nodes: Mapping[str, int]
    exceptions: tuple[Exempt, ...]
    calibration: Ranges
    scores: tuple[Score, ...] = ()
    held_back: int = 0
    bias_correction: Biases | None = None
    notes: tuple[str, ...] = ()
    split: str = ""

    @property
    def is_apart(self) -> bool:
        """Tell whether the samples that were held back are others than those that calibrated."""
        seen = self.calibration
        if seen.data_set and seen.samples:
            return seen.data_set != seen.samples
        # Before there were digests of both, a note said that they were the same.
        return not self.notes
