"""Tensors that say they are on a GPU, on a PyTorch without CUDA: their memory is the host's.

What torch does with them is right and stays "there"; only `.to` and `torch.empty` bring tensors
there, only `.cpu` brings them back.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

STREAM = 77


class OnGpu(torch.Tensor):
    """A tensor on "cuda:N"; `held` has its values."""

    @staticmethod
    def __new__(cls, held, device):
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=device
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def __cuda_array_interface__(self):
        return self.held.numpy().__array_interface__

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        (device,) = {value.device for value in args if isinstance(value, cls)}
        if kwargs.get("device") == torch.device("cpu"):
            device = kwargs["device"]
        args, kwargs = tree_map(lambda v: v.held if isinstance(v, cls) else v, (args, kwargs))
        return tree_map(lambda v: there(v, device), func(*args, **kwargs))


def there(value, device):
    """Return a tensor of the host's as one on the device."""
    is_tensor = isinstance(value, torch.Tensor) and torch.device(device).type == "cuda"
    return OnGpu(value, device) if is_tensor else value


class _Bringing(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to:
            return there(args[0], args[1])
        if func is torch.empty:
            device = kwargs.pop("device")
            return there(func(*args, **kwargs), device)
        return func(*args, **kwargs)


@contextlib.contextmanager
def gpu(monkeypatch):
    """Have such a GPU within the block; its current stream is STREAM."""
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    stream = SimpleNamespace(cuda_stream=STREAM)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    with _Bringing():
        yield
