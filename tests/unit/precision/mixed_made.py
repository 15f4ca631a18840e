"""What the tests of INT8 beside FP16 need: networks, and both lowered graphs of one plan."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from roadworthy.core.samples import Samples
from roadworthy.core.signature import Array
from roadworthy.graph.signature import signature_of
from roadworthy.precision.calibrate import calibrate
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.half.quantised import is_int8
from roadworthy.precision.lower import lower
from roadworthy.precision.mixed import with_half_rest
from roadworthy.precision.placement import place
from roadworthy.precision.quantize import Quantization, named, observe
from roadworthy.precision.scales import make_plan
from roadworthy.precision.scoring import literal_answers, score
from roadworthy.precision.typed import constant, is_float, typed_copy
from tests.models import network, normal
from tests.unit.precision.int8_made import convnet8, images, quiet

HALF_SCALES = replace(dialect_for("tensorrt"), scale_dtype="float16")
Q, DQ = "QuantizeLinear", "DequantizeLinear"
Ranges = dict[str, tuple[float, float]]

SILU = """g (float[b, 8, h, w] x) => (float[b, 8, h, w] y) {
    [first] a = Conv<pads = [1, 1, 1, 1]>(x, k1) [s1] s = Sigmoid(a) [m1] m = Mul(a, s)
    [c2] c = Conv<pads = [1, 1, 1, 1]>(m, k2, b2) [s2] t = Sigmoid(c) [m2] n = Mul(c, t)
    [c3] d = Conv<pads = [1, 1, 1, 1]>(n, k3) [skip] e = Add(d, m)
    [last] y = Conv<pads = [1, 1, 1, 1]>(e, k4)
}"""
TRANSFORMER = """g (float[b, n, 16] x) => (float[b, n, 16] y) {
    [embed] e = MatMul(x, w0)
    [norm] l = LayerNormalization(e, g1, b1)
    [q] q = MatMul(l, wq) [k] k = MatMul(l, wk) [v] v = MatMul(l, wv)
    [kt] kt = Transpose<perm = [0, 2, 1]>(k) [qk] qk = MatMul(q, kt) [scaled] z = Mul(qk, quarter)
    [softmax] p = Softmax(z) [pv] pv = MatMul(p, v) [o] o = MatMul(pv, wo) [res] r = Add(e, o)
    [norm2] l2 = LayerNormalization(r, g1, b1)
    [up] u = MatMul(l2, w1) [bias] ub = Add(u, bu) [gelu] f = Gelu(ub) [down] d = MatMul(f, w2)
    [res2] r2 = Add(r, d) [head] y = MatMul(r2, wh)
}"""


def silu_weights() -> dict[str, Array]:
    return {f"k{i}": normal(8, 8, 3, 3, seed=i) * 0.2 for i in range(1, 5)} | {"b2": normal(8)}


def transformer_weights() -> dict[str, Array]:
    names = ("w0", "wq", "wk", "wv", "wo", "wh")
    made = {name: normal(16, 16, seed=i) * 0.3 for i, name in enumerate(names)}
    made |= {"w1": normal(16, 64, seed=11) * 0.3, "w2": normal(64, 16, seed=12) * 0.15}
    made |= {"g1": np.ones(16, np.float32), "b1": normal(16, seed=13) * 0.1}
    return made | {"bu": normal(64, seed=14) * 0.1, "quarter": np.float32(0.25)}


def networks() -> dict[str, tuple[ir.Model, Samples]]:
    """Return networks with samples for them, by name."""
    return {
        "conv": (convnet8(), images(12)),
        "silu": (named(network(SILU, silu_weights())), images(12)),
        "transformer": (named(network(TRANSFORMER, transformer_weights())), images(12, 2, 10, 16)),
    }


@dataclass(frozen=True)
class Made:
    """One INT8 plan for FP16 scales, lowered in FP32, and with the rest in FP16.

    Attributes:
        network: FP32.
        samples: that it was calibrated with.
        wide: Q/DQ and all else in FP32.
        mixed: the same integers, the rest in FP16.
        ranges: of the FP32 network's tensors.
    """

    network: ir.Model
    samples: Samples
    wide: Quantization
    mixed: Quantization
    ranges: Ranges

    def sqnr_db(self, model: ir.Model) -> float:
        """Return how near a graph's answers are to the FP32 network's, computed literally."""
        signature = signature_of(self.network)
        exact = list(literal_answers(self.network, signature, self.samples))
        return score(exact, literal_answers(model, signature, self.samples)).sqnr_db


def made(model: ir.Model, samples: Samples, *, half_scales: bool = True) -> Made:
    """Quantise with min-max."""
    dialect = HALF_SCALES if half_scales else dialect_for("tensorrt")
    placement = place(model, dialect)
    seen = observe(model, [placement], samples, threads=1, progress=quiet)
    plan = make_plan(model, placement, seen, "minmax")
    wide = Quantization(lower(model, plan, dialect), plan, (), 0)
    ranges = every_range(model, samples)
    return Made(model, samples, wide, with_half_rest(wide, ranges), ranges)


def every_range(model: ir.Model, samples: Samples) -> Ranges:
    """Return the range of every FP32 tensor, as a deploy finds it."""
    typed = typed_copy(model)
    values = (*typed.graph.inputs, *(value for node in typed.graph for value in node.outputs))
    tensors = [value.name or "" for value in values if is_float(value)]
    return calibrate(typed, samples, tensors, histograms=False, threads=1, progress=quiet).ranges


def expect_no_cast_beside_int8(model: ir.Model) -> None:
    """A runtime fuses an INT8 operator with the DQs before it: all are of one dtype."""
    for node in model.graph:
        if node.op_type == DQ:
            scale = node.inputs[1]
            assert scale is not None
            assert scale.dtype == node.outputs[0].dtype
        if is_int8(node):
            assert len({value.dtype for value in node.inputs if value is not None}) == 1
        elif node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            makers = [value.producer() for value in node.inputs[:2] if value is not None]
            casts = [maker for maker in makers if maker is not None and maker.op_type == "Cast"]
            sources = [cast.inputs[0].producer() for cast in casts if cast.inputs[0] is not None]
            assert not [item for item in sources if item is not None and item.op_type == DQ]


def integers(model: ir.Model) -> dict[str, Array]:
    """Return what a graph's QuantizeLinears make of its constants, by the name of the node."""
    found = {}
    for node in model.graph:
        values = constant(node.inputs[0]) if node.op_type == Q else None
        if values is None:
            continue
        scale = constant(node.inputs[1])
        assert scale is not None
        assert scale.dtype == values.dtype
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        shape = [-1 if i == axis else 1 for i in range(values.ndim)] if scale.size > 1 else []
        # In the dtype that the graph states: what a runtime divides in at the worst.
        steps = np.rint(values / scale.reshape(shape))
        found[node.name or ""] = np.clip(steps, -128, 127).astype(np.int8)
    return found
