"""How arrays pass between a `Session` and OpenVINO, and which it would mangle in silence.

OpenVINO's CPU computes with 32 bits at most: int64 inputs lose their high half, float64 is rounded
to float32 (1e300 becomes 3.4e38), and text corrupts the heap. What can be told before a run is
refused here; what overflows inside the network is found by verification.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from roadworthy.core.errors import InputError, UnavailableError
from roadworthy.core.signature import Answers, Array, Signature

# Types of `ml_dtypes` that OpenVINO has, and the unsigned integers that they travel as.
RAW_DTYPES = {
    "bfloat16": np.uint16,
    "float8_e4m3fn": np.uint8,
    "float8_e5m2": np.uint8,
    "float8_e8m0fnu": np.uint8,
    "float4_e2m1fn": np.uint8,
    "int4": np.uint8,
    "uint4": np.uint8,
}
NUMPY_DTYPES = frozenset(
    {"bool", "float16", "float32", "int8", "int16", "int32", "int64"}
    | {"uint8", "uint16", "uint32", "uint64"}
)
_REASONS = {
    "str": "its string tensors corrupt the process's memory",
    "float64": "it computes float64 as float32",
}
_LONG = ("int64", "uint64")
_INT32 = np.iinfo(np.int32)


class Exchange:
    """Converts the arrays of one signature, and leaves those alone that need nothing."""

    def __init__(self, signature: Signature) -> None:
        """Raises `UnavailableError` for an input or output that OpenVINO can't carry."""
        for spec in signature:
            if spec.dtype not in RAW_DTYPES and spec.dtype not in NUMPY_DTYPES:
                reason = _REASONS.get(spec.dtype, "it hasn't got this type")
                raise UnavailableError(
                    f"OpenVINO can't be given or asked for {spec.dtype}: {reason}",
                    where=str(spec),
                    remedy="cast it in the model (float64 to float32), or choose onnxruntime",
                )
        self._raw_inputs = {
            spec.name: RAW_DTYPES[spec.dtype]
            for spec in signature.inputs
            if spec.dtype in RAW_DTYPES
        }
        self._raw_outputs: dict[str, np.dtype[np.generic]] = {
            spec.name: np.dtype(getattr(ml_dtypes, spec.dtype))
            for spec in signature.outputs
            if spec.dtype in RAW_DTYPES
        }
        self._long = tuple(spec.name for spec in signature.inputs if spec.dtype in _LONG)

    def inputs(self, feed: dict[str, Array]) -> dict[str, Array]:
        """Return the arrays as OpenVINO takes them.

        Raises:
            InputError: a 64-bit integer that doesn't fit into 32 bits.
        """
        for name, array in feed.items():
            if not array.dtype.isnative:
                feed[name] = array.astype(array.dtype.newbyteorder("="))
            if name in self._raw_inputs:
                feed[name] = feed[name].view(self._raw_inputs[name])
        for name in self._long:
            _check_fits(name, feed[name])
        return feed

    def outputs(self, answers: Answers) -> Answers:
        """Return the answers in the signature's dtypes."""
        for name, dtype in self._raw_outputs.items():
            answers[name] = answers[name].view(dtype)
        return answers


def _check_fits(name: str, array: Array) -> None:
    if array.size and (array.max() > _INT32.max or array.min() < _INT32.min):
        raise InputError(
            f"input {name!r} holds {array.min()} to {array.max()}, and OpenVINO would cut "
            "64-bit integers to 32 bits",
            where=f"input {name!r}",
            remedy=f"keep the values within ±{_INT32.max}, or choose onnxruntime",
        )
