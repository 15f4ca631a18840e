"""Element types that NumPy lacks travel to the runtime as unsigned integers of the same bits."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import numpy as np

from roadworthy.backends.device import device_refusal, device_run
from roadworthy.backends.many import run_each
from roadworthy.core.errors import UnavailableError
from roadworthy.core.signature import Answers, Array, Signature, TensorSpec

_RAW = {"bfloat16": "uint16", "float8_e4m3fn": "uint8"}
_PLAIN = ("float32", "float16", "int8", "uint8", "int32", "int64", "bool")


def travelling(specs: tuple[TensorSpec, ...]) -> dict[str, str]:
    """Return the NumPy dtype in which each tensor travels.

    Raises:
        UnavailableError: TensorRT has no such inputs or outputs.
    """
    for spec in specs:
        if spec.dtype not in _PLAIN and spec.dtype not in _RAW:
            raise UnavailableError(
                f"TensorRT has no {spec.dtype} inputs or outputs",
                where=str(spec),
                remedy=f"convert it in the model to one of {', '.join(_PLAIN)}",
            )
    return {spec.name: _RAW.get(spec.dtype, spec.dtype) for spec in specs}


class Exchanging:
    """A runner that takes and gives the signature's dtypes."""

    def __init__(self, runner: Any, signature: Signature) -> None:
        self.raw = runner
        self.times_itself = getattr(runner, "times_itself", False)
        # On the GPU, those of other element types are left to `run`.
        self.run_device = device_run(runner)
        self.device_refusal = device_refusal(runner)
        self._inputs = {s.name: _RAW[s.dtype] for s in signature.inputs if s.dtype in _RAW}
        self._outputs = {s.name: _dtype(s.dtype) for s in signature.outputs if s.dtype in _RAW}

    def run(self, feed: dict[str, Array]) -> Answers:
        """Run once."""
        return self._shown(self.raw.run(self._ready(feed)))

    def run_many(self, feeds: Iterable[dict[str, Array]]) -> Generator[Answers, None, None]:
        """Run many feeds, overlapping where the runtime can."""
        for answers in run_each(self.raw, map(self._ready, feeds)):
            yield self._shown(answers)

    def time(
        self, feed: dict[str, Array], runs: int, lead: int, host_only: bool = False
    ) -> dict[str, list[int]]:
        """Time runs where the engine is; see the runtime."""
        times: dict[str, list[int]] = self.raw.time(self._ready(feed), runs, lead, host_only)
        return times

    def profile(self, feed: dict[str, Array], runs: int) -> list[dict[str, Any]]:
        """Return time per layer; see the runtime."""
        layers: list[dict[str, Any]] = self.raw.profile(self._ready(feed), runs)
        return layers

    def close(self) -> None:
        """Close the runner."""
        self.raw.close()

    def _shown(self, answers: Answers) -> Answers:
        for name, dtype in self._outputs.items():
            answers[name] = answers[name].view(dtype)
        return answers

    def _ready(self, feed: dict[str, Array]) -> dict[str, Array]:
        if not self._inputs:
            return feed
        return {
            name: array.view(self._inputs[name]) if name in self._inputs else array
            for name, array in feed.items()
        }


def _dtype(name: str) -> np.dtype[Any]:
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return found
