"""An engine's inputs and outputs, and their values on the way in and out."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

# TensorRT's name of a type: NumPy's; raw bits where NumPy has no such type.
_NUMPY = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
    "BF16": "uint16",
    "FP8": "uint8",
}
_INT32 = np.iinfo(np.int32)


class Port:
    """One input or output of an engine: TensorRT's dtype, and the one the caller has."""

    def __init__(self, trt: Any, engine: Any, name: str, wanted: Optional[str]) -> None:
        kind = engine.get_tensor_dtype(name).name
        if kind not in _NUMPY:
            raise RuntimeError("tensor %r is %s, which NumPy can't hold" % (name, kind))
        self.name = name
        self.dtype = np.dtype(_NUMPY[kind])
        self.wanted = np.dtype(wanted) if wanted else self.dtype
        # TensorRT before 10 has no INT64: values travel as INT32 and are checked on both ways.
        self.narrow = self.wanted == np.int64 and self.dtype == np.int32
        if self.wanted != self.dtype and not self.narrow:
            raise RuntimeError(
                "tensor %r is %s in the engine, the model says %s" % (name, self.dtype, self.wanted)
            )
        self.on_host = engine.get_tensor_location(name) == trt.TensorLocation.HOST
        if engine.get_tensor_components_per_element(name) > 1:
            raise RuntimeError("tensor %r has a packed format, which can't be bound" % name)

    def into(self, target: np.ndarray, array: np.ndarray) -> None:
        """Copy the caller's array into a buffer of the engine's dtype."""
        if self.narrow and array.size and array.dtype == np.int64:
            low, high = int(array.min()), int(array.max())
            if low < _INT32.min or high > _INT32.max:
                raise RuntimeError(
                    "input %r holds %d, and this TensorRT computes INT64 as INT32"
                    % (self.name, low if low < _INT32.min else high)
                )
        np.copyto(target, array, casting="unsafe" if self.narrow else "no")

    def out_of(self, source: np.ndarray) -> np.ndarray:
        """Return a copy in the caller's dtype."""
        if not self.narrow:
            return np.array(source)
        if source.size and (source.max() == _INT32.max or source.min() == _INT32.min):
            raise RuntimeError(
                "output %r reaches the limit of INT32, in which this TensorRT computes INT64: "
                "its values may have been cut off" % self.name
            )
        return source.astype(np.int64)
