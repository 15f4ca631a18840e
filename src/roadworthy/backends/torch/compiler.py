"""The target `torch`: refused, with the reason.

PyTorch has no reader for ONNX, and a network that was turned back into a module by somebody else's
converter would be neither the user's network nor an engine. What users run today is timed from the
source itself: `baselines.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from roadworthy.backends.base import CompileOptions, Engine, Say, Support, quiet
from roadworthy.backends.session import Session
from roadworthy.core.errors import UnavailableError
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target

if TYPE_CHECKING:
    import onnx_ir as ir

_REASON = "PyTorch runs the source network itself: it is the baseline, not an engine to ship"
_REMEDY = "deploy the source for another target; PyTorch is timed beside it"


class TorchBackend:
    """A name that people will try, and what to do instead."""

    name = "torch"

    def supports(self, target: Target) -> Support:
        """No, with the reason."""
        return Support(False, _REASON, _REMEDY)

    def compile(
        self,
        model: ir.Model,
        signature: Signature,
        target: Target,
        options: CompileOptions,
        say: Say = quiet,
    ) -> Engine:
        """Raise `UnavailableError`."""
        _refuse(target)

    def open(self, engine: Engine) -> Session:
        """Raise `UnavailableError`."""
        _refuse(engine.target)

    def fingerprint(self, target: Target) -> dict[str, str]:
        """Raise `UnavailableError`."""
        _refuse(target)


def _refuse(target: Target) -> NoReturn:
    raise UnavailableError(_REASON, where=str(target), remedy=_REMEDY)


BACKEND = TorchBackend()
