"""Write a plan into the graph as explicit QuantizeLinear and DequantizeLinear (ADR 0001)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from roadworthy.core.errors import InputError
from roadworthy.core.signature import Array
from roadworthy.precision.dialect import Dialect
from roadworthy.precision.kernels import lifted
from roadworthy.precision.plan import Correction, PrecisionPlan, Quantized
from roadworthy.precision.scales import weight_array
from roadworthy.precision.typed import fresh, typed_copy, value_names

if TYPE_CHECKING:
    import onnx_ir as ir

_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int32": (-(2**31), 2**31 - 1)}
# Per-channel scales came with opset 13.
_LOWEST_OPSET = 13
_LOWEST_IR = 4


def lower(model: ir.Model, plan: PrecisionPlan, dialect: Dialect) -> ir.Model:
    """Return the model with the plan's Q/DQ in it; the given one stays.

    A tensor's consumers all read its dequantised form; outputs of the network keep the exact one.

    Raises:
        InputError: the plan is for another network, or the model's opset is below 13.
    """
    opset = model.opset_imports.get("", 0)
    if opset < _LOWEST_OPSET:
        raise InputError(
            f"the network has ONNX opset {opset}; quantisation per channel needs {_LOWEST_OPSET}",
            where="precision",
            remedy="export it with a later opset",
        )
    copy = model.clone()
    # Before IR 4 a weight had to be an input too, and a scale is none.
    copy.ir_version = max(copy.ir_version, _LOWEST_IR)
    lowering = _Lowering(copy, dialect)
    for correction in plan.corrections:
        # First: a corrected bias may be quantised itself.
        lowering.correct(correction)
    for item in plan.tensors:
        if item.weight:
            lowering.weight(item)
        else:
            lowering.activation(item)
    if "MatMul" in dialect.floats:
        lowering.lift(model)
    copy.graph.sort()
    return copy


def quantised(values: Array, item: Quantized) -> Array:
    """Return the integers of a tensor: round half to even, as ONNX's QuantizeLinear does."""
    scale, zero = _by_channel(item, values.ndim)
    low, high = _RANGES[item.dtype]
    # Symmetric weights leave −128 out: TensorRT and VNNI kernels want −w to exist too.
    if item.dtype == "int8":
        low = -127
    # int32 has more digits than float32.
    wide: Array = values.astype(np.float64 if item.dtype == "int32" else np.float32)
    whole = np.rint(np.divide(wide, scale)) + zero
    integers: Array = np.clip(whole, low, high).astype(item.dtype)
    return integers


def rounded(values: Array, item: Quantized) -> Array:
    """Return a tensor as its integers stand for it, float32: quantised and dequantised."""
    scale, zero = _by_channel(item, values.ndim)
    # Whole numbers of 8 bits times float32 are exact in float64: rounded once, as in float32.
    back: Array = ((quantised(values, item) - zero) * scale).astype(np.float32)
    return back


def _by_channel(item: Quantized, rank: int) -> tuple[Array, Array]:
    """Return scale (float32) and zero-point (float64) in the shape that a tensor's take."""
    scale, zero = np.array(item.scale, np.float32), np.array(item.zero_point, np.float64)
    if item.axis is None:
        return scale, zero
    shape = [1] * rank
    shape[item.axis] = -1
    return scale.reshape(shape), zero.reshape(shape)


class _Lowering:
    def __init__(self, model: ir.Model, dialect: Dialect) -> None:
        self.model = model
        self.dialect = dialect
        self.taken = value_names(model) | {node.name or "" for node in model.graph.all_nodes()}
        self.values: dict[str, ir.Value] = {}
        for value in model.graph.inputs:
            self.values[value.name or ""] = value
        for node in model.graph:
            self.values |= {value.name or "": value for value in node.outputs}

    def correct(self, item: Correction) -> None:
        import onnx_ir as ir

        value = self.model.graph.initializers.get(item.tensor)
        bias = weight_array(self.model, item.tensor)
        if value is None or bias.shape != (len(item.values),):
            raise _stranger(item.tensor)
        corrected = bias + np.array(item.values, bias.dtype)
        value.const_value = ir.tensor(corrected, name=item.tensor)

    def activation(self, item: Quantized) -> None:
        value = self.values.get(item.tensor)
        if value is None:
            raise _stranger(item.tensor)
        users = list(value.uses())
        zeros = self._constants(item)
        whole = self._node("QuantizeLinear", [value, *zeros], item, item.dtype)
        back = self._node("DequantizeLinear", [whole, *zeros], item, "float32", value)
        for user in users:
            user.node.replace_input_with(user.idx, back)

    def weight(self, item: Quantized) -> None:
        value = self.model.graph.initializers.get(item.tensor)
        if value is None:
            raise _stranger(item.tensor)
        users = list(value.uses())
        zeros = self._constants(item)
        if self.dialect.stored:
            integers = quantised(weight_array(self.model, item.tensor), item)
            whole = self._initializer(f"{item.tensor}_quantized", integers)
        else:
            source = self._on_grid(value, item) if self.dialect.is_half else value
            whole = self._node("QuantizeLinear", [source, *zeros], item, item.dtype)
        back = self._node("DequantizeLinear", [whole, *zeros], item, "float32", value)
        for user in users:
            user.node.replace_input_with(user.idx, back)
        if self.dialect.stored and not (value.is_graph_input() or value.is_graph_output()):
            del self.model.graph.initializers[item.tensor]

    def lift(self, original: ir.Model) -> None:
        """Say vectors that are added to floats of INT8 MatMuls with more axes, see `lifted`."""
        if not any(node.op_type == "MatMul" for node in original.graph):
            return  # to infer the types of all takes time, and a plan is lowered for every method
        found = {node.name: lifted(node) for node in typed_copy(original).graph}
        for node in list(self.model.graph):
            vector = found.get(node.name)
            weight = node.inputs[1].producer() if vector and node.inputs[1] else None
            if vector is None or weight is None or weight.op_type != "DequantizeLinear":
                continue
            [user] = node.outputs[0].uses()
            name = vector[0].name or ""
            values = weight_array(self.model, name)
            shape = (*[1] * (vector[1] - 1), len(values))
            made = self._initializer(f"{name}_lifted", values.reshape(shape))
            user.node.replace_input_with(1 - user.idx, made)
            old = self.model.graph.initializers[name]
            if not (old.uses() or old.is_graph_output()):
                del self.model.graph.initializers[name]

    def _on_grid(self, value: ir.Value, item: Quantized) -> ir.Value:
        """Return a weight as its integers stand for it.

        Rounded to FP16 it then still gives the same integers: that moves it by 2^-11 of itself at
        most, a sixteenth of a step for the largest integer.
        """
        import onnx_ir as ir

        values = rounded(weight_array(self.model, item.tensor), item)
        if value.is_graph_output():
            return self._initializer(f"{item.tensor}_rounded", values)
        value.const_value = ir.tensor(values, name=item.tensor)
        return value

    def _constants(self, item: Quantized) -> list[ir.Value]:
        scale = np.array(item.scale, np.float32)
        zero = np.array(item.zero_point, item.dtype)
        if item.axis is None:
            scale, zero = scale.reshape(()), zero.reshape(())
        return [
            self._initializer(f"{item.tensor}_scale", scale),
            self._initializer(f"{item.tensor}_zero_point", zero),
        ]

    def _initializer(self, name: str, array: Any) -> ir.Value:
        import onnx_ir as ir

        # Networks have weights with names like "norm_scale" themselves.
        name = fresh(name, self.taken)
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self.model.graph.initializers[name] = value
        return value

    def _node(
        self,
        operator: str,
        inputs: list[ir.Value],
        item: Quantized,
        dtype: str,
        like: ir.Value | None = None,
    ) -> ir.Value:
        import onnx_ir as ir

        attributes = {} if item.axis is None else {"axis": item.axis}
        name = fresh(f"{item.tensor}_{operator}", self.taken)
        node = ir.node(operator, inputs, attributes, name=name)
        made = node.outputs[0]
        ending = "quantized" if operator[0] == "Q" else "dequantized"
        made.name = fresh(f"{item.tensor}_{ending}", self.taken)
        made.dtype = ir.DataType.from_numpy(np.dtype(dtype))
        shape = inputs[0].shape if like is None else like.shape
        made.shape = None if shape is None else shape.copy()
        self.model.graph.append(node)
        return made


def _stranger(name: str) -> InputError:
    return InputError(
        f"the network has no tensor {name!r}",
        where="precision plan",
        remedy="make the plan from this very network",
    )
