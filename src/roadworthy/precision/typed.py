"""A copy of a model with every type known, and what is asked of it: names, constants, validity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from roadworthy.core.errors import InputError
from roadworthy.core.signature import Array
from roadworthy.graph.inner import every_node, subgraphs
from roadworthy.graph.serial import without_weights

FLOAT = ir.DataType.FLOAT


# Up to IR 3 every initialiser had to be an input too, whether or not anyone may replace it.
_INITIALISERS_ALONE = 4


def typed_copy(model: ir.Model) -> ir.Model:
    """Return a copy whose values have the dtypes and shapes that ONNX's shape inference finds.

    A copy of a model of IR 3 is of IR 4, where its weights needn't be inputs.
    """
    copy = model.clone()
    if copy.ir_version < _INITIALISERS_ALONE:
        copy.ir_version = _INITIALISERS_ALONE
        kept = [value for value in copy.graph.inputs if not value.is_initializer()]
        copy.graph.inputs[:] = kept
    for value in _all_values(copy):
        if isinstance(value.type, ir.TensorType):
            # A clone shares its types with the original, and inference writes into them.
            value.type = ir.TensorType(value.type.dtype)
    infer(copy)
    return copy


def infer(model: ir.Model) -> None:
    """Infer dtypes and shapes in place; inputs and outputs keep the shapes that they state."""
    ends = [(value, value.shape) for value in (*model.graph.inputs, *model.graph.outputs)]
    holders = _holders(model)
    common.ShapeInferencePass(check_type=False, strict_mode=False)(model)
    for value, shape in ends:
        value.shape = shape
    for value, held in holders:
        value.type, value.shape = held, None


def _holders(model: ir.Model) -> list[tuple[ir.Value, ir.TypeProtocol]]:
    """Return the sequences and optional values with their types.

    `onnx_ir` makes tensors of those that the model states no type for.
    """
    if not any(_may_hold(node.op_type) for node in every_node(model)):
        return []
    try:
        proto = onnx.shape_inference.infer_shapes(without_weights(model)[0])
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return []  # then no other type is inferred either
    inferred = ir.from_proto(proto)
    found: list[tuple[ir.Value, ir.TypeProtocol]] = []
    for ours, theirs in zip(model.graphs(), inferred.graphs(), strict=True):
        types = {
            name: value.type
            for name, value in ir.convenience.create_value_mapping(theirs).items()
            if isinstance(value.type, ir.SequenceType | ir.OptionalType)
        }
        values = ir.convenience.create_value_mapping(ours)
        found += [(values[name], held) for name, held in types.items() if name in values]
    return found


def _may_hold(operator: str) -> bool:
    return "Sequence" in operator or operator.startswith("Optional")


def check(model: ir.Model) -> str:
    """Return what ONNX's checker has against a model, in one line; empty when it is valid."""
    try:
        common.CheckerPass(full_check=True)(model)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        RuntimeError,
        ValueError,
    ) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def opset_of(model: ir.Model) -> int:
    """Return the opset of the standard domain.

    Raises:
        InputError: the model states none.
    """
    imports = model.graph.opset_imports
    opset = imports.get("", imports.get("ai.onnx"))
    if opset is None:
        raise InputError(
            "the model states no opset of ONNX's own domain",
            where="opset_import",
            remedy="write the model with an opset_import for the domain ''",
        )
    return opset


def node_names(model: ir.Model) -> dict[ir.Node, str]:
    """Return one unique name for every node, in subgraphs too; the same each time.

    1. A node's own name, where no node before it has it.
    2. Its first named output, which is unique in a valid graph.
    3. The same with a number.
    """
    names: dict[ir.Node, str] = {}
    taken: set[str] = set()
    for node in model.graph.all_nodes():
        outputs = [value.name for value in node.outputs if value.name]
        stem = outputs[0] if outputs else f"{node.op_type}_without_output"
        wanted = node.name if node.name and node.name not in taken else stem
        names[node] = fresh(wanted, taken)
    return names


def fresh(wanted: str, taken: set[str]) -> str:
    """Return `wanted`, with a number if it is taken, and take it."""
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name


def value_names(model: ir.Model) -> set[str]:
    """Return the names of all values, in subgraphs too."""
    return {value.name for value in _all_values(model) if value.name}


def graph_values(model: ir.Model) -> list[ir.Value]:
    """Return the tensors of the main graph in its order: inputs, and what its nodes give."""
    return [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]


def inner_nodes(node: ir.Node) -> Iterator[ir.Node]:
    """Give all nodes inside a node's bodies, however deep."""
    for graph in subgraphs(node):
        yield from graph.all_nodes()


def is_float(value: ir.Value | None) -> bool:
    """Return whether this is a tensor of FP32."""
    return value is not None and isinstance(value.type, ir.TensorType) and value.dtype == FLOAT


def float_constant(value: ir.Value | None) -> Array | None:
    """Return the values of an FP32 initialiser or Constant; None for anything that may vary.

    An initialiser that is also an input may be replaced by the caller, so it varies.
    """
    found = constant(value)
    return found if found is not None and found.dtype == np.float32 else None


def constant(value: ir.Value | None) -> Array | None:
    """Return the values of an initialiser or Constant of any dtype; None for what may vary."""
    if value is None or value.is_graph_input():
        return None
    if value.is_initializer():
        tensor = value.const_value
        return None if tensor is None else np.asarray(tensor.numpy())
    node = value.producer()
    if node is None or node.op_type != "Constant" or node.domain:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else np.asarray(tensor.numpy())


def _all_values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
    for node in model.graph.all_nodes():
        yield from node.outputs
