"""What TensorRT's ONNX parser reads wrongly though it should know it: said otherwise, or refused.

Found by running ONNX's backend test data on TensorRT 8.6.0 (`tests/conformance`). Without this the
parser drops what it doesn't see, and the engine's answers are wrong, or it crashes.

Said otherwise for all versions, since later ones couldn't be run here:
    Conv, ConvTranspose whose weights aren't plain constants (Q/DQ), without `kernel_shape`: refused
    ("shape misaligns with the input kernel shape"). The attribute is written out.
    Shape with `start` or `end`: both ignored. A Slice of the whole shape.
    CastLike: unknown. A Cast to the type that the other has.
    Trilu, upper: keeps other elements than it should. What isn't in the lower part below it.
Refused before version 9:
    ScatterND, ScatterElements with a `reduction`: it is ignored.
    GridSample of volumes: the parser crashes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from roadworthy.backends.tensorrt.rewrite import Adder
from roadworthy.core.errors import CompileError

if TYPE_CHECKING:
    import onnx_ir as ir

_REFUSED_BEFORE = (9, 0)
_INT32_MAX = 2**31 - 1
# Through these a tensor keeps its shape.
_KEEP_SHAPE = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity")
# Axes of an image batch, N x C x H x W; more are volumes.
_IMAGES = 4


def without_quirks(model: ir.Model, version: tuple[int, int], reader: str) -> ir.Model:
    """Return the model so said that this version's parser reads it rightly; the given one stays.

    `reader` is who can't read it, for the message.

    Raises:
        CompileError: a node that would be read wrongly however it is said.
    """
    nodes = [node for node in model.graph.all_nodes() if _is_onnx(node)]
    for node in nodes:
        reason = _why_refused(node) if version < _REFUSED_BEFORE else None
        if reason is not None:
            raise _refusal(node, reader, reason)
    if not any(map(_rewrite, nodes)):
        return model
    copy = model.clone()
    for node in [node for node in copy.graph.all_nodes() if _is_onnx(node)]:
        rewrite = _rewrite(node)
        if rewrite is not None:
            rewrite(node)
    return copy


def _is_onnx(node: ir.Node) -> bool:
    return node.domain in ("", "ai.onnx")


def _rewrite(node: ir.Node) -> Callable[[ir.Node], None] | None:
    """Return what says a node otherwise, None for one that stays."""
    has, kind = node.attributes, node.op_type
    if kind in ("Conv", "ConvTranspose") and "kernel_shape" not in has and _kernel_shape(node):
        return _with_kernel_shape
    if kind == "Shape" and ("start" in has or "end" in has):
        return _slice_of_shape
    if kind == "Trilu" and _integer(node, "upper", 1) and _dtype(node):
        return _not_below
    if kind == "CastLike" and _likes(node) is not None:
        return _cast
    return None


def _why_refused(node: ir.Node) -> str | None:
    """Return why a node can't be said at all, None where it can."""
    has, kind = node.attributes, node.op_type
    if kind in ("ScatterND", "ScatterElements") and "reduction" in has:
        reduction = has["reduction"].as_string()
        if reduction != "none":
            return f"its parser ignores reduction={reduction!r}, and the answers would be wrong"
    if kind == "GridSample":
        shape = node.inputs[0].shape if node.inputs[0] is not None else None
        if shape is not None and len(shape) > _IMAGES:
            return "its parser crashes on volumes (5-D); it samples images only"
    if kind == "Trilu" and _integer(node, "upper", 1) and not _dtype(node):
        return "its parser reads upper triangles wrongly, and the type isn't known"
    return None


def _kernel_shape(node: ir.Node) -> list[int] | None:
    """Return the spatial sizes of a convolution's weights, None where they aren't known."""
    value = node.inputs[1]
    while value is not None and value.shape is None:
        made = value.producer()
        if made is None or made.op_type not in _KEEP_SHAPE:
            return None
        value = made.inputs[0]
    if value is None or value.shape is None:
        return None
    sizes = list(value.shape)[2:]
    known = [size for size in sizes if isinstance(size, int)]
    return known if len(known) == len(sizes) else None


def _with_kernel_shape(node: ir.Node) -> None:
    import onnx_ir as ir

    node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", _kernel_shape(node) or [])


def _slice_of_shape(node: ir.Node) -> None:
    """Negative positions, and those beyond the rank, mean the same to Slice as they do to Shape."""
    begin, end = _integer(node, "start", 0), _integer(node, "end", _INT32_MAX)
    add = Adder(node)
    whole = add("Shape", node.inputs[0], dtype="INT64")
    sliced = add("Slice", whole, *(add.constant([n]) for n in (begin, end, 0)), dtype="INT64")
    add.take_over(sliced)


def _not_below(node: ir.Node) -> None:
    """Return x where it isn't in the lower part up to diagonal k - 1, which 8.6 gets right."""
    import onnx_ir as ir

    add, dtype = Adder(node), _dtype(node)
    x, k = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    below = add.constant(-1) if k is None else add("Sub", k, add.constant(1), dtype="INT64")
    one = ir.tensor(np.ones(1, np.int64), name="value")
    ones = add("ConstantOfShape", add("Shape", x, dtype="INT64"), dtype="INT64", value=one)
    lower = add("Trilu", ones, below, dtype="INT64", upper=0)
    inside = add("Cast", lower, dtype="BOOL", to=int(ir.DataType.BOOL))
    assert dtype is not None  # else `_rewrite` let it stay
    if dtype.name == "BOOL":
        add.take_over(add("And", x, add("Not", inside, dtype="BOOL"), dtype="BOOL"))
        return
    zero = add.constant(np.zeros((), dtype.numpy()))
    add.take_over(add("Where", inside, zero, x, dtype=dtype.name))


def _likes(node: ir.Node) -> ir.DataType | None:
    """Return the type that a CastLike casts to, None where it isn't known."""
    return next((v.dtype for v in (node.inputs[1], *node.outputs) if v and v.dtype), None)


def _cast(node: ir.Node) -> None:
    add, dtype = Adder(node), _likes(node)
    assert dtype is not None  # else `_rewrite` let it stay
    more = {"to": int(dtype), **{name: has.value for name, has in node.attributes.items()}}
    add.take_over(add("Cast", node.inputs[0], dtype=dtype.name, **more))


def _dtype(node: ir.Node) -> ir.DataType | None:
    """Return the element type of a node that gives what it takes."""
    return next((v.dtype for v in (*node.outputs, node.inputs[0]) if v and v.dtype), None)


def _integer(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _refusal(node: ir.Node, reader: str, why: str) -> CompileError:
    return CompileError(
        f"{reader} can't take node {node.name!r} ({node.op_type}): {why}",
        where=node.name,
        remedy="rewrite that part of the model, or use a newer TensorRT",
    )
