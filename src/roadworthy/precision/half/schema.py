"""Which inputs and outputs of a node turn half together, by the operator's schema in ONNX."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from roadworthy.precision.half.formats import Format
from roadworthy.precision.typed import is_float

# Attributes that name the dtype of the output; ConstantOfShape's is the dtype of a tensor.
DTYPE_ATTRIBUTES = {"Cast": "to", "EyeLike": "dtype", "ConstantOfShape": "value"}
# The schema would let its parameters stay FP32 beside half data; OpenVINO wants one dtype, and so
# does TensorRT of a scale and what it scales (ONNX lets them differ from opset 23 on).
_ONE_DTYPE = frozenset({"BatchNormalization", "DequantizeLinear", "QuantizeLinear"})


@dataclass(frozen=True, slots=True)
class Slots:
    """Positions of a node's inputs and outputs that become half; or why none can."""

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    refusal: str = ""
    since: int | None = None
    """With a refusal: the first opset in which the operator takes the format, if there is one."""


def slots_of(node: ir.Node, opset: int, form: Format) -> Slots:
    """Return what turns half when a node does.

    1. The type parameters of its FP32 outputs turn half, and with them all inputs of those: data
       and what it is added to, but not Resize's scales nor the grid of a sampler.
    2. A node without FP32 outputs (Greater, ArgMax, Shape): those of its inputs that may.
    3. The schema has a fixed FP32 there, or the parameter doesn't list the format: a refusal.
    4. An operator without a schema, or a value of unknown type or no tensor: a refusal.
    """
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return Slots(refusal="its operator has no ONNX schema to say which dtypes it takes")
    if not _all_tensors(node):
        return Slots(refusal="a value of it is of unknown type or no tensor")  # case 4
    inputs, outputs = _formal_types(node, schema)
    allowed = {
        item.type_param_str
        for item in schema.type_constraints
        if f"tensor({form.dtype.name.lower()})" in item.allowed_type_strs
    }
    wanted = set(outputs.values()) or set(inputs.values()) & allowed  # cases 1, 2
    if node.op_type in _ONE_DTYPE:
        wanted |= set(inputs.values())
    if not wanted or not wanted <= allowed:
        return Slots(
            refusal=f"ONNX opset {opset} has no {form.dtype.name} for {node.op_type}",
            since=_first_opset(node, opset, form),
        )  # case 3
    return Slots(
        tuple(index for index, name in inputs.items() if name in wanted),
        tuple(outputs),
    )


def _all_tensors(node: ir.Node) -> bool:
    values = [*node.inputs, *(value for value in node.outputs if value.name)]
    return all(isinstance(value.type, ir.TensorType) for value in values if value is not None)


def _formal_types(
    node: ir.Node, schema: onnx.defs.OpSchema
) -> tuple[dict[int, str], dict[int, str]]:
    """Return the formal type of every FP32 input and output by position."""
    found = []
    for actual, formal in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        # The last formal parameter may stand for any number of actual ones.
        last = len(formal) - 1
        found.append(
            {
                index: formal[min(index, last)].type_str
                for index, value in enumerate(actual)
                if is_float(value)
            }
        )
    return found[0], found[1]


def _first_opset(node: ir.Node, opset: int, form: Format) -> int | None:
    """Return the first later opset in which some parameter of the operator takes the format."""
    for later in range(opset + 1, onnx.defs.onnx_opset_version() + 1):
        schema = onnx.defs.get_schema(node.op_type, later, node.domain)
        for item in schema.type_constraints:
            if f"tensor({form.dtype.name.lower()})" in item.allowed_type_strs:
                return int(schema.since_version)
    return None
