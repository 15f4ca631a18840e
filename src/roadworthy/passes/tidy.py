"""Tidy: remove what computes nothing, with onnx_ir's own passes.

1. Constants become initialisers, so that every runtime may pre-pack them.
2. Identity nodes go.
3. Common sub-expressions are computed once.
4. Equal initialisers are stored once.
5. Unused nodes and initialisers go.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from roadworthy.passes.base import Pass, PassRefused


class Tidy(Pass):
    """Remove what computes nothing."""

    name = "tidy"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Apply cases 1 to 5 to a copy."""
        clone = model.clone()
        steps = ir.passes.Sequential(
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
            common.IdentityEliminationPass(),
            common.CommonSubexpressionEliminationPass(),
            common.DeduplicateInitializersPass(),
            common.RemoveUnusedNodesPass(),
        )
        try:
            return steps(clone)
        except ir.passes.PassError as error:
            raise PassRefused(str(error).splitlines()[0]) from error
