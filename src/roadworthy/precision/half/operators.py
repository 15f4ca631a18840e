"""What each operator's arithmetic means for half numbers. Lists with their reasons.

Matrix products and convolutions are no exception however long their sums are: TensorRT, cuDNN,
oneDNN and ONNX Runtime multiply half numbers and add them up in FP32, and round once at the end.
Should the sum not fit then, the range of the output says so.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from roadworthy.precision.half.formats import Format
from roadworthy.precision.typed import constant, float_constant

# Where the time goes, and half pays: everything else is worth it only beside one of these.
HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"})

# They ask for sizes and never look at a number: any dtype will do, no cast is worth it.
INDIFFERENT = frozenset({"Shape", "Size"})

# Their result is a choice by comparison: rounding before them can swap neighbours.
SELECTS = frozenset(
    {
        "ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "Hardmax", "Less",
        "LessOrEqual", "NonMaxSuppression", "NonZero", "TopK", "Unique",
    }
)  # fmt: skip

# Adding n numbers one by one in half is off by about u·√n (Higham, Accuracy and Stability of
# Numerical Algorithms, 2nd ed., §4.2, with random signs of the roundings). 64 terms cost 8u, three
# bits. Runtimes may use FP32 here, but none promises it for pooling and reductions.
DEEP_REDUCTION = 64

_NORMALISES = "normalisation squares and sums: that overflows half, and the variance underflows"
_EXPONENTIAL = "exponentials and logarithms magnify the rounding of their argument"
_RATIO = "roots and quotients of small numbers leave half's range"
_ANGLE = "an angle's rounding is an absolute error of its sine"
_RUNNING = "a running sum loses its small terms in half"
_POSITION = "sampling positions need more bits than half has"
_RANDOM = "another dtype draws other random numbers"
_RECURRENT = "a recurrent state is rounded again in every step"
_LOSS = "a loss averages logarithms"
_SPECTRAL = "a spectrum sums over the whole signal"
_BITS = "it reads the bits of FP32 numbers"
_HOLDS = "a sequence or an optional value keeps the type of what it holds"

_GROUPS = {
    _NORMALISES: "LayerNormalization InstanceNormalization GroupNormalization RMSNormalization "
    "LpNormalization MeanVarianceNormalization LRN LpPool GlobalLpPool ReduceL2 ReduceSumSquare",
    _EXPONENTIAL: "Softmax LogSoftmax Exp Log ReduceLogSum ReduceLogSumExp Attention FlexAttention",
    _RATIO: "Pow Reciprocal Sqrt ReduceProd Det Mod",
    _ANGLE: "Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh RotaryEmbedding",
    _RUNNING: "CumSum CumProd",
    _POSITION: "GridSample AffineGrid RoiAlign MaxRoiPool DeformConv",
    _RANDOM: "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial",
    _RECURRENT: "LSTM GRU RNN LinearAttention CausalConvWithState",
    _LOSS: "SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss",
    _BITS: "BitCast",
    _HOLDS: "Optional OptionalGetElement OptionalHasElement SequenceConstruct SequenceInsert "
    "SequenceAt SequenceErase SequenceEmpty SequenceLength SplitToSequence ConcatFromSequence",
    _SPECTRAL: "DFT STFT MelWeightMatrix BlackmanWindow HannWindow HammingWindow",
}
ALWAYS = {name: reason for reason, names in _GROUPS.items() for name in names.split()}

_SUMS = frozenset({"ReduceMean", "ReduceSum", "ReduceL1"})


def operator_reason(node: ir.Node, form: Format) -> str:
    """Return why a node of this operator stays FP32 whatever its numbers are; else empty."""
    if node.op_type in ALWAYS:
        return ALWAYS[node.op_type]
    if node.op_type == "Div":
        return _divisor_reason(node, form)
    if node.op_type == "Cast" and all(map(_is_any_float, (node.inputs[0], node.outputs[0]))):
        return "a cast already states its dtype"
    if node.op_type == "BatchNormalization" and _integer(node, "training_mode"):
        return _NORMALISES
    if node.op_type == "Dropout" and _trains(node):
        return _RANDOM
    if node.op_type.startswith("Scatter") and _text(node, "reduction") not in ("", "none"):
        return _RUNNING
    return _reduction_reason(node)


def _is_any_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def _divisor_reason(node: ir.Node, form: Format) -> str:
    divisor = float_constant(node.inputs[1])
    if divisor is not None and divisor.size and np.abs(divisor).min() >= form.smallest_normal:
        return ""
    return _RATIO


def _trains(node: ir.Node) -> bool:
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    values = constant(mode)
    return mode is not None and (values is None or bool(values.any()))


def _reduction_reason(node: ir.Node) -> str:
    if node.op_type in _SUMS or node.op_type == "GlobalAveragePool":
        count = _reduced(node)
    elif node.op_type == "AveragePool":
        count = math.prod(node.attributes["kernel_shape"].as_ints())
    else:
        return ""
    if count is None:
        return f"it sums over a size that isn't known (half: at most {DEEP_REDUCTION})"
    if count > DEEP_REDUCTION:
        return f"it sums over {count} elements (half: at most {DEEP_REDUCTION})"
    return ""


def _reduced(node: ir.Node) -> int | None:
    """Return how many elements each output of a reduction is made of; None where unknown."""
    data = node.inputs[0]
    if data is None or data.shape is None:
        return None
    sizes = list(data.shape)
    if node.op_type == "GlobalAveragePool":
        axes: list[int] | None = list(range(2, len(sizes)))
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        values = constant(node.inputs[1])
        axes = None if values is None else [int(axis) for axis in values]
    elif "axes" in node.attributes:
        axes = list(node.attributes["axes"].as_ints())
    else:
        axes = list(range(len(sizes)))
    if axes is None:
        return None
    picked = [sizes[axis] for axis in axes or range(len(sizes))]
    return (
        math.prod(size for size in picked if isinstance(size, int))
        if all(isinstance(size, int) for size in picked)
        else None
    )


def _integer(node: ir.Node, name: str) -> int:
    return node.attributes[name].as_int() if name in node.attributes else 0


def _text(node: ir.Node, name: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else ""
