"""Bias correction: the mean error that rounding leaves in a node's output goes into its bias.

Rounding moves the mean of every output channel by E[W̃x̃] − E[Wx]. That is no noise which averages
out: all later layers get it. It is measured on real samples and taken back from the bias (M. Nagel
et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, 4.2).

Each node is measured by itself, on the FP32 network's own activations: beside it stands a *twin*
that computes the same with its input and weights rounded. Measured within the quantised network
instead, an early node's shift shows in every later one and is taken back again in each: that took
the example UNet from 37 dB to 24.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roadworthy.core.progress import Progress
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Array, Feed
from roadworthy.graph.serial import to_files
from roadworthy.precision.calibrate import spread, unfit
from roadworthy.precision.dialect import COMPUTE
from roadworthy.precision.lower import rounded
from roadworthy.precision.operands import channel_axis
from roadworthy.precision.placement import Placement
from roadworthy.precision.plan import Correction, PrecisionPlan
from roadworthy.precision.scales import weight_array
from roadworthy.precision.segments import open_session
from roadworthy.precision.typed import fresh, is_float, opset_of, value_names

if TYPE_CHECKING:
    import onnx_ir as ir

# A mean is taken over all positions, so a few samples do, and of large ones fewer (ADR 0011).
FEWEST_SAMPLES, MOST_SAMPLES = 2, 4
ENOUGH_VALUES = 2**19
# From here on ReduceMean takes its axes as an input.
_AXES_AS_INPUT = 18


def corrections(
    model: ir.Model,
    plan: PrecisionPlan,
    samples: Samples,
    threads: int | None,
    progress: Progress,
) -> tuple[Correction, ...]:
    """Measure the mean shift of every quantised node that has a bias of its own.

    Memory doesn't grow with the samples. The result is the same to the last bit for any order of
    those that are run.

    Args:
        model: FP32, the one that `plan` was made for; left as it is.
        plan: INT8.
        samples: the real ones that it was calibrated with; at most `MOST_SAMPLES`, from all over,
            are run, of large ones fewer. Which ones is by their position.
        threads: of one inference; None takes what this process may use.
        progress: told what is being done.

    Returns:
        For the nodes of the plan in INT8: Conv, ConvTranspose and Gemm with a constant bias, and
        MatMul with an Add of a constant after it, where nothing else reads that constant.
    """
    twins = _Twins(model, plan)
    if not twins.shifts:
        return ()
    means: dict[str, list[Array]] = {name: [] for name in twins.shifts}
    files = to_files(twins.model, "twins.onnx")
    with closing(open_session(files, threads)) as runner:
        del files
        step = -(-len(samples) // (count := enough(samples[0])))
        # Calibration leaves out, and names, what is unfit; the next one is taken instead.
        for index, feed in enumerate(spread(samples, step, lambda feed: not unfit(feed))):
            progress("correct biases", index / count)
            for name, values in runner.run(dict(feed)).items():
                means[name].append(values.astype(np.float64))
    shifts = {twins.shifts[name]: _mean(rows) for name, rows in means.items() if rows}
    return tuple(
        Correction(biased.node, biased.tensor, tuple(map(float, -shift)))
        for biased, shift in shifts.items()
        if np.isfinite(shift).all()
    )


def enough(feed: Feed) -> int:
    """Return how many samples like this one tell a mean over all positions."""
    values = max(1, sum(array.size for array in feed.values()))
    return min(MOST_SAMPLES, max(FEWEST_SAMPLES, math.ceil(ENOUGH_VALUES / values)))


def _mean(rows: Sequence[Array]) -> Array:
    """Return the mean, float32, the same to the last bit for any order of the rows."""
    mean: Array = np.sort(np.stack(rows), axis=0).mean(axis=0).astype(np.float32)
    return mean


@dataclass(frozen=True, slots=True)
class _Biased:
    """A node and the initialiser that is added, one value for each channel, to what it gives."""

    node: str
    tensor: str


class _Twins:
    """A copy of the network with a twin beside every quantised node that has a bias.

    Attributes:
        model: the copy; it gives the shifts and nothing else.
        shifts: by tensor, float32 of shape (channels,), the mean of twin minus node on one sample.
    """

    def __init__(self, model: ir.Model, plan: PrecisionPlan) -> None:
        self.model = model.clone()
        self.shifts: dict[str, _Biased] = {}
        self._graph = self.model.graph
        self._taken = value_names(model) | {node.name or "" for node in model.graph.all_nodes()}
        self._items = {item.tensor: item for item in plan.tensors}
        self._rounded: dict[str, ir.Value] = {}
        self._given: list[ir.Value] = []
        int8 = {item.node for item in plan.decisions if item.dtype == plan.precision}
        for node in list(self._graph):
            if node.op_type in COMPUTE and node.name in int8:
                bias = own_bias(node)
                if bias is not None:
                    self._add(node, bias)
        self._graph.outputs[:] = self._given

    def _add(self, node: ir.Node, bias: ir.Value) -> None:
        data, weight = node.inputs[0], node.inputs[1]
        if data is None or weight is None or not {data.name, weight.name} <= self._items.keys():
            return
        # A product of two activations may run in INT8 too.
        if not self._items[weight.name or ""].weight:
            return
        self._last = node
        given = [self._activation(data), self._weight(weight), *node.inputs[2:]]
        attributes = {name: item.value for name, item in node.attributes.items()}
        twin = self._node(node.op_type, given, attributes)
        shift = self._mean(node, self._node("Sub", [twin, node.outputs[0]]), bias)
        self._given.append(shift)
        self.shifts[shift.name or ""] = _Biased(node.name or "", bias.name or "")

    def _mean(self, node: ir.Node, difference: ir.Value, bias: ir.Value) -> ir.Value:
        """Return the mean over all axes but the channels'."""
        axes = [0]
        if node.op_type == "MatMul":
            # The channels are last, after any number of axes.
            channels = bias.shape[0] if bias.shape is not None else -1
            shape = self._constant(np.array([-1, channels], np.int64))
            difference = self._node("Reshape", [difference, shape])
        elif node.op_type != "Gemm":
            weight = node.inputs[1]
            rank = len(weight.shape) if weight is not None and weight.shape is not None else 4
            axes = [0, *range(2, rank)]
        if opset_of(self.model) < _AXES_AS_INPUT:
            return self._node("ReduceMean", [difference], {"axes": axes, "keepdims": 0})
        wanted = self._constant(np.array(axes, np.int64))
        return self._node("ReduceMean", [difference, wanted], {"keepdims": 0})

    def _activation(self, value: ir.Value) -> ir.Value:
        """Return a tensor as the plan rounds it: once, for all nodes that read it."""
        name = value.name or ""
        if name not in self._rounded:
            item = self._items[name]
            given = [
                self._constant(np.array(item.scale[0], np.float32)),
                self._constant(np.array(item.zero_point[0], item.dtype)),
            ]
            whole = self._node("QuantizeLinear", [value, *given])
            self._rounded[name] = self._node("DequantizeLinear", [whole, *given])
        return self._rounded[name]

    def _weight(self, value: ir.Value) -> ir.Value:
        item = self._items[value.name or ""]
        return self._constant(rounded(weight_array(self.model, item.tensor), item))

    def _constant(self, array: Array) -> ir.Value:
        import onnx_ir as ir

        name = fresh("twin_constant", self._taken)
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self._graph.initializers[name] = value
        return value

    def _node(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
    ) -> ir.Value:
        """Add a node after the last one that was added, and return what it gives."""
        import onnx_ir as ir

        node = ir.node(operator, inputs, attributes, name=fresh("twin", self._taken))
        node.outputs[0].name = fresh("twin_value", self._taken)
        self._graph.insert_after(self._last, node)
        self._last = node
        return node.outputs[0]


def any_to_correct(model: ir.Model, placement: Placement) -> bool:
    """Tell whether a node that would run in INT8 has a bias that could be corrected."""
    int8 = {item.node for item in placement.decisions if item.dtype == "int8"}
    return any(
        node.op_type in COMPUTE and node.name in int8 and own_bias(node) is not None
        for node in model.graph
    )


def own_bias(node: ir.Node) -> ir.Value | None:
    """Return the constant that is added to what a node gives, one value for each channel.

    1. The bias of a Conv, a ConvTranspose, or a Gemm that takes it as it is (beta is 1).
    2. The constant of an Add that is the only one to read a MatMul.

    None where it isn't a vector in FP32, or something else reads it too.
    """
    if node.op_type == "MatMul":
        uses = list(node.outputs[0].uses())
        if len(uses) != 1 or uses[0].node.op_type != "Add" or node.outputs[0].is_graph_output():
            return None
        bias = uses[0].node.inputs[1 - uses[0].idx]
    else:
        bias = node.inputs[2] if len(node.inputs) > 2 else None
    beta = node.attributes.get("beta")
    if bias is None or (beta is not None and beta.value != 1.0):
        return None
    alone = bias.is_initializer() and not (bias.is_graph_input() or bias.is_graph_output())
    fits = alone and is_float(bias) and _is_by_channel(node, bias)
    return bias if fits and len(tuple(bias.uses())) == 1 else None


def _is_by_channel(node: ir.Node, bias: ir.Value) -> bool:
    """Tell a vector of one value for each channel from what is broadcast in another way."""
    weight = node.inputs[1]
    if bias.shape is None or len(bias.shape) != 1 or weight is None or weight.shape is None:
        return False
    if node.op_type in ("Conv", "ConvTranspose"):
        return True
    axis = channel_axis(node, weight)
    return axis is not None and weight.shape[axis] == bias.shape[0]
