"""ONNX Runtime on the host: what it supports, the engine it ships, errors in our words.

The engine is the ONNX file itself with stated session options. ONNX Runtime can save its optimised
graph, but that is bound to one CPU's layouts and instructions; the plain file runs anywhere and is
optimised when it is opened.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import TYPE_CHECKING, Any

from roadworthy.backends.base import CompileOptions, Engine, Session, Support
from roadworthy.backends.onnxruntime.exchange import Exchange
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.errors import CompileError, RunError, UnavailableError
from roadworthy.core.signature import Answers, Array, Signature
from roadworthy.core.target import Target
from roadworthy.graph.serial import to_files

if TYPE_CHECKING:
    import onnx_ir as ir

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeBackend:
    """ONNX Runtime, on the CPU always, on CUDA where its CUDA build is installed."""

    name = "onnxruntime"

    def supports(self, target: Target) -> Support:
        """Tell whether this device, version and place are to be had here."""
        import onnxruntime as ort

        device = target.device or "cpu"
        if target.where:
            return Support(False, "other interpreters and hosts can't be reached yet")
        if device not in PROVIDERS:
            return Support(False, f"ONNX Runtime has no device {device!r} here", _devices())
        if target.version and not ort.__version__.startswith(target.version):
            return Support(
                False,
                f"ONNX Runtime {target.version} was asked for, {ort.__version__} is installed",
                f'pip install "onnxruntime=={target.version}"',
            )
        if PROVIDERS[device] not in ort.get_available_providers():
            return Support(
                False,
                f"this build of ONNX Runtime has no {PROVIDERS[device]}",
                "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
            )
        return Support(True)

    def compile(
        self, model: ir.Model, signature: Signature, target: Target, options: CompileOptions
    ) -> Engine:
        """Serialise the model and open it once, so that a refusal comes now and not later."""
        support = self.supports(target)
        if not support.ok:
            raise UnavailableError(support.reason, where=str(target), remedy=support.remedy)
        if options.precision != "fp32":
            raise UnavailableError(
                f"precision {options.precision} can't be built for {target} yet",
                where="--precision",
                remedy="use --precision fp32",
            )
        engine = Engine(
            target=target,
            signature=signature,
            files=to_files(model, "model.onnx"),
            options=options,
            fingerprint=self.fingerprint(target),
        )
        self.open(engine).close()
        return engine

    def fingerprint(self, target: Target) -> dict[str, str]:
        """Return what an ONNX Runtime engine was verified with."""
        import onnxruntime as ort

        return {
            "runtime": "onnxruntime",
            "version": ort.__version__,
            "provider": PROVIDERS[target.device or "cpu"],
            "machine": platform.machine(),
            "system": platform.system(),
        }

    def open(self, engine: Engine) -> Session:
        """Open an engine here, on the device it was asked for and no other."""
        support = self.supports(engine.target)
        if not support.ok:
            raise UnavailableError(support.reason, where=str(engine.target), remedy=support.remedy)
        from roadworthy.backends.onnxruntime import runtime

        exchange = Exchange(engine.signature)
        options = engine.options
        try:
            runner = runtime.Runner(
                engine.files,
                threads=options.threads or usable_cpus(),
                optimise=options.optimise,
                spinning=options.spinning,
                provider=PROVIDERS[engine.target.device or "cpu"],
            )
        except Exception as error:
            if not _is_foreign(error):
                raise
            raise CompileError(
                f"ONNX Runtime refused the model: {_first_line(error)}",
                where=str(engine.target),
            ) from error
        return Session(engine.signature, _Translating(runner, exchange))


class _Translating:
    """A runner that takes and gives the signature's dtypes, and fails with `RunError`."""

    def __init__(self, runner: Any, exchange: Exchange) -> None:
        self._runner = runner
        self._exchange = exchange

    def run(self, feed: dict[str, Array]) -> Answers:
        ready = self._exchange.inputs(feed)
        try:
            answers: Answers = self._runner.run(ready)
        except Exception as error:
            if not _is_foreign(error):
                raise
            raise RunError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return self._exchange.outputs(answers)

    def close(self) -> None:
        self._runner.close()


def _is_foreign(error: Exception) -> bool:
    """Tell ONNX Runtime's exceptions (and the binding's own) from ours and from defects."""
    module = type(error).__module__
    return "onnxruntime" in module or isinstance(error, RuntimeError | ValueError)


@cache
def _devices() -> str:
    return f"choose one of: {', '.join(PROVIDERS)}"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


BACKEND = OnnxRuntimeBackend()
