"""Operators newer than the opset that a TensorRT reads, said in older ones.

Most are said by ONNX's own definition of them, a function of other operators; two are not:
GroupNormalization, for which TensorRT has a kernel under another name, and whose definition takes
the mean of the squares less the square of the mean, which loses what is small beside the mean; and
RMSNormalization, whose definition computes axes that a parser must know. All is of the model's own
opset; `opset.py` takes it down like the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from roadworthy.backends.tensorrt.rewrite import Adder, prefix_values, schema
from roadworthy.graph.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx_ir as ir

# Since this opset GroupNormalization scales each channel; before, each group.
_PER_CHANNEL = 21
# Functions of ONNX's operators live under this domain until they are put in the place of the calls.
_DOMAIN = "roadworthy.newer"


def without_newer(model: ir.Model, opset: int) -> None:
    """Put others in the place of operators newer than `opset`, in the model itself.

    What ONNX doesn't define by other operators stays, and so does a node whose inputs' types or
    ranks aren't known.
    """
    changed = False
    while True:
        newer = [node for node in model.graph.all_nodes() if _is_newer(node, model, opset)]
        if not all(map(_is_typed, newer)):
            # ONNX infers no types through some of these, but does when they are said otherwise.
            infer_shapes(model)
        ready = list(filter(_is_typed, newer))
        if not ready:
            break
        changed = True
        for node in ready:
            by_hand = _BY_HAND.get(node.op_type)
            if by_hand is None:
                _call(model, node)
            else:
                add = _Said(node, model.opset_imports[""])
                add.take_over(by_hand(add))
        _inline(model)
    if changed:
        infer_shapes(model)


def _is_newer(node: ir.Node, model: ir.Model, opset: int) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    new, old = (schema(node.op_type, version) for version in (model.opset_imports[""], opset))
    if new is None or not (new.has_function or new.has_context_dependent_function):
        return False
    if any(attribute.type.name in ("GRAPH", "GRAPHS") for attribute in node.attributes.values()):
        return False  # what a function is given can't be a graph: SequenceMap
    redefined = old is not None and old.since_version != new.since_version
    return old is None or (redefined and node.op_type == "GroupNormalization")


def _is_typed(node: ir.Node) -> bool:
    given = [value for value in node.inputs if value is not None]
    return all(value.dtype is not None and value.shape is not None for value in given)


# -- by ONNX's definition


def _call(model: ir.Model, node: ir.Node) -> None:
    """Make the node a call of a function of the model: ONNX's, for these types and attributes."""
    import onnx_ir as ir
    from onnx import FunctionProto

    now = model.opset_imports[""]
    known = schema(node.op_type, now)
    _write_defaults(node, known)
    if known.has_context_dependent_function:
        version = max(v for v in known.context_dependent_function_opset_versions if v <= now)
        types = [ir.serde.serialize_value(v).type if v else None for v in node.inputs]
        proto = FunctionProto.FromString(
            known.get_context_dependent_function_with_opset_version(
                version,
                ir.serde.serialize_node(node).SerializeToString(),
                [kind.SerializeToString() if kind is not None else b"" for kind in types],
            )
        )
    else:
        proto = known.function_body
    kept = _drop_outputs(proto)
    function = ir.serde.deserialize_function(proto)
    unique = next(value.name for value in node.outputs if value.name)
    for inner in function.all_nodes():
        inner.name = f"{node.name or unique}/{inner.outputs[0].name}"
    prefix_values(function, unique)
    overload = str(len(model.functions))
    # Its operators mean the same in the model's opset; the inliner wants them equal.
    function.opset_imports[""] = now
    called = ir.Function(
        _DOMAIN,
        node.op_type,
        overload,
        graph=function.graph,
        attributes=list(function.attributes.values()),
    )
    model.functions[called.identifier()] = called
    call = ir.Node(
        _DOMAIN,
        node.op_type,
        node.inputs,
        list(node.attributes.values()),
        overload=overload,
        num_outputs=len(kept),
        name=node.name,
    )
    assert node.graph is not None  # it was found in one
    given = [node.outputs[index] for index in kept]
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], [call], given, call.outputs)


def _drop_outputs(proto: Any) -> list[int]:
    """Drop the outputs that a body doesn't give, since the node has none there; return the rest."""
    given = {name for node in proto.node for name in node.output}
    kept = [index for index, name in enumerate(proto.output) if name in given]
    names = [proto.output[index] for index in kept]
    del proto.output[:]
    proto.output.extend(names)
    return kept


def _write_defaults(node: ir.Node, known: Any) -> None:
    """Write the attributes that aren't there: a function's body refers to them by name."""
    import onnx_ir as ir

    for name, attribute in known.attributes.items():
        if name not in node.attributes and attribute.default_value.name:
            node.attributes[name] = ir.serde.deserialize_attribute(attribute.default_value)


def _inline(model: ir.Model) -> None:
    from onnx_ir.passes.common import InlinePass

    if any(function.domain == _DOMAIN for function in model.functions.values()):
        InlinePass(criteria=lambda function: function.domain == _DOMAIN)(model)
        model.opset_imports.pop(_DOMAIN, None)


# -- by hand


class _Said(Adder):
    """What stands in for a node whose first input has a known type and rank."""

    def __init__(self, node: ir.Node, opset: int) -> None:
        super().__init__(node)
        x = node.inputs[0]
        assert x is not None  # these have one
        assert x.dtype is not None  # `_is_typed`
        assert x.shape is not None
        self.node, self.x, self.dtype, self.rank = node, x, x.dtype.name, len(x.shape)
        self.opset = opset

    def cast(self, value: ir.Value, dtype: str) -> ir.Value:
        import onnx_ir as ir

        if value.dtype is not None and value.dtype.name == dtype:
            return value
        return self("Cast", value, dtype=dtype, to=int(ir.DataType[dtype]))

    def filled(self, number: float, dtype: str, *shape: int) -> ir.Value:
        import onnx_ir as ir

        return self.constant(np.full(shape, number, ir.DataType[dtype].numpy()))

    def number(self, name: str, default: float) -> float:
        found = self.node.attributes.get(name)
        return default if found is None else float(found.value)

    @property
    def stashed(self) -> str:
        """The type to compute in."""
        import onnx_ir as ir

        return ir.DataType(int(self.number("stash_type", 1))).name


def _group_normalization(add: _Said) -> ir.Value:
    """Each group of channels is an instance of its own."""
    _, scale, bias = add.node.inputs
    groups = int(add.number("num_groups", 1))
    per_channel = add.opset >= _PER_CHANNEL
    # Per channel it scales in `stash_type`, FP32 by default; the older form in the type of x.
    exact = add.stashed if per_channel else add.dtype
    ones, zeros = (add.filled(n, exact, groups) for n in (1, 0))
    within = (ones, zeros) if per_channel else (scale, bias)
    split = add.constant([0, groups, -1])
    grouped = add("Reshape", add.cast(add.x, exact), split, dtype=exact)
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
    return add.cast(whole, add.dtype)


def _rms_normalization(add: _Said) -> ir.Value:
    exact, scale = add.stashed, add.node.inputs[1]
    assert scale is not None  # there is one
    assert scale.dtype is not None  # `_is_typed`
    axis = int(add.number("axis", -1))
    axes = list(range(axis % add.rank, add.rank))
    x = add.cast(add.x, exact)
    squared = add("Mul", x, x, dtype=exact)
    mean = add("ReduceMean", squared, add.constant(axes), dtype=exact, keepdims=1)
    epsilon = add.filled(add.number("epsilon", 1e-5), exact)
    root = add("Sqrt", add("Add", mean, epsilon, dtype=exact), dtype=exact)
    normal = add.cast(add("Div", x, root, dtype=exact), add.dtype)
    # The result is of the type of the scale, which may be another one.
    scaled = scale.dtype.name
    return add("Mul", add.cast(normal, scaled), scale, dtype=scaled)


_BY_HAND: dict[str, Callable[[_Said], ir.Value]] = {
    "GroupNormalization": _group_normalization,
    "RMSNormalization": _rms_normalization,
}
