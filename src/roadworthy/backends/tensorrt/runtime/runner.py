"""What the outside calls: run, and tell how long it took and where the time went."""

from __future__ import annotations

import time
from itertools import repeat
from typing import Any, Dict, List

import numpy as np

from .arrays import DeviceArray
from .binding import Binding
from .cuda import DEVICE_TO_DEVICE
from .devicecalls import DeviceCalls
from .engine import on_its_gpu
from .manycalls import LANES, ManyCalls
from .plan import inspect_layers
from .port import Port
from .proof import layer_precision, onnx_names


def make_profiler(trt: Any, times: Dict[str, List[float]]) -> Any:
    """Return a profiler that adds each layer's microseconds to `times`."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]  # of Any: its module is imported late
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.setdefault(layer_name, []).append(ms * 1e3)

    return Profiler()


class Runner(ManyCalls, DeviceCalls):
    """One plan on one GPU, from one thread at a time.

    Each set of input shapes gets its own buffers, context and CUDA graph; the last few are kept.
    `notes` says what didn't go as intended (a graph that couldn't be captured, say).

    spec: device; graphs (bool); inputs and outputs {name: NumPy dtype the caller has}, where
    missing: the engine's own.
    """

    @on_its_gpu
    def time(
        self, feed: Dict[str, np.ndarray], runs: int, lead: int, host_only: bool = False
    ) -> Dict[str, List[int]]:
        """Time runs in nanoseconds, after `lead` that don't count; "host" alone on wish.

        Returns:
            "host": end to end, copies included, one run after another; "device": computing
            alone, between events around each of the runs queued back to back; "enqueue": what
            starting each of those took the CPU; "latency": copy in, compute, copy out between
            events, one run at a time; "call": `run_device` from GPU arrays to GPU arrays, each
            call waited for (where this network can: see `device_refusal`); "overlapped": from each
            answer of `run_many` to the next, NumPy to NumPy with copies beside computing (where
            this network can: see there); their sum is what so many feeds take.
        """
        for _ in range(max(1, lead)):
            self.run(feed)
        host = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            self.run(feed)
            host.append(time.perf_counter_ns() - start)
        if host_only:
            return {"host": host}
        binding = self._bound(feed)
        times = {"host": host, "latency": self._latencies(binding, runs)}
        times.update(self._device_times(binding, runs, lead))
        # Last: they make more contexts, which the others needn't share the memory with.
        if not self.device_refusal:
            times.update(self._call_times(binding, runs, lead))
        times["overlapped"] = self._overlapped(feed, runs, lead)
        return times

    def _call_times(self, binding: Binding, runs: int, lead: int) -> Dict[str, List[int]]:
        """Return nothing, and note why, where arrays and another context don't fit."""
        before = set(self._bindings)
        try:
            feed = self._arrays(binding, self._inputs)
            outputs = self._arrays(binding, self._outputs)
            times = []
            # The second call with the same addresses captures a graph.
            for _ in range(max(2, lead) + runs):
                start = time.perf_counter_ns()
                self.run_device(feed, outputs)
                times.append(time.perf_counter_ns() - start)
            return {"call": times[-runs:]}
        except RuntimeError as error:
            self._note("calls from GPU arrays weren't timed: %s" % error)
            return {}
        finally:
            for key in set(self._bindings) - before:
                self._release(self._bindings.pop(key))

    def _arrays(self, binding: Binding, ports: Dict[str, Port]) -> Dict[str, DeviceArray]:
        """Return GPU arrays with what a binding's have in them."""
        cuda = self._cuda
        arrays = {}
        for name, port in ports.items():
            staged = binding.staged[name]
            array = arrays[name] = DeviceArray(cuda, staged.array.shape, port.dtype, None)
            cuda.cudaMemcpyAsync(
                array.address, binding.device[name], staged.nbytes, DEVICE_TO_DEVICE, self._stream
            )
        cuda.cudaStreamSynchronize(self._stream)
        return arrays

    def _overlapped(self, feed: Dict[str, np.ndarray], runs: int, lead: int) -> List[int]:
        """Return the steady state: neither filling the lanes nor running them empty counts."""
        before = max(LANES, lead)
        stamps: List[int] = []
        answers = self.run_many(repeat(feed, before + runs + LANES))
        for _ in range(before + runs):
            next(answers)
            stamps.append(time.perf_counter_ns())
        answers.close()
        return [after - first for first, after in zip(stamps[before - 1 :], stamps[before:])]

    def _latencies(self, binding: Binding, runs: int) -> List[int]:
        cuda = self._cuda
        first, last = (cuda.handle("cudaEventCreateWithFlags", 0) for _ in range(2))
        times = []
        try:
            for _ in range(runs):
                cuda.cudaEventRecord(first, self._stream)
                self._launch(binding, "whole", self._stream)
                cuda.cudaEventRecord(last, self._stream)
                cuda.cudaEventSynchronize(last)
                times.append(cuda.elapsed_ns(first, last))
        finally:
            cuda.cudaEventDestroy(first)
            cuda.cudaEventDestroy(last)
        return times

    def _device_times(self, binding: Binding, runs: int, lead: int) -> Dict[str, List[int]]:
        cuda, stream = self._cuda, self._stream
        if binding.graphs and "compute" not in binding.graphs:
            self._capture(binding, "compute", binding.context.enqueue)
        events = [cuda.handle("cudaEventCreateWithFlags", 0) for _ in range(runs + 1)]
        enqueue = []
        try:
            for _ in range(lead):
                self._launch(binding, "compute", stream)
            cuda.cudaEventRecord(events[0], stream)
            for event in events[1:]:
                start = time.perf_counter_ns()
                self._launch(binding, "compute", stream)
                enqueue.append(time.perf_counter_ns() - start)
                cuda.cudaEventRecord(event, stream)
            cuda.cudaStreamSynchronize(stream)
            device = [cuda.elapsed_ns(events[n], events[n + 1]) for n in range(runs)]
        finally:
            for event in events:
                cuda.cudaEventDestroy(event)
        return {"device": device, "enqueue": enqueue}

    @on_its_gpu
    def profile(self, feed: Dict[str, np.ndarray], runs: int) -> List[Dict[str, Any]]:
        """Return the layers in order with their median time, on the ONNX nodes' names.

        Layer times are measured one by one, without a graph; their sum is above a run's time.
        """
        times: Dict[str, List[float]] = {}
        self.run(feed)
        binding = self._bound(feed)
        self._forget(binding)
        profiler = make_profiler(self._trt, times)
        binding.context.raw.profiler = profiler
        for index in range(runs + 1):
            self._work(binding, self._stream)
            self._cuda.cudaStreamSynchronize(self._stream)
            if index == 0:
                times.clear()
        # A profiler can't be taken off a context: this one isn't used again.
        binding.free()
        del binding
        return self._told(times)

    def _forget(self, binding: Binding) -> None:
        """Take a binding out of the kept ones without giving its context back."""
        for key in [key for key, value in self._bindings.items() if value is binding]:
            del self._bindings[key]

    def _told(self, times: Dict[str, List[float]]) -> List[Dict[str, Any]]:
        layers = {str(layer.get("Name")): layer for layer in self.inspect()}
        medians = {name: float(np.median(values)) for name, values in times.items()}
        total = sum(medians.values()) or 1.0
        return [
            {
                "name": name,
                "onnx": onnx_names(layers.get(name, {"Name": name})),
                "kind": str(layers.get(name, {}).get("LayerType", "")),
                "precision": layer_precision(layers.get(name, {})),
                "tactic": str(layers.get(name, {}).get("TacticName", "")),
                "median_us": round(median, 3),
                "share": round(median / total, 5),
            }
            for name, median in medians.items()
        ]

    def inspect(self) -> List[Dict[str, Any]]:
        """Return the engine inspector's layers."""
        return inspect_layers(self._trt, self._engine)
