"""Where a runtime's INT8 kernels end: nodes that it keeps in float though it has their operator.

Each case was found by asking the runtime what it really ran (`precision.proof`), with ONNX Runtime
1.31 and OpenVINO 2026.4; `tests/unit/precision/test_kernels.py` runs them all.

ONNX Runtime fuses an operator with the Q/DQ around it, or not at all:

1. The bias of a Conv or Gemm must be a constant of one number for each channel, and alpha and beta
   1 beside it.
2. Add, Concat and Mul take constants only with Q/DQ of their own; one scale for all numbers of a
   constant is too coarse.
3. An AveragePool that states dilations, be they 1, is made a kernel that has none, and the graph is
   refused. It is not if what reads the result stays in float.
4. A Clip between operator and Q goes if Q can't give more than the Clip: for a zero-point that is
   rounded, that is certain for a lower bound of 0 only.
5. A result of Conv, Gemm or MatMul that the network gives too, exactly, isn't quantised inside.
6. Gemm and MatMul give floats as well, see `gives_floats`.

OpenVINO takes the numbers out of Q/DQ and moves what is left down the graph:

7. A ConvTranspose takes neither groups nor a zero-point. Without a zero-point is what is never
   negative. Where shapes vary, a Relu or Clip behind it stays a step of its own, in FP32.
8. It moves Q before a Concat and then counts by channel, on the axis of the Concat. If those aren't
   the channels of what reads it, a Conv runs in FP32 and a MatMul is refused with an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from roadworthy.precision.dialect import COMPUTE, THROUGH, Dialect
from roadworthy.precision.operands import (
    ACTIVATIONS,
    data_axis_of,
    has_own_bias,
    is_weight,
    operator,
)

if TYPE_CHECKING:
    import onnx_ir as ir

BIAS = "its bias isn't a constant of one number a channel: onnxruntime has no INT8 kernel for that"
FACTORS = "its alpha or beta isn't 1 beside a bias: onnxruntime has no INT8 kernel for that"
CONSTANT = "it reads a constant: one scale for all its numbers is too coarse"
DILATED = "onnxruntime's AveragePool in INT8 knows no dilations, and this one states them"
BEHIND_DILATED = "onnxruntime would take the AveragePool before it, with dilations, for INT8"
CLIPPED = "its lower bound isn't 0: onnxruntime keeps it between operator and quantisation"
GIVEN = "the network gives its result too: nothing after it can make up for its rounding"
GROUPS = "openvino has no INT8 kernel for a ConvTranspose with groups"
NEGATIVE = "what it reads may be negative: openvino's ConvTranspose takes no zero-point in INT8"
UNFUSED = "openvino may not fuse it with the ConvTranspose before it"
ACROSS = "it reads a Concat along another axis than its channels: openvino's INT8 can't"

# Which are never negative, or aren't where what they read isn't.
_RECTIFIERS = frozenset({"Relu", "Sigmoid"})
# A cubic Resize may overshoot.
_KEEP_SIGN = THROUGH - {"Resize"} | {"AveragePool", "Concat", "GlobalAveragePool"}


def refusal(node: ir.Node, dialect: Dialect) -> str | None:
    """Return why a runtime has no INT8 kernel for this node, None where it isn't known to lack it.

    Args:
        node: of an operator that the dialect has in INT8, or of an activation.
        dialect: whose runtime.
    """
    reasons = (limit(node) for limit in _LIMITS.get(dialect.name, ()))
    return next((reason for reason in reasons if reason is not None), None)


# -- ONNX Runtime


def gives_floats(node: ir.Node) -> bool:
    """Tell whether a Gemm or MatMul runs in INT8 without Q behind it, too (case 6).

    It doesn't if a Relu or Clip alone reads the result. Nor if an Add alone reads that of a MatMul
    and the two become a Gemm of floats first: it does where a vector can't be lifted out of the way
    (`lifted`). Nor a Gemm whose bias is left in float because another node reads it: ONNX Runtime
    quantises it by itself, but only where the result is quantised.
    """
    users = list(node.outputs[0].uses())
    if len(users) == 1 and operator(users[0].node) in ("Clip", "Relu"):
        return False
    if len(users) == 1 and operator(users[0].node) == "Add" and operator(node) == "MatMul":
        other = users[0].node.inputs[1 - users[0].idx]
        apart = other is not None and other.shape is not None and len(other.shape) >= 2
        return _rank(node) > 2 and (apart or lifted(node) is not None)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return bias is None or len(tuple(bias.uses())) == 1


def lifted(node: ir.Node) -> tuple[ir.Value, int] | None:
    """Return the constant vector that an Add alone adds to a MatMul's result, and that one's rank.

    With three axes or more: said with as many axes, the first ones 1, the vector adds the same, and
    ONNX Runtime leaves MatMul and Add apart.
    """
    users = list(node.outputs[0].uses())
    if operator(node) != "MatMul" or len(users) != 1 or operator(users[0].node) != "Add":
        return None
    other, rank = users[0].node.inputs[1 - users[0].idx], _rank(node)
    if rank < 3 or other is None or not is_weight(other) or other.shape is None:
        return None
    return (other, rank) if len(other.shape) == 1 else None


def _rank(node: ir.Node) -> int:
    """Return the rank of a result, 0 where it isn't known."""
    shape = node.outputs[0].shape
    return 0 if shape is None else len(shape)


def _bias(node: ir.Node) -> str | None:
    """Case 1."""
    if operator(node) not in ("Conv", "Gemm") or len(node.inputs) < 3 or node.inputs[2] is None:
        return None
    if any(_attribute(node, name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return FACTORS
    return None if has_own_bias(node) else BIAS


def _constant(node: ir.Node) -> str | None:
    """Case 2."""
    found = operator(node) in ("Add", "Concat", "Mul") and any(map(is_weight, node.inputs))
    return CONSTANT if found else None


def _dilations(node: ir.Node) -> str | None:
    """Case 3."""
    if _is_dilated_pool(node):
        return DILATED
    before = (source for value in node.inputs for source in _sources(value, ACTIVATIONS | THROUGH))
    return BEHIND_DILATED if any(map(_is_dilated_pool, before)) else None


def _is_dilated_pool(node: ir.Node) -> bool:
    return operator(node) == "AveragePool" and "dilations" in node.attributes


def _clip(node: ir.Node) -> str | None:
    """Case 4."""
    return CLIPPED if operator(node) == "Clip" and _lower_bound(node) != 0.0 else None


def _lower_bound(node: ir.Node) -> float | None:
    """Return a Clip's lower bound; None where it has none, or a computed one."""
    from onnx_ir.convenience import get_const_tensor

    bound = node.inputs[1] if len(node.inputs) > 1 else None
    if bound is None or bound.is_graph_input():
        return None
    constant = get_const_tensor(bound)
    return None if constant is None else float(constant.numpy())


def _given(node: ir.Node) -> str | None:
    """Case 5."""
    return GIVEN if operator(node) in COMPUTE and node.outputs[0].is_graph_output() else None


# -- OpenVINO


def _transposed(node: ir.Node) -> str | None:
    """Case 7."""
    if operator(node) != "ConvTranspose":
        return None
    if _attribute(node, "group", 1) != 1:
        return GROUPS
    return None if _never_negative(node.inputs[0]) else NEGATIVE


def _behind_transposed(node: ir.Node) -> str | None:
    """Case 7."""
    before = next(_sources(node.inputs[0], frozenset()), None) if node.inputs else None
    behind = before is not None and operator(before) == "ConvTranspose"
    return UNFUSED if behind and operator(node) in ("Clip", "Relu") else None


def _never_negative(value: ir.Value | None) -> bool:
    node = value.producer() if value is not None else None
    if node is None:
        return False
    kind = operator(node)
    if kind in _RECTIFIERS:
        return True
    if kind == "Clip":
        low = _lower_bound(node)
        return low is not None and low >= 0.0
    data = node.inputs if kind == "Concat" else node.inputs[:1]
    return kind in _KEEP_SIGN and all(map(_never_negative, data))


def _across(node: ir.Node) -> str | None:
    """Case 8."""
    value = node.inputs[0] if node.inputs else None
    before = value.producer() if value is not None else None
    if before is None or operator(before) != "Concat" or operator(node) not in COMPUTE:
        return None
    shape, channels = before.outputs[0].shape, data_axis_of(node)
    if shape is None or channels is None:
        return None
    rank = len(shape)
    same = _attribute(before, "axis", 0) % rank == channels % rank
    return None if same else ACROSS


# -- both


def _attribute(node: ir.Node, name: str, default: float) -> float:
    found = node.attributes.get(name)
    return default if found is None else found.value


def _sources(value: ir.Value | None, between: frozenset[str]) -> Iterator[ir.Node]:
    """Yield what gives a tensor, and, behind operators of `between`, what gives that one theirs."""
    node = value.producer() if value is not None else None
    while node is not None:
        yield node
        data = node.inputs[0] if operator(node) in between and node.inputs else None
        node = data.producer() if data is not None else None


_LIMITS: Mapping[str, tuple[Callable[[ir.Node], str | None], ...]] = {
    "onnxruntime": (_bias, _constant, _dilations, _clip, _given),
    "openvino": (_transposed, _behind_transposed, _across),
}
