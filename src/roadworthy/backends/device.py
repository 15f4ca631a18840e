"""Arrays that are on the GPU already, through an engine in this process, without a copy.

Whether an engine can run so is known once it is open. A runner that can has `run_device`; one that
has it, but not for this network, says why in `device_refusal`. Whoever wraps a runner passes both
on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from roadworthy.backends.dlpack import DlpackArray, is_dlpack
from roadworthy.core.errors import InputError
from roadworthy.core.signature import Array


class DeviceRun(Protocol):
    """Runs from GPU arrays to GPU arrays; `Session.run_device`.

    Args:
        feed: every input by name: contiguous objects with `__cuda_array_interface__`; a session
            also takes those that have only `__dlpack__`.
        outputs: the same for the outputs, to be written; None makes new ones.
        stream: handle of a CUDA stream: the work is queued there and the call returns at once. None
            waits for the results.

    Raises:
        InputError: names, dtypes or shapes that the signature doesn't allow.
        RunError: the runtime failed.
        UsageError: the session is closed, or in use by another thread.
    """

    def __call__(
        self,
        feed: Mapping[str, Any],
        outputs: Mapping[str, Any] | None = None,
        stream: int | None = None,
    ) -> dict[str, Any]:
        """Return every output by name: those given, or new objects of the same interface."""
        ...


def device_run(runner: Any) -> DeviceRun | None:
    """Return a runner's `run_device`, None where it can't run its network so."""
    found: DeviceRun | None = getattr(runner, "run_device", None)
    return None if device_refusal(runner) else found


def device_refusal(runner: Any) -> str:
    """Say why `device_run` is None, "" where it isn't."""
    why: str = getattr(runner, "device_refusal", "")
    if why or getattr(runner, "run_device", None) is not None:
        return why
    return "only an engine of TensorRT, in this process, takes arrays on the GPU"


def in_place(name: str, value: Any, stream: int | None) -> Any:
    """Return a GPU array as runners take it: with `__cuda_array_interface__`.

    Raises:
        InputError: it has neither that interface nor DLPack's, or isn't on a GPU.
    """
    if hasattr(value, "__cuda_array_interface__"):
        return value
    if is_dlpack(value):
        return DlpackArray(value, stream)
    raise InputError(
        f"{name!r} is a {type(value).__name__}, not a GPU array",
        where=repr(name),
        remedy="give objects with __cuda_array_interface__ or __dlpack__, e.g. CUDA tensors, or "
        "use run()",
    )


def stand_in(array: Any) -> Array:
    """Return an array of the dtype and shape of one on the GPU that takes no memory."""
    said = array.__cuda_array_interface__
    return np.broadcast_to(np.empty((), np.dtype(said["typestr"])), tuple(said["shape"]))
