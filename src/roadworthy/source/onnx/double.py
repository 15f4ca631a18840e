"""The same network in FP64, for ONNX's reference evaluator.

Every FP32 type in the graph becomes FP64: inputs, initialisers, constants, `Cast` targets and the
other attributes that name a type. What stays FP32 by meaning is left alone: the scales of Resize
and of quantisation.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "output_datatype"})
_KEEPS_FLOAT = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def to_double(model: ir.Model) -> ir.Model:
    """Return a copy of the model that computes in FP64 wherever the original computed in FP32."""
    double = model.clone()
    kept = _kept_values(double)
    for graph in double.graphs():
        for value in (*graph.inputs, *graph.outputs):
            _retype(value)
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if name in kept or tensor is None or tensor.dtype != ir.DataType.FLOAT:
                continue
            value.const_value = ir.tensor(tensor.numpy().astype(np.float64), name=name)
            _retype(value)
    for node in double.graph.all_nodes():
        for value in node.outputs:
            _retype(value)
        _retype_attributes(node)
    for function in double.functions.values():
        for node in function.all_nodes():
            _retype_attributes(node)
    return double


def _kept_values(model: ir.Model) -> set[str]:
    kept: set[str] = set()
    for node in model.graph.all_nodes():
        if node.op_type in _KEEPS_FLOAT:
            kept |= {value.name for value in node.inputs[1:] if value and value.name}
        if node.op_type in ("Resize", "Upsample"):
            kept |= {value.name for value in node.inputs[1:3] if value and value.name}
    return kept


def _retype(value: ir.Value) -> None:
    if isinstance(value.type, ir.TensorType) and value.dtype == ir.DataType.FLOAT:
        # A new type object: a cloned model shares the old one with its original.
        value.type = ir.TensorType(ir.DataType.DOUBLE)


def _retype_attributes(node: ir.Node) -> None:
    if node.op_type == "ConstantOfShape" and "value" not in node.attributes:
        # Its default is an FP32 zero.
        zero = ir.tensor(np.zeros(1, np.float64))
        node.attributes["value"] = ir.AttrTensor("value", zero)
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and node.op_type in (
            "Constant",
            "ConstantOfShape",
        ):
            tensor = attribute.as_tensor()
            if tensor.dtype == ir.DataType.FLOAT:
                wide = ir.tensor(tensor.numpy().astype(np.float64))
                node.attributes[name] = ir.AttrTensor(name, wide)
        elif (
            name in _TYPE_ATTRIBUTES
            and attribute.type == ir.AttributeType.INT
            and attribute.as_int() == ir.DataType.FLOAT
        ):
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.DOUBLE))
        elif node.op_type == "Constant" and name in ("value_float", "value_floats"):
            _widen_float_constant(node, name)


def _widen_float_constant(node: ir.Node, name: str) -> None:
    attribute = node.attributes[name]
    values = attribute.as_float() if name == "value_float" else list(attribute.as_floats())
    del node.attributes[name]
    wide = ir.tensor(np.asarray(values, np.float64))
    node.attributes["value"] = ir.AttrTensor("value", wide)
