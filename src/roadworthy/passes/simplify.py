"""Simplify: fold constants, fuse BatchNorm and infer shapes, with onnxsim.

onnxsim's own self-check runs zero times by default; the guarded runner checks it on real samples.
"""

from __future__ import annotations

import onnx_ir as ir

from roadworthy.passes.base import Pass, PassRefused


class Simplify(Pass):
    """Fold constants and fuse."""

    name = "simplify (onnxsim)"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return what onnxsim makes of the model."""
        import onnxsim

        try:
            proto, _ = onnxsim.simplify(ir.to_proto(model), check_n=0)
        # A foreign simplifier raises anything it likes; whatever it is, the model stays as it was.
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            raise PassRefused(text.splitlines()[0]) from error
        return ir.passes.PassResult(ir.from_proto(proto), modified=True)
