"""How arrays pass between a `Session` and ONNX Runtime: byte order, text, types NumPy lacks.

NumPy holds bfloat16, float8, int4, … through `ml_dtypes`, which `runtime.py` may not import (it is
sent to interpreters that haven't got it); there they travel as unsigned integers of the same bits.
"""

from __future__ import annotations

import numpy as np

from roadworthy.core.errors import InputError, UnavailableError
from roadworthy.core.signature import Answers, Array, Signature

# Types of `ml_dtypes` that ONNX has, and the unsigned integers that `runtime.py` knows them by.
RAW_DTYPES = {
    "bfloat16": np.uint16,
    "float8_e4m3fn": np.uint8,
    "float8_e4m3fnuz": np.uint8,
    "float8_e5m2": np.uint8,
    "float8_e5m2fnuz": np.uint8,
    "float8_e8m0fnu": np.uint8,
    "float4_e2m1fn": np.uint8,
    "int4": np.uint8,
    "uint4": np.uint8,
    "int2": np.uint8,
    "uint2": np.uint8,
}


class Exchange:
    """Converts the arrays of one signature, and leaves those alone that need nothing."""

    def __init__(self, signature: Signature) -> None:
        self._raw_inputs = {
            spec.name: RAW_DTYPES[spec.dtype]
            for spec in signature.inputs
            if spec.dtype in RAW_DTYPES
        }
        self._texts = frozenset(spec.name for spec in signature.inputs if spec.dtype == "str")
        self._raw_outputs = {
            spec.name: _ml_dtype(spec.dtype)
            for spec in signature.outputs
            if spec.dtype in RAW_DTYPES
        }
        if self._texts and self._raw_outputs:
            raise UnavailableError(
                f"ONNX Runtime for Python can't take text and give {', '.join(self._raw_outputs)} "
                f"({', '.join(str(dtype) for dtype in self._raw_outputs.values())}) in one call",
                where=str(signature),
                remedy="cast these outputs to float32 in the model",
            )

    def inputs(self, feed: dict[str, Array]) -> dict[str, Array]:
        """Return the arrays as ONNX Runtime takes them.

        Raises:
            InputError: an array of objects holds something other than text.
        """
        for name, array in feed.items():
            if not array.dtype.isnative:
                # ONNX Runtime reads the bytes as if they were native: a wrong answer, no error.
                feed[name] = array.astype(array.dtype.newbyteorder("="))
            if name in self._texts:
                feed[name] = _text(name, feed[name])
            elif name in self._raw_inputs:
                feed[name] = feed[name].view(self._raw_inputs[name])
        return feed

    def outputs(self, answers: Answers) -> Answers:
        """Return the answers in the signature's dtypes."""
        for name, dtype in self._raw_outputs.items():
            answers[name] = answers[name].view(dtype)
        return answers


def _text(name: str, array: Array) -> Array:
    """Return text as objects; ONNX Runtime would write `str(value)` for whatever isn't text."""
    if array.dtype.kind != "O":
        return array.astype(object)
    strangers = {type(value).__name__ for value in array.flat if not isinstance(value, str)}
    if strangers:
        raise InputError(
            f"input {name!r} takes text, but its array also holds {', '.join(sorted(strangers))}",
            remedy="give an array in which every element is a str",
        )
    return array


def _ml_dtype(name: str) -> np.dtype[np.generic]:
    import ml_dtypes

    found: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
    return found
