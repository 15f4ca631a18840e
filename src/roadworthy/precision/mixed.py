"""INT8 with the rest in FP16, for runtimes that compute in the types that the graph states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from roadworthy.precision.half import plan_half, to_half
from roadworthy.precision.half.quantised import DEQUANTISES, QUANTISES
from roadworthy.precision.plan import Decision, PrecisionPlan
from roadworthy.precision.quantize import Quantization

NO_GAIN = "not an operator that INT8 speeds up"


def with_half_rest(made: Quantization, ranges: Mapping[str, tuple[float, float]]) -> Quantization:
    """Return an INT8 network whose other nodes, scales and INT8 results are FP16 where they may.

    The integers stay the same, bit for bit.

    Args:
        made: INT8, for a dialect whose scales are exact in FP16 (`Dialect.is_half`).
        ranges: of every FP32 tensor of the network that it was made from, as of `plan_half`.

    Returns:
        The network, and a plan that names every node that computes. A QuantizeLinear or
        DequantizeLinear is in it only where it stays FP32.
    """
    half = plan_half(made.model, "fp16", ranges, quantised=True)
    decisions = tuple(_decisions(made.plan, half))
    plan = replace(made.plan, decisions=decisions)
    return replace(made, model=to_half(made.model, half), plan=plan)


def _decisions(int8: PrecisionPlan, half: PrecisionPlan) -> Iterator[Decision]:
    known = {item.node: item for item in int8.decisions}
    for item in half.decisions:
        first = known.get(item.node)
        if first is not None and first.dtype == int8.precision:
            yield first
        elif item.op_type in (QUANTISES, DEQUANTISES):
            if item.dtype == "fp32":
                yield item
        elif item.dtype == "fp32":
            why = item.reason if first is None else f"{first.reason}; and not fp16: {item.reason}"
            yield replace(item, reason=why)
        else:
            yield replace(item, reason=NO_GAIN if first is None else first.reason)
