"""What a pass is here: a functional `onnx_ir` pass that says its name and refuses with a reason.

Every pass must keep the signature and, within the noise floor, the answers. It doesn't check that
itself: the guarded runner does, for all of them, so that no author can forget it.
"""

from __future__ import annotations

import abc
from typing import ClassVar

import onnx_ir as ir


class PassRefused(Exception):  # noqa: N818 - a refusal is an outcome, not an error of ours
    """A pass can't be applied to this model; the message is the reason."""


class Pass(ir.passes.FunctionalPass):
    """One transform of the graph, returning a new model and leaving its input alone."""

    name: ClassVar[str]

    @abc.abstractmethod
    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Transform. Raises `PassRefused` with the reason where it can't."""
