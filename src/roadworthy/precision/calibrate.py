"""Calibration: run real samples once, and keep what was seen of every tensor, in bounded memory.

Peak memory is that of plain inference, a few tensors, and a histogram for each tensor, whatever the
number of samples. The result is the same to the last bit for any order of the samples. Any batch
size gives the same histograms too, as far as ONNX Runtime computes the same values for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from roadworthy.core.closing import Closing
from roadworthy.core.errors import CompileError, InputError, UsageError
from roadworthy.core.progress import Progress
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Array, Feed
from roadworthy.precision.observe import Observed
from roadworthy.precision.reduced import ReducedNetwork
from roadworthy.precision.segments import SegmentedNetwork
from roadworthy.precision.typed import graph_values
from roadworthy.precision.unfinished import Unfinished, begun

if TYPE_CHECKING:
    import onnx_ir as ir

_T = TypeVar("_T")
# Unfinished work is written this often.
_SAVE_SECONDS = 30.0
_MOST_FINDINGS = 20


@dataclass(frozen=True)
class Calibration:
    """What was seen of a network's tensors on real samples.

    Attributes:
        model: digest of the network that ran.
        samples: digest of the samples, as in their account.
        count: how many samples were used.
        skipped: samples that were left out, with the reason.
        tensors: by name, in the order of the network.
        seconds: what it took.
        quantises: for INT8; False where the ranges only tell what FP16 can hold.
        wild: samples whose inputs are outliers among all that were given, in words.
        source: where the samples come from, as the user gave it.
        data_set: digest of all that were given, those that were held back too; empty where
            `samples` are all.
    """

    model: str
    samples: str
    count: int
    skipped: Mapping[str, str]
    tensors: Mapping[str, Observed]
    seconds: float
    quantises: bool = True
    wild: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    data_set: str = ""

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest finite value of every tensor that had one."""
        return {name: (seen.low, seen.high) for name, seen in self.tensors.items() if seen.count}

    @property
    def rangeless(self) -> frozenset[str]:
        """Tensors without a range, see `why_rangeless`: no scale could be told for them."""
        return frozenset(name for name, seen in self.tensors.items() if not seen.has_range)

    def why_rangeless(self, tensor: str) -> tuple[str, str]:
        """Return why a tensor has no range, and the remedy."""
        if self.tensors[tensor].bad and not self.tensors[tensor].count:
            return (
                "NaN or infinite everywhere on every sample",
                "repair the network, or give samples on which it is finite",
            )
        return "zero on every sample", "give samples on which it isn't zero"

    @property
    def findings(self) -> list[str]:
        """What a person should look at, worst first."""
        found = [f"sample {name}: left out: {reason}" for name, reason in self.skipped.items()]
        found += [
            f"tensor {name!r}: {why}, so it has no range, and what reads it stays in float; "
            f"{remedy}"
            for name in sorted(self.rangeless if self.quantises else ())
            for why, remedy in [self.why_rangeless(name)]
        ]
        for name, seen in self.tensors.items():
            if seen.bad:
                found.append(
                    f"tensor {name!r}: {seen.bad} NaN or infinite values inside the network; "
                    "they were not counted"
                )
        outliers: dict[str, tuple[float, str]] = {}
        for name, seen in self.tensors.items():
            for magnitude, sample in seen.outliers:
                if magnitude > outliers.get(sample, (0.0, ""))[0]:
                    outliers[sample] = (magnitude, name)
        found += [
            f"sample {sample}: an outlier, tensor {tensor!r} reaches {magnitude:.4g}; min-max "
            "covers it, the other methods may clip it"
            for sample, (magnitude, tensor) in outliers.items()
        ]
        found += [
            f"sample {sample}: an outlier, {reason}"
            for sample, reason in self.wild.items()
            if sample not in outliers and sample not in self.skipped
        ]
        more = len(found) - _MOST_FINDINGS
        return found[:_MOST_FINDINGS] + ([f"… and {more} more"] if more > 0 else [])

    def account(self) -> dict[str, Any]:
        """Return what a certificate says about it."""
        return {
            "model": self.model,
            "source": self.source,
            "data_set": self.data_set or self.samples,
            "samples": self.samples,
            "count": self.count,
            "skipped": dict(self.skipped),
            "tensors": len(self.tensors),
            "ranges": {
                name: [_short(low), _short(high)] for name, (low, high) in self.ranges.items()
            },
            "dead_channels": {
                name: seen.dead_channels
                for name, seen in self.tensors.items()
                if seen.dead_channels
            },
            "findings": self.findings,
            "seconds": round(self.seconds, 3),
        }


def calibrate(
    model: ir.Model,
    samples: Samples,
    tensors: Sequence[str],
    *,
    histograms: bool = True,
    threads: int | None = None,
    keep: Path | None = None,
    progress: Progress,
) -> Calibration:
    """Run every sample once and observe `tensors`.

    Args:
        model: FP32.
        samples: real ones.
        tensors: float tensors of the graph.
        histograms: False keeps ranges alone, which is all that min-max needs, and quicker.
        threads: of one inference.
        keep: a file: an unfinished calibration of the same network, samples and tensors in it is
            continued, a finished one is taken; it is written meanwhile.
        progress: told what is being done.

    Raises:
        UsageError: no samples, or random ones.
        InputError: `keep` is no calibration, or one of another network or other samples; or every
            sample had to be left out.
    """
    if samples.is_random:
        raise UsageError(
            "random samples can't calibrate: their ranges are not those of real data",
            where="--samples random",
            remedy="give real inputs, some 100 of them",
        )
    state = begun(model, samples, tensors, histograms=histograms, keep=keep)
    started = saved = time.monotonic()
    with _Watched(model, state.tensors, threads, whole=not histograms) as network:
        for index in range(state.done, len(samples)):
            progress("calibrate", index / len(samples))
            _take(state, network, samples.items[index].name, samples[index])
            if keep is not None and time.monotonic() - saved > _SAVE_SECONDS:
                state.save(keep)
                saved = time.monotonic()
    state.seconds += time.monotonic() - started
    if keep is not None:
        state.save(keep)
    count = state.done - len(state.skipped)
    if count == 0:
        raise InputError(
            "no sample could be used to calibrate: "
            + "; ".join(f"{name}: {reason}" for name, reason in list(state.skipped.items())[:3]),
            where="--samples",
            remedy="give samples without NaN or infinite values",
        )
    return Calibration(
        str(state.head["model"]),
        str(state.head["samples"]),
        count,
        state.skipped,
        {name: state.tensors[name] for name in _in_order(model, tensors)},
        state.seconds,
        source=samples.source,
    )


def _in_order(model: ir.Model, tensors: Sequence[str]) -> list[str]:
    """Return the tensors as the graph comes to them: a reader follows the network."""
    wanted = set(tensors)
    return [value.name for value in graph_values(model) if value.name in wanted]


def _short(value: float) -> float:
    """Return a number to read, of six digits: nothing is computed with it."""
    return float(f"{value:.6g}")


def _take(state: Unfinished, network: _Watched, name: str, feed: Feed) -> None:
    """Run one sample, or leave it out and say why."""
    reason = unfit(feed)
    if reason:
        state.skipped[name] = reason
    else:
        network.run(feed, name)
    state.done += 1


class _Watched(Closing):
    """A network whose tensors are observed as it runs. Use in a `with` block."""

    def __init__(
        self,
        model: ir.Model,
        tensors: Mapping[str, Observed],
        threads: int | None,
        *,
        whole: bool,
    ) -> None:
        """`whole`: ranges are enough, so run it in one piece where that can be."""
        self._model, self._tensors, self._threads = model, tensors, threads
        self._stack = ExitStack()
        self._beside = self._stack.enter_context(ThreadPoolExecutor(1))
        self._reduced = self._in_one_piece() if whole else None
        self._cut: SegmentedNetwork | None = None

    def close(self) -> None:
        """Give the memory back."""
        self._stack.close()

    def _in_one_piece(self) -> ReducedNetwork | None:
        axes = {name: seen.axis for name, seen in self._tensors.items()}
        try:
            return self._stack.enter_context(ReducedNetwork(self._model, axes, self._threads))
        except CompileError:
            # Whatever is wrong with the network itself shows in its pieces too.
            return None

    def run(self, feed: Feed, sample: str) -> None:
        """Run one sample and observe what is computed."""
        extents = self._reduced.run(feed) if self._reduced is not None else None
        if extents is None:
            self._look(feed, sample)
            return
        for name, extent in extents.items():
            self._tensors[name].add_range(extent.low, extent.high, extent.count, sample)

    def _look(self, feed: Feed, sample: str) -> None:
        """Observe every value, of one segment while the next is computed."""
        if self._cut is None:
            network = SegmentedNetwork(self._model, list(self._tensors), self._threads)
            self._cut = self._stack.enter_context(network)
        observing: Future[None] | None = None
        for shown in self._cut.run(feed):
            if observing is not None:
                observing.result()
            observing = self._beside.submit(self._observe, shown, sample)
        if observing is not None:
            observing.result()

    def _observe(self, shown: Mapping[str, Array], sample: str) -> None:
        for name, values in shown.items():
            self._tensors[name].add(values, sample)


def spread(items: Sequence[_T], step: int, fits: Callable[[_T], bool]) -> Iterator[_T]:
    """Yield from every `step` items in a row the first that fits: some from all over."""
    for first in range(0, len(items), step):
        yield from islice(filter(fits, items[first : first + step]), 1)


def unfit(feed: Feed) -> str | None:
    """Return why a sample is left out: what it has that isn't finite; None where it is fit."""
    for name, array in feed.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            return f"input {name!r} has {bad} NaN or infinite values"
    return None
