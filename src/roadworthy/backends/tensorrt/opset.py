"""Take a model's ONNX opset down to what an older TensorRT parser knows, or say which node can't.

An operator whose version didn't change stays. One that changed is treated by kind:

1. only types or limits were added: it stays as it is;
2. attributes were added: they go where they hold their default, else the node is refused;
3. an attribute became an input (`axes` of reductions): it becomes an attribute again;
4. an attribute was renamed or added with a meaning (`Split`, `GridSample`): rewritten;
5. one that is newer than `opset`, or means something else there: said in older operators
   (`newer.py`);
6. anything else: refused by name.

ONNX's own version converter has few adapters downwards and changes types on its way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roadworthy.backends.tensorrt.newer import without_newer
from roadworthy.backends.tensorrt.rewrite import Adder, prefix_values, schema
from roadworthy.core.errors import CompileError

if TYPE_CHECKING:
    import onnx_ir as ir

# Highest opset each TensorRT parser reads; unknown later versions read what the last one does.
_HIGHEST = (((8, 5), 16), ((8, 6), 17), ((9, 0), 17), ((10, 0), 20), ((10, 15), 24))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# 1. Since opset 13 these only learned types (or limits that older models can't exceed).
_SAME = _words(
    "Cast CastLike Constant ConstantOfShape Conv ConvTranspose Dropout Elu Equal EyeLike "
    "Flatten GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity If "
    "InstanceNormalization IsInf IsNaN Loop MaxPool Mish Mod Pad Reshape Resize Round Scan "
    "ScatterElements ScatterND Selu Shape Size Softplus Softsign Squeeze ThresholdedRelu TopK "
    "Transpose Unsqueeze AveragePool LpPool Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh "
    "Atanh QuantizeLinear DequantizeLinear"
)
_REDUCTIONS = _words(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSumSquare"
)
# 2. Attributes that came later, and the value at which they change nothing.
_NEUTRAL: dict[str, Any] = {
    "antialias": 0,
    "block_size": 0,
    "ceil_mode": 0,
    "keep_aspect_ratio_policy": "stretch",
    "output_dtype": 0,
    "precision": 0,
    "reduction": "none",
    "round_mode": "up",
    # Only concerns casts to FP8, which no older opset has.
    "saturate": 1,
}
# From here on scales may be FP16.
_HALF_SCALES = 19
_GRID_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def highest_opset(version: tuple[int, int]) -> int:
    """Return the highest opset that this TensorRT's parser reads."""
    return max((opset for since, opset in _HIGHEST if since <= version), default=13)


def lowered(model: ir.Model, opset: int, reader: str) -> ir.Model:
    """Return the model at `opset`, or itself where it is there already; the given one stays.

    `reader` is who can't read more, for the message.

    Raises:
        CompileError: a node that can't be said in that opset.
    """
    now = model.opset_imports.get("", 0)
    if now <= opset:
        return model
    copy = model.clone()
    _inline_functions(copy, reader)
    without_newer(copy, opset)
    for node in [node for node in copy.graph.all_nodes() if node.domain in ("", "ai.onnx")]:
        _lower(node, now, opset, reader)
        if node.version is not None:
            node.version = opset
    for graph in copy.graphs():
        graph.opset_imports[""] = opset
    copy.ir_version = min(copy.ir_version or 8, 8)
    return copy


def _inline_functions(model: ir.Model, reader: str) -> None:
    """Put the bodies of the model's own functions in the place of their calls: they are lowered."""
    from onnx_ir.passes import PreconditionError
    from onnx_ir.passes.common import InlinePass

    if not model.functions:
        return
    own = {function.domain for function in model.functions.values()}
    for function in model.functions.values():
        prefix_values(function, function.name)
    try:
        InlinePass()(model)
    except (PreconditionError, ValueError) as error:  # recursive, of another opset, …
        raise CompileError(
            f"{reader} reads functions only in the opset of the model: {error}",
            remedy="inline them (onnx.inliner)",
        ) from error
    for domain in own - {node.domain for node in model.graph.all_nodes()} - {""}:
        model.opset_imports.pop(domain, None)


def _lower(node: ir.Node, now: int, opset: int, reader: str) -> None:
    new, old = (schema(node.op_type, version) for version in (now, opset))
    if new is not None and old is not None and new.since_version == old.since_version:
        return
    if old is None:
        raise _refusal(node, opset, reader, f"it is newer than opset {opset}")
    if node.op_type in ("QuantizeLinear", "DequantizeLinear") and opset < _HALF_SCALES:
        scale = node.inputs[1]
        if scale is not None and scale.dtype is not None and scale.dtype.name != "FLOAT":
            raise _refusal(node, opset, reader, f"its scale is {scale.dtype.name}")
    if node.op_type in _REDUCTIONS:
        _axes_to_attribute(node, opset, reader)
    elif node.op_type == "Split":
        _split(node, opset, reader)
    elif node.op_type == "GridSample":
        _grid_sample(node)
    elif node.op_type not in _SAME:
        raise _refusal(node, opset, reader, "its meaning changed since")
    _drop_neutral(node, old, opset, reader)
    inputs = list(node.inputs)
    while inputs and inputs[-1] is None:
        inputs.pop()
    if len(inputs) > old.max_input:
        raise _refusal(node, opset, reader, f"it has {len(inputs)} inputs, then {old.max_input}")


def _drop_neutral(node: ir.Node, old: Any, opset: int, reader: str) -> None:
    """Remove attributes that the older operator lacks, if they say nothing."""
    for name in [name for name in node.attributes if name not in old.attributes]:
        value = node.attributes[name].value
        neutral = value == _NEUTRAL.get(name, object())
        # Dilations of a pool: absent before, and 1 meant none.
        if not neutral and not (name == "dilations" and set(value) <= {1}):
            raise _refusal(node, opset, reader, f"its attribute {name}={value!r} is newer")
        del node.attributes[name]


def _axes_to_attribute(node: ir.Node, opset: int, reader: str) -> None:
    """Case 3. Without axes a reduction is over all, or none with `noop_with_empty_axes`."""
    import onnx_ir as ir

    axes = node.inputs[1] if len(node.inputs) > 1 else None
    noop = node.attributes.pop("noop_with_empty_axes", None)
    values: list[int] = []
    if axes is not None:
        constant = ir.convenience.get_const_tensor(axes)
        if constant is None:
            raise _refusal(node, opset, reader, "its axes are computed at run time")
        values = [int(axis) for axis in constant.numpy().reshape(-1)]
        node.resize_inputs(1)
    if values:
        node.attributes["axes"] = ir.AttrInt64s("axes", values)
    elif noop is not None and noop.value == 1:
        raise _refusal(node, opset, reader, "it reduces nothing (noop_with_empty_axes)")


def _split(node: ir.Node, opset: int, reader: str) -> None:
    """Case 4. `num_outputs` parts, the last one smaller; without sizes Split made equal ones."""
    number = node.attributes.pop("num_outputs", None)
    if number is None:
        return
    count = int(number.value)
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    axis = node.attributes["axis"].value if "axis" in node.attributes else 0
    size = shape[axis] if shape is not None else None
    if not isinstance(size, int):
        raise _refusal(node, opset, reader, "whether its parts are equal isn't known")
    if size % count:
        each = -(-size // count)
        last = size - each * (count - 1)
        if last <= 0:
            raise _refusal(node, opset, reader, f"a size of {size} has no {count} parts")
        node.resize_inputs(2)
        node.replace_input_with(1, Adder(node).constant([each] * (count - 1) + [last]))


def _grid_sample(node: ir.Node) -> None:
    """Case 4. Opset 20 renamed the modes."""
    import onnx_ir as ir

    mode = node.attributes.get("mode")
    text = "linear" if mode is None else str(mode.value)
    node.attributes["mode"] = ir.AttrString("mode", _GRID_MODES.get(text, text))


def _refusal(node: ir.Node, opset: int, reader: str, why: str) -> CompileError:
    return CompileError(
        f"{reader} reads ONNX up to opset {opset}, and node {node.name!r} ({node.op_type}) can't "
        f"be said in it: {why}",
        where=node.name,
        remedy=f"export the model with opset {opset}, or use a newer TensorRT",
    )
