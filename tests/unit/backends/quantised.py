"""An INT8 network in each backend's dialect, with a plan: real scales from seeded samples."""

from __future__ import annotations

from functools import cache

import onnx
import onnx_ir as ir
import pytest

from roadworthy.backends.onnxruntime.runtime import runner
from roadworthy.core.cpus import cpu_features
from roadworthy.core.samples import Samples
from roadworthy.graph.signature import signature_of
from roadworthy.precision.dialect import dialect_for
from roadworthy.precision.placement import place
from roadworthy.precision.plan import PrecisionPlan
from roadworthy.precision.quantize import named, observe, quantize, split
from tests.models import normal, proto

# A residual block between a first and a last layer, which stay in float.
BLOCK = """g (float[batch, 3, h, w] image) => (float[batch, 2, h, w] y) {
    [first] a = Conv<pads = [1, 1, 1, 1]>(image, k0) [r0] b = Relu(a)
    [c1] c = Conv<pads = [1, 1, 1, 1]>(b, k1, b1) [r1] d = Relu(c)
    [c2] e = Conv<pads = [1, 1, 1, 1]>(d, k2) [add] f = Add(e, b) [r2] g = Relu(f)
    [c3] i = Conv(g, k3) [r3] j = Relu(i)
    [last] y = Conv(j, k4)
}"""
CONVOLUTIONS = ("first", "c1", "c2", "c3", "last")


def weights() -> dict[str, object]:
    """Return the weights of BLOCK."""
    shapes = {"k0": (16, 3, 3, 3), "k1": (16, 16, 3, 3), "b1": (16,), "k2": (16, 16, 3, 3)}
    shapes |= {"k3": (16, 16, 1, 1), "k4": (2, 16, 1, 1)}
    return {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def block() -> ir.Model:
    """Return BLOCK in FP32."""
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto(BLOCK, weights())))


@cache
def quantised(backend: str) -> tuple[ir.Model, PrecisionPlan]:
    """Return BLOCK with Q/DQ for a backend, and its plan."""
    model = named(block())
    dialect = dialect_for(backend, cpu_features())
    given = Samples.of_arrays([{"image": normal(1, 3, 8, 8, seed=seed)} for seed in range(4)])
    parts = split(given)
    calibration = observe(
        model, [place(model, dialect)], parts.seen, threads=1, progress=lambda *_: None
    )
    made = quantize(
        model, signature_of(model), dialect, calibration, parts,
        method="minmax", progress=lambda *_: None,
    )  # fmt: skip
    return made.model, made.plan


def deafen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ONNX Runtime take no notice of being told to optimise: Q/DQ are computed as written."""
    real = runner.session_options
    monkeypatch.setattr(
        runner, "session_options", lambda threads, optimise, *rest: real(threads, False, *rest)
    )
