"""The network itself as its own reference: FP32 judges, FP64 tells how noisy FP32 is."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from roadworthy.core.errors import UsageError
from roadworthy.core.reference import Reference
from roadworthy.core.signature import Answers, Feed
from roadworthy.source.torch.calling import Convention, convention
from roadworthy.source.torch.numerics import default_dtype, trusted_numerics
from roadworthy.source.torch.outputs import flatten, to_arrays
from roadworthy.source.torch.usercode import describe, told_as_usage, user_line

# How often a network is run again that draws random numbers: what changes one answer in ten is
# then missed in one of six.
_DRAWN_RUNS = 16


class TorchOracle:
    """The module, run eagerly in one precision.

    Args:
        module: in eval mode; its parameters have `dtype` where they are floating point.
        input_names: the inputs in order.
        output_names: names for the outputs in order, None for the network's own.
        dtype: `torch.float32` or `torch.float64`; floating inputs are converted to it in FP64 and
            left alone in FP32.
        threads: threads of one operator, None for PyTorch's own choice.
    """

    def __init__(
        self,
        module: nn.Module,
        input_names: Sequence[str],
        output_names: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float32,
        threads: int | None = None,
    ) -> None:
        self._module = module
        self._how: Convention = convention(module, input_names)
        self._outputs = tuple(output_names) if output_names is not None else None
        self._dtype = dtype
        self._threads = threads

    @property
    def name(self) -> str:
        """E.g. "PyTorch 2.13.0 eager, FP32"."""
        precision = "FP64" if self._dtype is torch.float64 else "FP32"
        return f"PyTorch {torch.__version__.partition('+')[0]} eager, {precision}"

    def run(self, feed: Feed) -> Answers:
        """Return the network's answers: arrays of their own memory, by output name.

        Raises:
            SamplesError: the feed's names or dtypes don't fit.
            UsageError: the network's code raised, and where; or it wrote into an input, which an
                engine wouldn't do.
        """
        return self._unwritten(self._tensors(feed))

    def check_repeatable(self, feed: Feed) -> tuple[str, ...]:
        """Run twice on the same tensors and compare bit by bit; oftener what draws random numbers.

        Returns:
            Notes: what draws them, though the answers didn't show it.

        Raises:
            UsageError: an answer differs, or forward() wrote into its input: nothing can be
                judged by such a network.
        """
        tensors = self._tensors(feed)
        first = self._unwritten(tensors)
        self._require_same(first, tensors)
        # Apart: being watched, a module may take another way, which rounds otherwise.
        watch = _Draws()
        with watch:
            self._answers(tensors)
        if watch.drawn is None:
            return ()
        for _ in range(_DRAWN_RUNS):
            self._require_same(first, tensors)
        return (
            f"forward() draws random numbers ({watch.drawn}); {_DRAWN_RUNS + 2} runs of one sample "
            "gave the same answers nevertheless",
        )

    def _require_same(self, first: Answers, tensors: Sequence[torch.Tensor]) -> None:
        second = self._answers(tensors)
        for name, array in first.items():
            if not _same(array, second[name]):
                raise UsageError(
                    f"output {name!r} differs between two runs on the same input",
                    where=type(self._module).__name__,
                    remedy="take the randomness or memory out of forward() in eval mode, e.g. "
                    "F.dropout(x, training=self.training) and a fixed noise input",
                )

    def _unwritten(self, tensors: Sequence[torch.Tensor]) -> Answers:
        before = [tensor.clone() for tensor in tensors]
        answers = self._answers(tensors)
        for name, was, now in zip(self._how.names, before, tensors, strict=True):
            if not torch.equal(was.nan_to_num(), now.nan_to_num()):
                raise UsageError(
                    f"forward() writes into its input {name!r}",
                    where=type(self._module).__name__,
                    remedy=f"begin it with `{name} = {name}.clone()`, or use the operators "
                    "without a trailing underscore",
                )
        return answers

    def _tensors(self, feed: Feed) -> tuple[torch.Tensor, ...]:
        tensors = self._how.tensors(feed)
        if self._dtype is not torch.float64:
            return tensors
        return tuple(t.double() if t.is_floating_point() else t for t in tensors)

    def _answers(self, tensors: Sequence[torch.Tensor]) -> Answers:
        hint = None
        if self._dtype is torch.float32 and any(t.dtype is torch.float64 for t in tensors):
            hint = "the samples are float64: save them as float32 if the network takes that"
        with told_as_usage("running the network failed", type(self._module).__name__, hint):
            return to_arrays(self.raw(tensors), self._outputs)

    def raw(self, tensors: Sequence[torch.Tensor]) -> Any:
        """Return what `forward` returns; exceptions of the network's code pass through."""
        with trusted_numerics(self._threads), default_dtype(self._dtype):
            return self._how.call(self._module, tensors)


def torch_reference(
    module: nn.Module,
    input_names: Sequence[str],
    feed: Feed,
    output_names: Sequence[str] | None = None,
    threads: int | None = None,
) -> Reference:
    """Make the reference of a network that is given as its own code.

    Args:
        module: float32, in eval mode; not changed.
        input_names: the inputs in order.
        feed: one real sample, to find out whether the network is repeatable and runs in FP64.
        output_names: names for the outputs, None for the network's own.
        threads: threads of one operator.

    Raises:
        UsageError: the network fails, answers the same input differently, or changes its input.
    """
    judge = TorchOracle(module, input_names, output_names, torch.float32, threads)
    drawn = judge.check_repeatable(feed)
    fine, notes = _fine(module, input_names, feed, output_names, threads)
    return Reference(judge=judge, fine=fine, kind="source framework", notes=(*drawn, *notes))


def _fine(
    module: nn.Module,
    input_names: Sequence[str],
    feed: Feed,
    output_names: Sequence[str] | None,
    threads: int | None,
) -> tuple[TorchOracle | None, tuple[str, ...]]:
    """Return the FP64 oracle, or None and the reason why the network doesn't run in FP64."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            double = copy.deepcopy(module).double()
        oracle = TorchOracle(double, input_names, output_names, torch.float64, threads)
        watch = _Watch()
        with watch:
            returned = oracle.raw(oracle._tensors(feed))
        tensors = flatten(returned, output_names)
    except Exception as error:  # whatever the network's code raises is the reason
        where = user_line(error)
        return None, (f"no FP64: {describe(error)}{f' at {where}' if where else ''}",)
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.dtype is not torch.float64:
            return None, (f"no FP64: output {name!r} stays {str(tensor.dtype)[6:]}",)
    if watch.lowered:
        return oracle, (f"FP64 in part: {watch.lowered} computes in less by the network's code",)
    return oracle, ()


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Notice an operator that draws random numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self.drawn: str | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self.drawn is None and torch.Tag.nondeterministic_seeded in func.tags:
            self.drawn = str(func)
        return func(*args, **(kwargs or {}))


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Notice an operator that computes in less than FP64 during an FP64 run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self.lowered: str | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and self.lowered is None:
            copies = str(func).startswith(("aten._to_copy", "aten.detach", "aten.lift_fresh"))
            low = result.is_floating_point() and result.dtype is not torch.float64
            if low and not copies and _has_many(result):
                self.lowered = str(func)
        return result


def _has_many(tensor: torch.Tensor) -> bool:
    """Scalars made on the way (a scale, a size) don't count as computing in less."""
    return tensor.numel() > 1


def _same(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    return bool(np.array_equal(one, two, equal_nan=one.dtype.kind in "fc"))
