"""Tensors through an open engine: where they lie if that can be, else by way of the host."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch

from roadworthy.backends.session import Session
from roadworthy.core.signature import Dim, Signature
from roadworthy.source.torch.exchange import as_array, as_tensor

# Element types that a runtime on the GPU takes as they are.
_PLAIN = ("float32", "float16", "int8", "uint8", "int32", "int64", "bool")


class TensorRuns:
    """Runs of one engine, which says once for each reason that CUDA tensors must be copied."""

    def __init__(self, device: str | None) -> None:
        """Take the engine's own device, as its target names it."""
        self._gpu = gpu_of(device)
        self._said: set[str] = set()

    def run(
        self, session: Session, feed: Mapping[str, torch.Tensor], device: torch.device
    ) -> dict[str, torch.Tensor]:
        """Run once.

        CUDA tensors stay where they are if the engine takes them: the work is queued on torch's
        current stream, the results are made by torch. Whatever fails then is raised.

        Args:
            session: this thread's, of the engine.
            feed: tensors by the inputs' names, of their dtypes.
            device: what all of them are on.

        Returns:
            The outputs, on that device.

        Raises:
            InputError: names or shapes that the signature doesn't allow, or tensors without values.
            RunError: the runtime failed.
        """
        why = ""
        if device.type == "cuda":
            given = {name: compact(tensor) for name, tensor in feed.items()}
            outputs = self._room(session, given, device)
            if not isinstance(outputs, str):
                run = session.run_device
                assert run is not None
                with torch.cuda.device(device):
                    run(given, outputs, torch.cuda.current_stream(device).cuda_stream)
                return outputs
            why = outputs
        answers = session.run({name: as_array(name, tensor) for name, tensor in feed.items()})
        if why:  # only now: it is no reason until the feed is known to fit
            self._warn(why)
        return {name: as_tensor(array, device) for name, array in answers.items()}

    def _room(
        self, session: Session, given: Mapping[str, torch.Tensor], device: torch.device
    ) -> dict[str, torch.Tensor] | str:
        """Return memory for the outputs, or why these tensors can't stay on their GPU."""
        if session.device_refusal:
            return session.device_refusal
        if device.index != self._gpu:
            return f"they are on {device}, the engine is on cuda:{self._gpu}: bring them there"
        return room_for_outputs(session.signature, given, device)

    def _warn(self, why: str) -> None:
        if why not in self._said:
            self._said.add(why)
            warnings.warn(
                f"CUDA tensors are copied to the host and back at each call of this engine: {why}",
                UserWarning,
                stacklevel=6,  # who called the module: run, forward and two of torch's are between
            )


def compact(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor whose memory is its values in C order; itself where it is so already."""
    return tensor.detach().resolve_neg().contiguous()


def gpu_of(device: str | None) -> int:
    """Return a GPU's number from a target's device: "cuda:1", "gpu:1" and "1" are 1, else 0."""
    number = (device or "").rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def room_for_outputs(
    signature: Signature, feed: Mapping[str, torch.Tensor], device: torch.device
) -> dict[str, torch.Tensor] | str:
    """Return memory for the outputs of a run on the GPU, in the signature's order.

    A text says why it must go through the host instead: element types that NumPy lacks, sizes that
    aren't those of inputs, arrays without elements. `feed` isn't checked here.
    """
    sizes = {
        axis.name: size
        for spec in signature.inputs
        if spec.name in feed
        for axis, size in zip(spec.shape or (), feed[spec.name].shape, strict=False)
        if isinstance(axis, Dim)
    }
    for spec in signature:
        if spec.dtype not in _PLAIN:
            return f"{spec.name!r} is {spec.dtype}, and only {', '.join(_PLAIN)} can stay there"
    made = {}
    for spec in signature.outputs:
        if spec.shape is None or any(axis.name not in sizes for axis in spec.dims):
            return f"the size of output {spec.name!r} is none of the inputs', only the run tells it"
        shape = [axis if isinstance(axis, int) else sizes[axis.name] for axis in spec.shape]
        made[spec.name] = torch.empty(shape, dtype=getattr(torch, spec.dtype), device=device)
    for name, tensor in {**feed, **made}.items():
        if not tensor.numel():
            return f"{name!r} has no elements, so it has no place on the GPU"
    return made
