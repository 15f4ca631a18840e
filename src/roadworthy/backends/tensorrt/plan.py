"""An existing `.plan` or `.trt` file as an engine: described by TensorRT itself, then run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
# From what loses most to what loses nothing: an engine is as exact as its least exact layer.
_LOSSES = ("fp8", "int8", "bf16", "fp16", "tf32", "fp32")


def read_plan(path: Path) -> bytes:
    """Return a plan file's content; what is in it, only TensorRT can say.

    Raises:
        InputError: missing, unreadable or empty.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the plan can't be read: {error.strerror}",
            where=str(path),
            remedy="give the path of a .plan, .trt or .engine file",
        ) from error
    if not content:
        raise InputError(
            "the plan is empty", where=str(path), remedy="copy it again, or build it anew"
        )
    return content


def adopt(path: Path, target: Target) -> Engine:
    """Return an engine for a plan file; TensorRT opens it once where the target is.

    Symbolic axes are named after their tensor and position, `image_axis0`, with the widest range
    over the plan's optimisation profiles.

    `options.precision` is what its layers tell; see `precision_told`.

    Raises:
        InputError: the file can't be read, or NumPy has no such tensors.
        CompileError: TensorRT there can't load it; its reason is in the message.
        UnavailableError: no TensorRT or GPU there.
    """
    content = read_plan(path)
    with open_place(RUNTIME, target.where, isolated=True) as place:
        fingerprint = place.describe(target.device)
        built = place.build({path.name: content}, {"task": "adopt", "device": target.device})
    signature = signature_of_plan(built.proof["tensors"])
    options = CompileOptions(precision=precision_told(built.proof).precision)
    return Engine(target, signature, built.files, options, fingerprint, built.log, built.proof)


def signature_of_plan(tensors: list[Mapping[str, Any]]) -> Signature:
    """Return the signature that a plan's own account of its tensors tells."""
    specs = [(bool(tensor["input"]), _spec(tensor)) for tensor in tensors]
    return Signature(
        tuple(spec for is_input, spec in specs if is_input),
        tuple(spec for is_input, spec in specs if not is_input),
    )


@dataclass(frozen=True, slots=True)
class Told:
    """What a plan's layers tell of its precision.

    Attributes:
        precision: the least exact one found; "fp32", the strictest, where nothing is told.
        sure: False where that may not be all: layers that tell nothing, or hide their inside.
        why: for people, e.g. "3 of 12 layers of the plan run in fp16".
    """

    precision: str
    sure: bool
    why: str


def precision_told(proof: Mapping[str, Any]) -> Told:
    """Return what the account of a plan's layers (`Engine.proof`) tells of its precision.

    A plan that was built without detailed profiling verbosity (trtexec's default) tells names of
    layers only. A fused subgraph (ForeignNode) tells what it takes and gives, not what it computes
    in.
    """
    counts: Mapping[str, int] = proof["layers"]
    total = layer_count(proof)
    least = next((name for name in _LOSSES if counts.get(name)), None)
    if least is None:
        return Told("fp32", False, "the plan doesn't tell in what precision its layers run")
    why = f"{counts[least]} of {total} layers of the plan run in {least}"
    hidden = sum(proof["opaque"].values())
    if least == "fp32" and hidden:
        return Told(least, False, f"{why}, {hidden} of them hide what they compute in")
    return Told(least, True, why)


def layer_count(proof: Mapping[str, Any]) -> int:
    """Return how many layers of a plan compute something."""
    return sum(proof["layers"].values())


def within_a_profile(proof: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> bool:
    """Tell whether one optimisation profile of a plan takes all of these input shapes.

    The ranges of the signature are the widest over all profiles, so that a shape within them can
    still be in none.
    """
    inputs = [tensor for tensor in proof["tensors"] if tensor["input"]]
    profiles = max((len(tensor["ranges"]) for tensor in inputs), default=0)
    return any(
        all(_takes(tensor["ranges"][index], shapes[tensor["name"]]) for tensor in inputs)
        for index in range(profiles)
    )


def _takes(profile: Sequence[Sequence[int]], shape: Sequence[int]) -> bool:
    if not profile:  # an input by value: TensorRT states no shapes for it
        return True
    low, _, high = profile
    return all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))


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
