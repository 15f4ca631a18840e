"""The source module as its users run it: eager, autocast, `torch.compile`, CUDA graphs.

Each is a call without arguments that starts from tensors on the device and returns when the device
is done, so that it can be timed (`measure.LocalSubject`). None of them changes the module given, or
a setting of the process beyond the call.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from roadworthy.core.errors import RunError, UnavailableError, UsageError

MODES = {
    "eager": "eager",
    "compile": "torch.compile",
    "reduce-overhead": "torch.compile reduce-overhead",
    "cuda-graph": "CUDA graph",
}
# What autocast computes in; the others run in FP32, with TF32 switched on or off.
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("fp32", "tf32", *AUTOCAST)
# CUDA kernels choose and tune themselves in the first runs; a graph may only be captured after.
_RUNS_BEFORE_CAPTURE = 3

Invoke = Callable[[nn.Module, Sequence[torch.Tensor]], Any]
_backends: Any = torch.backends  # the stubs don't know the precision switches in it


@dataclass(frozen=True, slots=True)
class Setting:
    """How PyTorch runs the network.

    Attributes:
        mode: one of `MODES`; "reduce-overhead" and "cuda-graph" are CUDA's.
        precision: "fp32" (TF32 off), "tf32", or "bf16" and "fp16" by autocast.
        device: "cpu", "cuda" or "cuda:1".
    """

    mode: str = "eager"
    precision: str = "fp32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.mode not in MODES or self.precision not in PRECISIONS:
            raise UsageError(
                f"PyTorch has no baseline {self.mode!r} in {self.precision!r}",
                remedy=f"modes: {', '.join(MODES)}; precisions: {', '.join(PRECISIONS)}",
            )
        on_cuda_only = self.mode in ("reduce-overhead", "cuda-graph") or self.precision == "tf32"
        if on_cuda_only and not self.on_cuda:
            raise UsageError(
                f"{MODES[self.mode]} in {self.precision} is for CUDA, not for {self.device}",
                remedy="choose the device cuda, or another mode",
            )

    @property
    def on_cuda(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device.partition(":")[0] == "cuda"

    @property
    def name(self) -> str:
        """What it is, for people: "PyTorch torch.compile, FP16 autocast, cuda"."""
        autocast = " autocast" if self.precision in AUTOCAST else ""
        device = f", {self.device}" if self.on_cuda else ""
        return f"PyTorch {MODES[self.mode]}, {self.precision.upper()}{autocast}{device}"


def in_order(module: nn.Module, tensors: Sequence[torch.Tensor]) -> Any:
    """Call the module with the tensors in order."""
    return module(*tensors)


def runnable(
    module: nn.Module,
    tensors: Sequence[torch.Tensor],
    setting: Setting,
    threads: int | None = None,
    invoke: Invoke = in_order,
) -> Callable[[], Any]:
    """Return one run of the module on these inputs, compiled, captured and warm where that applies.

    Args:
        module: in eval mode; it stays as and where it is.
        tensors: the inputs; copied to the device now, so that copies aren't timed.
        setting: how to run it.
        threads: of one operator on the CPU; None leaves them as they are.
        invoke: how the module is called with the tensors.

    Returns:
        A function that runs once, waits for the device, and returns the outputs. Those of a CUDA
        graph or of "reduce-overhead" are overwritten by the next run.

    Raises:
        UsageError: the module is in training mode.
        UnavailableError: there is no such device.
        RunError: the module fails, or can't be compiled or captured.
    """
    if module.training:
        raise UsageError("the module is in training mode", remedy="call module.eval() first")
    if setting.on_cuda and not torch.cuda.is_available():
        raise UnavailableError("PyTorch finds no CUDA device here", where=setting.name)
    device = torch.device(setting.device)
    own = _InPrecision(copy.deepcopy(module).to(device), device.type, setting.precision).eval()
    given = [tensor.detach().to(device, copy=True) for tensor in tensors]

    with _translated(setting), _numerics(setting, threads), _compiled_or_not_at_all():
        run = _prepared(own, given, setting, invoke)
        run()  # compiles, and fails here rather than in the first block
        _wait(device)

    def call() -> Any:
        with _numerics(setting, threads):
            result = run()
        _wait(device)
        return result

    return call


class _InPrecision(nn.Module):
    """The module under autocast, where its precision is one.

    Within what is compiled or captured: Dynamo doesn't look at the dtype of an autocast around it,
    and gave FP16's code to BF16 (torch 2.11); and what autocast keeps from the runs before would
    not be in a CUDA graph.
    """

    def __init__(self, module: nn.Module, kind: str, precision: str) -> None:
        super().__init__()
        self.module = module
        self.kind = kind
        self.dtype = AUTOCAST.get(precision)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.dtype is None:
            return self.module(*args, **kwargs)
        with torch.autocast(self.kind, dtype=self.dtype):
            return self.module(*args, **kwargs)


def _prepared(
    module: nn.Module, tensors: Sequence[torch.Tensor], setting: Setting, invoke: Invoke
) -> Callable[[], Any]:
    """Return one run, which compiles when it is called first."""
    if setting.mode == "compile":
        compiled: Any = torch.compile(module)
        return lambda: invoke(compiled, tensors)
    if setting.mode == "reduce-overhead":
        reduced: Any = torch.compile(module, mode="reduce-overhead")
        return lambda: invoke(reduced, tensors)
    if setting.mode == "cuda-graph":
        return _captured(lambda: invoke(module, tensors), torch.device(setting.device))
    return lambda: invoke(module, tensors)


def _captured(forward: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """Capture one run as a CUDA graph and return its replay."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own gap
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(_RUNS_BEFORE_CAPTURE):
            forward()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = forward()

    def replay() -> Any:
        graph.replay()
        return outputs

    return replay


def _wait(device: torch.device) -> None:
    """A GPU's work goes on after the call that started it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def _numerics(setting: Setting, threads: int | None) -> Iterator[None]:
    """Set precision and threads for one run, and put back what was set before."""
    switches = (_backends.cuda.matmul, _backends.cudnn.conv) if setting.on_cuda else ()
    before = [switch.fp32_precision for switch in switches]
    count = torch.get_num_threads()
    try:
        for switch in switches:
            switch.fp32_precision = "tf32" if setting.precision == "tf32" else "ieee"
        if threads is not None and threads != count:
            torch.set_num_threads(threads)
        with torch.no_grad():
            yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)


def _compiled_or_not_at_all() -> Any:
    """Have Dynamo fail where it would go on uncompiled: after eight versions of one function."""
    import torch._dynamo.config as dynamo

    found: Any = dynamo
    return found.patch(fail_on_recompile_limit_hit=True)


@contextlib.contextmanager
def _translated(setting: Setting) -> Iterator[None]:
    """The first run fails in many ways: the network's own, the compiler's, the driver's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations, from within its compiler
            yield
    except Exception as error:  # a user's forward() and a compiler may raise anything
        # The compiler's first line names itself, its second one the reason.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()][:2]
        raise RunError(
            f"{type(error).__name__}: {' '.join(lines) or 'no message'}",
            where=setting.name,
            remedy="torch.compile on the CPU needs a C++ compiler; eager doesn't"
            if "compile" in setting.mode
            else None,
        ) from error
