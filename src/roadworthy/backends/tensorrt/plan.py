"""An existing `.plan` or `.trt` file as an engine: described by TensorRT itself, then run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.place import open_place
from roadworthy.core.errors import InputError
from roadworthy.core.signature import Axis, Dim, Signature, TensorSpec
from roadworthy.core.target import Target

RUNTIME = "roadworthy.backends.tensorrt.runtime"
# TensorRT's names of types, as a signature names them.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "FP8": "float8_e4m3fn",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


def adopt(path: Path, target: Target) -> Engine:
    """Return an engine for a plan file; TensorRT opens it once where the target is.

    Symbolic axes are named after their tensor and position, `image_axis0`, with the widest range
    over the plan's optimisation profiles.

    Raises:
        InputError: the file can't be read, or is no plan.
        CompileError: TensorRT there can't load it; its reason is in the message.
        UnavailableError: no TensorRT or GPU there.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}", where=str(path)) from error
    if not content:
        raise InputError(f"{path} is empty", where=str(path))
    with open_place(RUNTIME, target.where, isolated=True) as place:
        fingerprint = place.describe(target.device)
        built = place.build({path.name: content}, {"task": "adopt", "device": target.device})
    signature = signature_of_plan(built.proof["tensors"])
    options = CompileOptions(precision="fp32")
    return Engine(target, signature, built.files, options, fingerprint, built.log, built.proof)


def signature_of_plan(tensors: list[Mapping[str, Any]]) -> Signature:
    """Return the signature that a plan's own account of its tensors tells."""
    specs = [(bool(tensor["input"]), _spec(tensor)) for tensor in tensors]
    return Signature(
        tuple(spec for is_input, spec in specs if is_input),
        tuple(spec for is_input, spec in specs if not is_input),
    )


def _spec(tensor: Mapping[str, Any]) -> TensorSpec:
    name, dtype = str(tensor["name"]), _DTYPES.get(str(tensor["dtype"]))
    if dtype is None:
        raise InputError(f"tensor {name!r} of the plan is {tensor['dtype']}, which NumPy lacks")
    shape = tuple(_axis(tensor, index) for index in range(len(tensor["shape"])))
    return TensorSpec(name, dtype, shape)


def _axis(tensor: Mapping[str, Any], index: int) -> Axis:
    size = int(tensor["shape"][index])
    if size >= 0:
        return size
    name = f"{tensor['name']}_axis{index}"
    ranges = [profile for profile in tensor["ranges"] if profile]
    if not ranges:
        return Dim(name, 0)
    low = min(int(profile[0][index]) for profile in ranges)
    high = max(int(profile[2][index]) for profile in ranges)
    return Dim(name, low, high)
