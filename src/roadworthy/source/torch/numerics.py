"""Run PyTorch so that its answers can be trusted: FP32 means FP32, and every run is the same."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch

_backends: Any = torch.backends  # the stubs don't know the precision switches in it


@contextlib.contextmanager
def trusted_numerics(threads: int | None = None) -> Iterator[None]:
    """Switch off TF32, bf16 matmuls, autocast and gradients; ask for deterministic kernels.

    Every setting of the caller's is restored. What the network prints goes to standard error.

    Args:
        threads: threads of one operator; None leaves them as they are.
    """
    precisions = (
        _backends.cuda.matmul,
        _backends.cudnn.conv,
        _backends.cudnn.rnn,
        _backends.mkldnn.matmul,
        _backends.mkldnn.conv,
        _backends.mkldnn.rnn,
    )
    before = [backend.fp32_precision for backend in precisions]
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with restored_threads(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the network's own warnings aren't about its answers
        try:
            for backend in precisions:
                backend.fp32_precision = "ieee"
            torch.use_deterministic_algorithms(True, warn_only=True)
            with (
                torch.no_grad(),
                torch.autocast("cpu", enabled=False),
                contextlib.redirect_stdout(sys.stderr),
            ):
                yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            for backend, precision in zip(precisions, before, strict=True):
                backend.fp32_precision = precision


@contextlib.contextmanager
def restored_threads(threads: int | None) -> Iterator[None]:
    """Use this many threads for one operator, and as many as before afterwards."""
    before = torch.get_num_threads()
    try:
        if threads is not None and threads != before:
            torch.set_num_threads(threads)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Let tensors that the network makes without saying their dtype have this one."""
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        yield
    finally:
        torch.set_default_dtype(before)
