"""Slim: OnnxSlim's fusions, where the extra is installed."""

from __future__ import annotations

import importlib.util

import onnx_ir as ir

from roadworthy.graph.serial import too_large_for
from roadworthy.passes.base import Pass, PassRefused


class Slim(Pass):
    """Fuse what OnnxSlim knows."""

    name = "slim (OnnxSlim)"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return what OnnxSlim makes of the model."""
        if importlib.util.find_spec("onnxslim") is None:
            raise PassRefused('not installed: pip install "roadworthy[slim]"')
        if why := too_large_for("OnnxSlim", model):
            raise PassRefused(why)
        import onnxslim

        try:
            proto = onnxslim.slim(ir.to_proto(model))
        # A foreign simplifier raises anything it likes; whatever it is, the model stays as it was.
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            raise PassRefused(text.splitlines()[0]) from error
        return ir.passes.PassResult(ir.from_proto(proto), modified=True)
