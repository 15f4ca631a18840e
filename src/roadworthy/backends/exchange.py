"""How arrays pass between a `Session` and a runtime: byte order, and types that NumPy lacks.

NumPy holds bfloat16, float8, int4, … through `ml_dtypes`, which a runtime may not import (it is
sent to interpreters that haven't got it); there they travel as unsigned integers of the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from operator import methodcaller
from typing import Any

import numpy as np

from roadworthy.backends.base import Runner, notes_of
from roadworthy.backends.device import device_refusal, device_run
from roadworthy.backends.many import run_each
from roadworthy.core.signature import Answers, Array, Signature

# Types of `ml_dtypes` that ONNX has, and the unsigned integers that runtimes know them by.
RAW_DTYPES = {
    "bfloat16": "uint16",
    "float8_e4m3fn": "uint8",
    "float8_e4m3fnuz": "uint8",
    "float8_e5m2": "uint8",
    "float8_e5m2fnuz": "uint8",
    "float8_e8m0fnu": "uint8",
    "float4_e2m1fn": "uint8",
    "int4": "uint8",
    "uint4": "uint8",
    "int2": "uint8",
    "uint2": "uint8",
}


class Exchange:
    """Converts the arrays of one signature, and leaves those alone that need nothing.

    A backend that has more to do with an input, or to refuse, adds to `into`.

    Attributes:
        into: what is done to an input's array, by name.
        out_of: the dtype that an output's array is seen as, by name.
    """

    def __init__(self, signature: Signature) -> None:
        self.into: dict[str, Callable[[Array], Array]] = {
            spec.name: methodcaller("view", np.dtype(RAW_DTYPES[spec.dtype]))
            for spec in signature.inputs
            if spec.dtype in RAW_DTYPES
        }
        self.out_of = {
            spec.name: _ml_dtype(spec.dtype)
            for spec in signature.outputs
            if spec.dtype in RAW_DTYPES
        }

    def inputs(self, feed: dict[str, Array]) -> dict[str, Array]:
        """Return the arrays as the runtime takes them, in the same dictionary.

        Raises:
            InputError: values that this runtime can't be given.
        """
        for name, array in feed.items():
            if not array.dtype.isnative:
                # A runtime reads the bytes as if they were native: a wrong answer, no error.
                feed[name] = array.astype(array.dtype.newbyteorder("="))
            if name in self.into:
                feed[name] = self.into[name](feed[name])
        return feed

    def outputs(self, answers: Answers) -> Answers:
        """Return the answers in the signature's dtypes, in the same dictionary."""
        for name, dtype in self.out_of.items():
            answers[name] = answers[name].view(dtype)
        return answers


def _ml_dtype(name: str) -> np.dtype[np.generic]:
    import ml_dtypes

    found: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
    return found


class Exchanging:
    """A runner that takes and gives the signature's dtypes and speaks of ONNX nodes.

    Args:
        runner: the runtime's.
        exchange: converts for it.
        name_rows: tells the rows of its profile which ONNX nodes they came from, None where the
            runtime does.
    """

    def __init__(
        self,
        runner: Runner,
        exchange: Exchange,
        name_rows: Callable[[list[dict[str, Any]]], None] | None = None,
    ) -> None:
        self._runner = runner
        self._exchange = exchange
        self._name_rows = name_rows
        self.times_itself = getattr(runner, "times_itself", False)
        # On the GPU, arrays of types that NumPy lacks are left to `run`.
        self.run_device = device_run(runner)
        self.device_refusal = device_refusal(runner)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the runner says of itself."""
        return notes_of(self._runner)

    def run(self, feed: dict[str, Array]) -> Answers:
        """Run once."""
        return self._exchange.outputs(self._runner.run(self._exchange.inputs(feed)))

    def run_many(self, feeds: Iterable[dict[str, Array]]) -> Generator[Answers, None, None]:
        """Run many feeds, overlapping where the runtime can."""
        for answers in run_each(self._runner, map(self._exchange.inputs, feeds)):
            yield self._exchange.outputs(answers)

    def time(
        self, feed: dict[str, Array], runs: int, lead: int, host_only: bool = False
    ) -> dict[str, list[int]]:
        """Time runs where the engine is; see the runtime."""
        return self._runner.time(self._exchange.inputs(feed), runs, lead, host_only)

    def profile(self, feed: dict[str, Array], runs: int) -> list[dict[str, Any]]:
        """Return time per layer, on the names of the ONNX nodes; see the runtime."""
        rows = self._runner.profile(self._exchange.inputs(feed), runs)
        if self._name_rows is not None:
            self._name_rows(rows)
        return rows

    def close(self) -> None:
        """Close the runner."""
        self._runner.close()
