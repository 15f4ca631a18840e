"""Simplify: fold constants, fuse BatchNorm and infer shapes, with onnxsim.

onnxsim's own self-check runs zero times by default; the guarded runner checks it on real samples.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from importlib.abc import MetaPathFinder

import onnx_ir as ir

from roadworthy.graph.serial import too_large_for
from roadworthy.passes.base import Pass, PassRefused


class Simplify(Pass):
    """Fold constants and fuse."""

    name = "simplify (onnxsim)"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return what onnxsim makes of the model."""
        if why := too_large_for("onnxsim", model):
            raise PassRefused(why)
        with _without_torch():
            import onnxsim

        try:
            proto, _ = onnxsim.simplify(ir.to_proto(model), check_n=0)
        # A foreign simplifier raises anything it likes; whatever it is, the model stays as it was.
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            raise PassRefused(text.splitlines()[0]) from error
        return ir.passes.PassResult(ir.from_proto(proto), modified=True)


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Let this thread find no PyTorch that isn't imported yet.

    onnxsim imports it on the way to PPQ, a quantiser, which takes several times as long as all the
    rest of it. Where PPQ isn't installed either, that is for nothing.
    """
    if importlib.util.find_spec("ppq") is not None:
        yield
        return
    hidden = _Hidden("torch")
    sys.meta_path.insert(0, hidden)
    try:
        yield
    finally:
        sys.meta_path.remove(hidden)


class _Hidden(MetaPathFinder):
    """Says of one module that it isn't installed, to the thread that made this."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Raise for that module; of others nothing is known here."""
        if fullname == self._name and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
