"""Loop and Scan by ONNX's definitions, for its reference evaluator, whose own differ from them.

Those of onnx 1.21 are wrong, or give up, on these; each made right networks unjudgeable:

1. Loop whose `cond` is left out, which is a plain for-loop: it made no trip.
2. What a Loop collects gets a new first axis: it was joined along the first axis there was, and
   scalars got a second one. After no trip there are none: it raised.
3. Scan with another number of states than of scanned inputs: it mixed them up.
4. Scan along another axis, or backwards: it raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from roadworthy.core.signature import Array


class _Repeated(OpRun):
    """What both have: a body that is run with the names around it, and stacks of its outputs."""

    body: ReferenceEvaluator

    def need_context(self) -> bool:
        """Say that the body may use the values around the node."""
        return True

    def _once(self, given: Sequence[Any], around: Mapping[str, Any]) -> list[Any]:
        feed = {**around["context"], **dict(zip(self.body.input_names, given, strict=True))}
        return list(self.body.run(None, feed, attributes=around["attributes"]))

    def _stacked(self, collected: Sequence[Sequence[Array]], axes: Sequence[int]) -> list[Array]:
        declared = self.body.proto_.output[len(self.body.output_names) - len(collected) :]
        return [
            np.stack(items, axis) if items else _no_items(value.type.tensor_type, axis)
            for value, items, axis in zip(declared, collected, axes, strict=True)
        ]


class Loop(_Repeated):
    """Cases 1 and 2."""

    def _run(
        self, trips: Array | None, going: Array | None, *states: Any, **around: Any
    ) -> tuple[Any, ...]:
        now: list[Any] = list(states)
        collected: list[list[Array]] = [[] for _ in self.body.output_names[1 + len(now) :]]
        limit = np.inf if trips is None else trips.item()
        go = np.array(going is None or going.item())
        trip = 0
        while go.item() and trip < limit:
            go, *outputs = self._once((np.array(trip, np.int64), go, *now), around)
            now = outputs[: len(now)]
            for items, output in zip(collected, outputs[len(now) :], strict=True):
                items.append(output)
            trip += 1
        return (*now, *self._stacked(collected, [0] * len(collected)))


class Scan(_Repeated):
    """Cases 3 and 4."""

    num_scan_inputs: int
    scan_input_axes: Sequence[int] | None
    scan_input_directions: Sequence[int] | None
    scan_output_axes: Sequence[int] | None
    scan_output_directions: Sequence[int] | None

    def _run(self, *inputs: Any, **around: Any) -> tuple[Any, ...]:
        states = len(inputs) - self.num_scan_inputs
        now, scanned = list(inputs[:states]), inputs[states:]
        collected: list[list[Array]] = [[] for _ in self.body.output_names[states:]]
        none, nothing = [0] * len(scanned), [0] * len(collected)
        axes, turned = self.scan_input_axes or none, self.scan_input_directions or none
        rows = [
            np.moveaxis(array, axis, 0)[:: -1 if backwards else 1]
            for array, axis, backwards in zip(scanned, axes, turned, strict=True)
        ]
        for given in zip(*rows, strict=True):
            outputs = self._once((*now, *given), around)
            now = outputs[:states]
            for items, output in zip(collected, outputs[states:], strict=True):
                items.append(output)
        for items, backwards in zip(collected, self.scan_output_directions or nothing, strict=True):
            if backwards:
                items.reverse()
        return (*now, *self._stacked(collected, self.scan_output_axes or nothing))


def _no_items(declared: onnx.TypeProto.Tensor, axis: int) -> Array:
    """Return a stack of none: axes that the body doesn't tell are 0, as ONNX Runtime has them."""
    shape = [dim.dim_value for dim in declared.shape.dim]
    shape.insert(axis if axis >= 0 else axis + len(shape) + 1, 0)
    return np.empty(shape, tensor_dtype_to_np_dtype(declared.elem_type))
