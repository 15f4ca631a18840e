"""How arrays pass between a `Session` and OpenVINO, and which it would mangle in silence.

OpenVINO's CPU computes with 32 bits at most: int64 inputs lose their high half, float64 is rounded
to float32 (1e300 becomes 3.4e38), and text corrupts the heap. What can be told before a run is
refused here; what overflows inside the network is found by verification.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from roadworthy.backends import exchange
from roadworthy.core.errors import InputError, UnavailableError
from roadworthy.core.signature import Array, Signature

DTYPES = frozenset(
    {"bool", "float16", "float32", "int8", "int16", "int32", "int64"}
    | {"uint8", "uint16", "uint32", "uint64"}
    | {"bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float4_e2m1fn"}
    | {"int4", "uint4"}
)
_REASONS = {
    "str": "its string tensors corrupt the process's memory",
    "float64": "it computes float64 as float32",
}
_LONG = ("int64", "uint64")
_INT32 = np.iinfo(np.int32)


class Exchange(exchange.Exchange):
    """Converts the arrays of one signature; integers of 64 bits are looked at."""

    def __init__(self, signature: Signature) -> None:
        """Raises `UnavailableError` for an input or output that OpenVINO can't carry."""
        for spec in signature:
            if spec.dtype not in DTYPES:
                reason = _REASONS.get(spec.dtype, "it hasn't got this type")
                raise UnavailableError(
                    f"OpenVINO can't be given or asked for {spec.dtype}: {reason}",
                    where=str(spec),
                    remedy="cast it in the model (float64 to float32), or choose onnxruntime",
                )
        super().__init__(signature)
        self.into |= {
            spec.name: partial(_fitting, spec.name)
            for spec in signature.inputs
            if spec.dtype in _LONG
        }


def _fitting(name: str, array: Array) -> Array:
    """Return the array if its values fit into 32 bits."""
    if array.size and (array.max() > _INT32.max or array.min() < _INT32.min):
        raise InputError(
            f"input {name!r} holds {array.min()} to {array.max()}, and OpenVINO would cut "
            "64-bit integers to 32 bits",
            where=f"input {name!r}",
            remedy=f"keep the values within ±{_INT32.max}, or choose onnxruntime",
        )
    return array
