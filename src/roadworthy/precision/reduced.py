"""Ranges without their tensors: ONNX Runtime reduces each one where it is, in a run of the whole.

Of a tensor min-max wants two numbers for each channel. To look at its values the network must be
cut (`segments`), where ONNX Runtime's threads sleep and wake for every piece: on the benchmarks'
YOLO- and DETR-like networks that takes about a third longer. Memory is about the same.

What ReduceMin and ReduceMax make of NaN nobody promises, but a sum is finite only where every value
is. Where one isn't, the sample must be looked at value by value.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from roadworthy.backends.base import Runner
from roadworthy.core.closing import Closing
from roadworthy.core.errors import CompileError, RunError
from roadworthy.core.signature import Array, Feed
from roadworthy.graph.serial import files_with, without_weights
from roadworthy.precision.segments import open_session
from roadworthy.precision.typed import fresh, opset_of, value_names

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

# From which opset on an operator takes its axes as an input.
_AXES_AS_INPUT = {"ReduceSum": 13, "ReduceMin": 18, "ReduceMax": 18}


@dataclass(frozen=True, slots=True)
class Extent:
    """What one run says of a tensor, all of whose values are finite.

    Attributes:
        low: the smallest value, float32, of shape (channels,), or () without channels.
        high: the largest.
        count: how many values it has, more than none.
    """

    low: Array
    high: Array
    count: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """Where the answers about a tensor come out: names of outputs."""

    low: str
    high: str
    total: str
    count: str
    by_channel: bool


class ReducedNetwork(Closing):
    """A network that gives its tensors' ranges instead of its outputs. Use in a `with` block."""

    def __init__(
        self, model: ir.Model, axes: Mapping[str, int | None], threads: int | None = None
    ) -> None:
        """Add the reductions; nothing runs yet.

        Args:
            model: left as it is.
            axes: by float32 tensor, also inputs of the network, the axis of its channels: 1, the
                last one (-1), or None for one range of the whole.
            threads: of one inference.

        Raises:
            CompileError: a tensor can't be reduced: its type or its number of axes isn't known.
        """
        light, self._weights = without_weights(model)
        self._model, self._asked = _with_reductions(
            light, opset_of(model), value_names(model), axes
        )
        self._threads = threads
        self._stack = ExitStack()
        self._runner: Runner | None = None

    def __enter__(self) -> Self:
        """Open the session; raises CompileError where ONNX Runtime refuses it."""
        files = files_with(self._model, self._weights, "reduced.onnx")
        # The session has its weights: once is enough.
        self._model.Clear()
        self._weights.clear()
        self._runner = open_session(files, self._threads)
        self._stack.callback(self._runner.close)
        return self

    def close(self) -> None:
        """Give the memory back."""
        self._runner = None
        self._stack.close()

    def run(self, feed: Feed) -> dict[str, Extent] | None:
        """Return every tensor's extent.

        None where values must be looked at: a tensor has some that aren't finite (or whose sum
        isn't), or has none at all, or the run failed.
        """
        assert self._runner is not None, "use it in a `with` block"
        try:
            made = self._runner.run(dict(feed))
        except RunError:
            return None
        if not all(np.isfinite(made[asked.total]).all() for asked in self._asked.values()):
            return None
        extents = {}
        for name, asked in self._asked.items():
            low, high, count = made[asked.low], made[asked.high], int(made[asked.count])
            if count == 0:
                return None
            if not asked.by_channel:
                low, high = low.min(), high.max()
            extents[name] = Extent(low, high, count)
        return extents


def _with_reductions(
    model: onnx.ModelProto, opset: int, taken: set[str], axes: Mapping[str, int | None]
) -> tuple[onnx.ModelProto, dict[str, _Asked]]:
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.shape_inference.infer_shapes(model)
    graph = proto.graph
    types = {
        value.name: value.type.tensor_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    asked, reductions = {}, {}
    for index, (name, axis) in enumerate(axes.items()):
        rank = _rank(name, types.get(name), axis)
        low, high, total, count, over = (
            fresh(f"range_{index}_{what}", taken) for what in ("low", "high", "sum", "size", "over")
        )
        asked[name] = _Asked(low, high, total, count, axis is not None and rank >= 2)
        # What has no channels is reduced by axis 1 all the same: by parts it takes all threads.
        kept = (1 if axis is None else axis) % rank if rank >= 2 else None
        reduced = [] if kept is None else [place for place in range(rank) if place != kept]
        if reduced and opset >= min(_AXES_AS_INPUT.values()):
            graph.initializer.append(numpy_helper.from_array(np.array(reduced, np.int64), over))
        nodes = [helper.make_node("Size", [name], [count])]
        for kind, output in (("ReduceMin", low), ("ReduceMax", high), ("ReduceSum", total)):
            as_input = opset >= _AXES_AS_INPUT[kind]
            stated: dict[str, Any] = {"axes": reduced} if reduced and not as_input else {}
            inputs = [name, over] if reduced and as_input else [name]
            nodes.append(helper.make_node(kind, inputs, [output], keepdims=0, **stated))
        reductions[name] = nodes
    _insert(graph, reductions)
    del graph.output[:]
    for one in asked.values():
        for output in (one.low, one.high, one.total):
            graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
        graph.output.append(helper.make_tensor_value_info(one.count, onnx.TensorProto.INT64, None))
    return proto, asked


def _insert(graph: onnx.GraphProto, reductions: Mapping[str, list[onnx.NodeProto]]) -> None:
    """Put reductions right behind what gives their tensors: then these are still in the cache."""
    ordered = [node for value in graph.input for node in reductions.get(value.name, ())]
    for node in graph.node:
        ordered.append(node)
        ordered += [one for name in node.output for one in reductions.get(name, ())]
    whole = type(graph)(node=ordered)
    del graph.node[:]
    graph.node.extend(whole.node)


def _rank(name: str, found: Any, axis: int | None) -> int:
    """Return a tensor's number of axes; 0 where it isn't known and needn't be."""
    import onnx

    if found is None or found.elem_type != onnx.TensorProto.FLOAT:
        raise CompileError(f"tensor {name!r} isn't known to be float32", where="calibration")
    if not found.HasField("shape"):
        if axis is None:
            return 0
        raise CompileError(f"tensor {name!r}: its axes aren't known", where="calibration")
    return len(found.shape.dim)
