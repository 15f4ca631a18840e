"""Engines for OpenVINO, one thread."""

from __future__ import annotations

import onnx_ir as ir

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.openvino.compiler import BACKEND
from roadworthy.backends.openvino.runtime import ov
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of

NAMED = """g (float[batch, 1, h, w] image) => (float[batch, 2, h, w] y) {
    [first] c = Conv<pads = [1, 1, 1, 1]>(image, k1)
    [positive] r = Relu(c)
    [second] s = Conv(r, k2)
    [curve] y = Tanh(s)
}"""


def compiled(
    model: ir.Model,
    precision: str = "fp32",
    target: str = "openvino",
    signature: Signature | None = None,
    threads: int = 1,
    **extra: str,
) -> Engine:
    """Compile; `extra` are OpenVINO's own options."""
    options = CompileOptions(precision, threads, extra=tuple(sorted(extra.items())))
    return BACKEND.compile(model, signature or signature_of(model), Target.parse(target), options)


def cpu_can(precision: str) -> bool:
    """Tell whether this CPU has "BF16" or "FP16", as OpenVINO sees it."""
    return precision in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
