"""`PrecisionPlan`: which tensor or node runs in which dtype, and why. Plain data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roadworthy.core.errors import InputError

SCHEMA = "roadworthy/precision-plan/1"


@dataclass(frozen=True, slots=True)
class Decision:
    """One node's dtype. `reason` says why it isn't the plan's own precision; empty where it is.

    `dtype` is a name as in "int8", "fp16", "bf16" or "fp32".
    """

    node: str
    op_type: str
    dtype: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Quantized:
    """One tensor that passes through Q/DQ: real value = scale · (q − zero_point).

    Attributes:
        tensor: the value's name in the graph.
        dtype: "int8" or "uint8"; "int32" for a bias.
        scale: one float32 value, or one per channel; finite and above zero.
        zero_point: as many as `scale`.
        axis: of the channels; None with one scale.
        weight: True for an initialiser, which is stored quantised.
    """

    tensor: str
    dtype: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    weight: bool = False

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.zero_point):
            raise ValueError(f"{self.tensor}: {len(self.scale)} scales, other zero-points")
        if not all(0.0 < scale < math.inf for scale in self.scale):
            raise ValueError(f"{self.tensor}: a scale is finite and above zero")
        if self.axis is None and len(self.scale) != 1:
            raise ValueError(f"{self.tensor}: {len(self.scale)} scales need an axis")


@dataclass(frozen=True, slots=True)
class Correction:
    """What is added to a node's bias to take back the mean error of its rounding.

    Attributes:
        node: the node whose output it corrects.
        tensor: the initialiser that holds the bias, float32 of shape (channels,).
        values: one for each channel.
    """

    node: str
    tensor: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.values)):
            raise ValueError(f"{self.tensor}: a correction is finite")


@dataclass(frozen=True)
class PrecisionPlan:
    """What a network's nodes run in, as decided for one dialect.

    Attributes:
        precision: what was asked for: "int8", "fp16" or "bf16".
        dialect: whose rules placed it, e.g. "onnxruntime" or "tensorrt"; empty for casts.
        decisions: every node that computes, in the order of the graph.
        tensors: what is quantised; empty for casts.
        account: of the calibration, as JSON values; empty where none was needed.
        corrections: of biases; empty where they don't pay.
    """

    precision: str
    dialect: str
    decisions: tuple[Decision, ...]
    tensors: tuple[Quantized, ...] = ()
    account: Mapping[str, Any] = field(default_factory=dict)
    corrections: tuple[Correction, ...] = ()

    @property
    def exceptions(self) -> tuple[Decision, ...]:
        """The nodes that run in another dtype than was asked for, each with its reason."""
        return tuple(item for item in self.decisions if item.dtype != self.precision)

    def dtype_of(self, node: str) -> str | None:
        """Return a node's dtype, None for one that doesn't compute."""
        return self._dtypes.get(node)

    @property
    def _dtypes(self) -> dict[str, str]:
        return {item.node: item.dtype for item in self.decisions}

    def __str__(self) -> str:
        counts = Counter(item.dtype for item in self.decisions)
        told = ", ".join(f"{count} nodes in {dtype}" for dtype, count in counts.most_common())
        reasons = Counter(item.reason for item in self.exceptions)
        lines = [f"{self.precision} plan{f' for {self.dialect}' * bool(self.dialect)}: {told}"]
        lines += [f"  {count} × {reason}" for reason, count in reasons.most_common()]
        return "\n".join(lines)

    def summary(self) -> dict[str, Any]:
        """Return what a certificate says: nodes by dtype, and the exceptions with their reasons."""
        return {
            "precision": self.precision,
            "dialect": self.dialect,
            "nodes": dict(Counter(item.dtype for item in self.decisions)),
            "exceptions": [
                {
                    "node": item.node,
                    "op_type": item.op_type,
                    "dtype": item.dtype,
                    "why": item.reason,
                }
                for item in self.exceptions
            ],
        }

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "precision": self.precision,
            "dialect": self.dialect,
            "decisions": [
                [item.node, item.op_type, item.dtype, item.reason] for item in self.decisions
            ],
            "tensors": [
                {
                    "tensor": item.tensor,
                    "dtype": item.dtype,
                    "scale": list(item.scale),
                    "zero_point": list(item.zero_point),
                    "axis": item.axis,
                    "weight": item.weight,
                }
                for item in self.tensors
            ],
            "corrections": [
                {"node": item.node, "tensor": item.tensor, "values": list(item.values)}
                for item in self.corrections
            ],
            "account": dict(self.account),
        }

    @classmethod
    def from_json(cls, data: Any, where: str) -> PrecisionPlan:
        """Read the JSON form.

        Raises:
            InputError: it isn't one.
        """
        try:
            if data["schema"] != SCHEMA:
                raise ValueError(f"schema {data['schema']!r}")
            return cls(
                str(data["precision"]),
                str(data["dialect"]),
                tuple(Decision(*map(str, item)) for item in data["decisions"]),
                tuple(
                    Quantized(
                        str(item["tensor"]),
                        str(item["dtype"]),
                        tuple(map(float, item["scale"])),
                        tuple(map(int, item["zero_point"])),
                        None if item["axis"] is None else int(item["axis"]),
                        bool(item["weight"]),
                    )
                    for item in data["tensors"]
                ),
                dict(data["account"]),
                # Plans of before there were corrections have none.
                tuple(
                    Correction(
                        str(item["node"]), str(item["tensor"]), tuple(map(float, item["values"]))
                    )
                    for item in data.get("corrections", ())
                ),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"this is no precision plan: {error}", where=where, remedy="write it again"
            ) from error
