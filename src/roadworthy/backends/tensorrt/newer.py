"""Operators newer than the opset that a TensorRT reads, said in older ones.

What is added is of the model's own opset; `opset.py` takes it down like all else. Definitions are
ONNX's, whose own decompositions are followed except where TensorRT is faster: it fuses this form of
Gelu (developer guide, "Pointwise fusion"), and has a kernel for InstanceNormalization. Types are
the ones that the definition computes in (`stash_type`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from roadworthy.backends.tensorrt.rewrite import Adder, schema

if TYPE_CHECKING:
    import onnx_ir as ir

# Since this opset GroupNormalization scales each channel; before, each group.
_PER_CHANNEL = 21


class _Said(Adder):
    """What stands in for a node whose first input has a known type and rank."""

    def __init__(self, node: ir.Node, x: ir.Value, dtype: ir.DataType, opset: int) -> None:
        super().__init__(node)
        self.node, self.x, self.dtype, self.opset = node, x, dtype, opset

    def of(self, kind: str, *inputs: Any, dtype: str = "", **more: Any) -> ir.Value:
        """Add a node; numbers among its inputs are of the type of x, and so is what it gives."""
        values = [self.scalar(item) if isinstance(item, float) else item for item in inputs]
        return self(kind, *values, dtype=dtype or self.dtype.name, **more)

    def scalar(self, number: float) -> ir.Value:
        return self.constant(np.asarray(number, self.dtype.numpy()))

    def cast(self, value: ir.Value, dtype: str) -> ir.Value:
        import onnx_ir as ir

        if value.dtype is not None and value.dtype.name == dtype:
            return value
        return self("Cast", value, dtype=dtype, to=int(ir.DataType[dtype]))

    def number(self, name: str, default: float) -> float:
        found = self.node.attributes.get(name)
        return default if found is None else float(found.value)

    def axis(self, default: int) -> int:
        """Return the attribute `axis`, counted from the front."""
        axis = int(self.number("axis", default))
        return axis + self.rank if axis < 0 else axis

    @property
    def rank(self) -> int:
        assert self.x.shape is not None  # `said` looked
        return len(self.x.shape)


def _gelu(add: _Said) -> ir.Value:
    x, of = add.x, add.of
    how = add.node.attributes.get("approximate")
    if how is not None and how.value == "tanh":
        cubed = of("Mul", of("Mul", x, x), x)
        inner = of("Add", x, of("Mul", cubed, 0.044715))
        bent = of("Tanh", of("Mul", inner, math.sqrt(2 / math.pi)))
    else:
        bent = of("Erf", of("Div", x, math.sqrt(2)))
    return of("Mul", of("Mul", x, of("Add", bent, 1.0)), 0.5)


def _mish(add: _Said) -> ir.Value:
    return add.of("Mul", add.x, add.of("Tanh", add.of("Softplus", add.x)))


def _swish(add: _Said) -> ir.Value:
    alpha = add.number("alpha", 1.0)
    inner = add.x if alpha == 1.0 else add.of("Mul", add.x, alpha)
    return add.of("Mul", add.x, add.of("Sigmoid", inner))


def _group_normalization(add: _Said) -> ir.Value:
    """Each group of channels is an instance of its own."""
    _, scale, bias = add.node.inputs
    groups = int(add.number("num_groups", 1))
    per_channel = add.opset >= _PER_CHANNEL
    # Per channel it scales in `stash_type`, FP32 by default; the older form in the type of x.
    exact = _stashed(add) if per_channel else add.dtype.name
    x = add.cast(add.x, exact)
    ones, zeros = (add.constant(np.full(groups, n, _numpy(exact))) for n in (1, 0))
    within = (ones, zeros) if per_channel else (scale, bias)
    grouped = add("Reshape", x, add.constant([0, groups, -1]), dtype=exact)
    epsilon = add.number("epsilon", 1e-5)
    normal = add("InstanceNormalization", grouped, *within, dtype=exact, epsilon=epsilon)
    whole = add("Reshape", normal, add("Shape", add.x, dtype="INT64"), dtype=exact)
    if per_channel:
        each = add.constant([1, -1, *[1] * (add.rank - 2)])
        scale, bias = (
            add("Reshape", add.cast(value, exact), each, dtype=exact)
            for value in (scale, bias)
            if value is not None
        )
        whole = add("Add", add("Mul", whole, scale, dtype=exact), bias, dtype=exact)
    return add.cast(whole, add.dtype.name)


def _rms_normalization(add: _Said) -> ir.Value:
    exact, scale = _stashed(add), add.node.inputs[1]
    x = add.cast(add.x, exact)
    axes = list(range(add.axis(-1), add.rank))
    squared = add("Mul", x, x, dtype=exact)
    mean = add("ReduceMean", squared, add.constant(axes), dtype=exact, keepdims=1)
    epsilon = add.constant(np.asarray(add.number("epsilon", 1e-5), _numpy(exact)))
    root = add("Sqrt", add("Add", mean, epsilon, dtype=exact), dtype=exact)
    normal = add.cast(add("Div", x, root, dtype=exact), add.dtype.name)
    return add.of("Mul", normal, scale)


_SAID: dict[str, Callable[[_Said], ir.Value]] = {
    "Gelu": _gelu,
    "GroupNormalization": _group_normalization,
    "Mish": _mish,
    "RMSNormalization": _rms_normalization,
    "Swish": _swish,
}
# They are in older opsets too, and of all these only GroupNormalization means something else there.
_REDEFINED = frozenset({"GroupNormalization"})


def without_newer(model: ir.Model, opset: int) -> None:
    """Put others in the place of operators newer than `opset`, in the model itself.

    What has no such form here stays, and so does a node whose input's type or rank isn't known.
    """
    now = model.opset_imports.get("", 0)
    for node in list(model.graph.all_nodes()):
        if node.domain in ("", "ai.onnx") and _is_newer(node.op_type, now, opset):
            x = node.inputs[0]
            if x is not None and (x.dtype is None or x.shape is None):
                # ONNX doesn't infer through all of these, but does once they are said otherwise.
                _infer(model)
            if x is not None and x.dtype is not None and x.shape is not None:
                add = _Said(node, x, x.dtype, now)
                add.take_over(_SAID[node.op_type](add))


def _is_newer(kind: str, now: int, opset: int) -> bool:
    new, old = (schema(kind, version) for version in (now, opset))
    if kind not in _SAID or new is None:
        return False
    changed = old is not None and old.since_version != new.since_version
    return old is None or (changed and kind in _REDEFINED)


def _infer(model: ir.Model) -> None:
    from onnx_ir.passes.common import ShapeInferencePass

    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def _stashed(add: _Said) -> str:
    import onnx_ir as ir

    return ir.DataType(int(add.number("stash_type", 1))).name


def _numpy(dtype: str) -> Any:
    import onnx_ir as ir

    return ir.DataType[dtype].numpy()
