"""Which inputs and outputs TensorRT has, and what they travel to the runtime as."""

from __future__ import annotations

from roadworthy.backends.exchange import RAW_DTYPES
from roadworthy.core.errors import UnavailableError
from roadworthy.core.signature import TensorSpec

_RAW = ("bfloat16", "float8_e4m3fn")
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
    return {spec.name: RAW_DTYPES.get(spec.dtype, spec.dtype) for spec in specs}
