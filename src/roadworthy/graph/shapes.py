"""Shapes of all values of a graph, as far as they follow from those of its inputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

# What shapes are computed with. Each gives the same for the same inputs.
_ARITHMETIC = frozenset(
    {"Abs", "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand"}
    | {"Floor", "Gather", "Greater", "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not"}
    | {"Or", "Range", "ReduceProd", "ReduceSum", "Reshape", "Round", "Size", "Slice", "Split"}
    | {"Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"}
)
# These give sequences and optionals.
_NO_TENSORS = frozenset(
    {"Optional", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert"}
    | {"SequenceMap", "SplitToSequence"}
)
# What these give may be far larger than what they are given.
_GROWING = frozenset({"ConstantOfShape", "Expand", "Range"})
# Numbers in a tensor that may still describe a shape.
_MOST = 256
# Before, operators of two inputs broadcast by attributes, which ONNX's evaluator doesn't know.
_BROADCASTS_SINCE = 7


def infer_shapes(model: ir.Model) -> None:
    """State types and shapes of the values of the model itself, and fold what shapes decide.

    ONNX's inference follows few operators through the arithmetic on shapes (not Mod, Max, Where).
    So what is known of it becomes a constant, computed by ONNX's reference evaluator, and the
    inference goes on from there until nothing more is learned. A node that can't be inferred leaves
    the others their shapes.
    """
    from onnx_ir.passes.common import ShapeInferencePass

    _open_negative_sizes(model)
    infer = ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)
    infer(model)
    while _fold(model):
        infer(model)
    _leave_sequences(model)


def _open_negative_sizes(model: ir.Model) -> None:
    """Leave sizes open that are stated as -1: some tools write that, and it isn't a number."""
    import onnx_ir as ir

    for value in ir.convenience.create_value_mapping(model.graph).values():
        if any(isinstance(size, int) and size < 0 for size in value.shape or ()):
            sizes = list(value.shape or ())
            value.shape = ir.Shape(
                [None if isinstance(size, int) and size < 0 else size for size in sizes]
            )


def _leave_sequences(model: ir.Model) -> None:
    """Take back what `onnx_ir` states of a sequence: that it is a tensor, as its elements are."""
    import onnx_ir as ir

    for node in model.graph.all_nodes():
        for value in node.outputs if node.op_type in _NO_TENSORS else ():
            if isinstance(value.type, ir.TensorType):
                value.type = value.shape = None


def _fold(model: ir.Model) -> bool:
    """Put constants in the place of arithmetic whose result is known; tell whether any was."""
    changed = False
    for node in list(model.graph):
        inner = all(value.name and not value.is_graph_output() for value in node.outputs)
        if node.domain in ("", "ai.onnx") and inner and all(map(_may_be_small, node.outputs)):
            results = _results(node, model.opset_imports.get("", 0))
            if results is not None and all(map(_fits, node.outputs, results)):
                _replace(node, results)
                changed = True
    return changed


def _may_be_small(value: ir.Value) -> bool:
    """Tell whether to compute a value at all: a mask can have gigabytes."""
    made = value.producer()
    if value.shape is None or not value.shape.is_static():
        return made is None or made.op_type not in _GROWING
    return math.prod(value.shape.numpy()) <= _MOST


def _fits(value: ir.Value, result: Any) -> bool:
    """Tell whether a result is small, and of the type and shape that its value is said to have.

    ONNX's evaluator isn't always right: it forgets axes when it gathers nothing.
    """
    typed = value.dtype is None or value.dtype.numpy() == result.dtype
    return typed and _is_of(value.shape, result.shape) and bool(result.size <= _MOST)


def _is_of(said: ir.Shape | None, found: tuple[int, ...]) -> bool:
    if said is None:
        return True
    pairs = zip(said, found, strict=False)
    return len(said) == len(found) and all(
        not isinstance(size, int) or size == other for size, other in pairs
    )


def _results(node: ir.Node, opset: int) -> list[Any] | None:
    """Return what a node gives, None where that isn't known or is no arithmetic on shapes."""
    if node.op_type in ("Shape", "Size"):
        return _of_shape(node)
    if node.op_type not in _ARITHMETIC or not node.inputs or opset < _BROADCASTS_SINCE:
        return None
    given = {}
    for value in node.inputs:
        if value is None:
            continue
        found = _constant(value)
        if found is None:
            return None
        given[value.name] = found
    return _evaluated(node, opset, given)


def _of_shape(node: ir.Node) -> list[Any] | None:
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    end = node.attributes["end"].as_int() if "end" in node.attributes else None
    sizes = list(value.shape) if node.op_type == "Size" else list(value.shape)[start:end]
    if not all(isinstance(size, int) for size in sizes):
        return None
    known = np.array(sizes, np.int64)
    return [known.prod(dtype=np.int64) if node.op_type == "Size" else known]


def _constant(value: ir.Value) -> Any:
    """Return a small constant's numbers, None for what isn't one."""
    import onnx_ir as ir

    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None or tensor.size > _MOST else tensor.numpy()


def _evaluated(node: ir.Node, opset: int, given: dict[Any, Any]) -> list[Any] | None:
    import onnx_ir as ir
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(ir.serde.serialize_node(node), opsets={"": opset})
    try:
        return [np.asarray(result) for result in evaluator.run(None, given)]
    except Exception:  # whatever is wrong with the node: it stays, and its runtime will say it
        return None


def _replace(node: ir.Node, results: list[Any]) -> None:
    import onnx_ir as ir

    assert node.graph is not None  # it was found in one
    made = []
    for value, result in zip(node.outputs, results, strict=True):
        tensor = ir.tensor(result, name=value.name)
        constant = ir.node("Constant", [], {"value": tensor}, name=node.name)
        constant.outputs[0].name = value.name
        made.append(constant)
    new = [constant.outputs[0] for constant in made]
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], made, list(node.outputs), new)
