"""Conv and MaxPool with `auto_pad` by ONNX's definition, for its reference evaluator.

Those of onnx 1.21 are wrong on these; each made right networks, as some exporters write them,
unjudgeable:

1. Conv pads for VALID, which means none, as for SAME_UPPER.
2. Conv pads a negative number of rows for SAME_UPPER and SAME_LOWER where the kernel is smaller
   than the stride; it is none then.
3. MaxPool without strides mixes up the axes of padding that isn't the same on both sides, and with
   strides takes SAME_LOWER for less than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx.reference.ops.op_conv import Conv as _Conv
from onnx.reference.ops.op_max_pool import MaxPool as _MaxPool

from roadworthy.core.signature import Array


class Conv(_Conv):
    """Cases 1 and 2."""

    def _run(self, *inputs: Any, **stated: Any) -> Any:
        theirs: Any = super()
        kernel = stated["kernel_shape"] or inputs[1].shape[2:]
        return theirs._run(*inputs, **_padded(inputs[0], kernel, stated))


class MaxPool(_MaxPool):
    """Case 3."""

    def _run(self, *inputs: Any, **stated: Any) -> Any:
        theirs: Any = super()
        # The way of those with strides, which is right for padding that is stated.
        return theirs._max_pool(*inputs, **_padded(inputs[0], stated["kernel_shape"], stated))


def _padded(x: Array, kernel: Sequence[int], stated: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes with `pads` in the place of `auto_pad`: all before, then all behind."""
    how = stated["auto_pad"]
    if how in (None, "NOTSET"):
        return stated
    before, behind = [], []
    ones = [1] * len(kernel)
    strides, dilations = stated["strides"] or ones, stated["dilations"] or ones
    for size, taps, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        reach = (taps - 1) * dilation + 1
        # As many results as strides begin in the input (onnx: "Conv", `auto_pad`).
        whole = (-(-size // stride) - 1) * stride + reach - size
        total = 0 if how == "VALID" else max(0, whole)
        before.append(total // 2 if how == "SAME_UPPER" else total - total // 2)
        behind.append(total - before[-1])
    return {**stated, "auto_pad": "NOTSET", "pads": before + behind}
