"""A plan opened on a GPU: its ports, its contexts and who has them, and launching."""

from __future__ import annotations

from collections import OrderedDict
from functools import wraps
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar, cast

import numpy as np

from .binding import Binding, Context
from .cuda import DEVICE_TO_HOST, HOST_TO_DEVICE, NO_TIMING, NON_BLOCKING, cuda_here
from .device import check_device, device_index
from .flight import Flight
from .library import import_tensorrt
from .log import Lines, make_log
from .plan import deserialise, profile_range
from .port import Port

_Call = TypeVar("_Call", bound=Callable[..., Any])


def on_its_gpu(call: _Call) -> _Call:
    """Make a method's thread work on the engine's GPU meanwhile, and then on its own again.

    Which GPU is current belongs to each thread, and is the first one where nobody chose.
    """

    @wraps(call)
    def there(self: Any, *arguments: Any, **more: Any) -> Any:
        cuda, index = self._cuda, self._index
        before = cuda.number("cudaGetDevice")
        if before == index:
            return call(self, *arguments, **more)
        cuda.cudaSetDevice(index)
        try:
            return call(self, *arguments, **more)
        finally:
            cuda.cudaSetDevice(before)

    return cast(_Call, there)


# Bindings (shapes and addresses with their own context and CUDA graph) kept by one runner.
MOST_BINDINGS = 4


class Engine:
    """What calls from host memory and from device memory share. One thread at a time.

    A binding is one context with its shapes, addresses and graphs; the last few are kept.
    """

    def __init__(self, files: Dict[str, bytes], spec: Dict[str, Any]) -> None:
        self._trt, self._cuda = import_tensorrt(), cuda_here()
        self._index = device_index(spec.get("device"))
        check_device(self._cuda, self._index)
        self._open(files, spec)

    @on_its_gpu
    def _open(self, files: Dict[str, bytes], spec: Dict[str, Any]) -> None:
        trt, cuda = self._trt, self._cuda
        self.notes: List[str] = []
        self._lines = Lines()
        self._log = make_log(trt, self._lines)
        self._runtime, self._engine = deserialise(
            trt, next(iter(files.values())), self._log, self._lines
        )
        self._use_graphs = bool(spec.get("graphs", True))
        wanted = dict(spec.get("inputs") or {}, **(spec.get("outputs") or {}))
        self._inputs: Dict[str, Port] = {}
        self._outputs: Dict[str, Port] = {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            ports = self._inputs if is_input else self._outputs
            ports[name] = Port(trt, self._engine, name, wanted.get(name))
        order = [name for name in spec.get("outputs") or {} if name in self._outputs]
        self._order = order or list(self._outputs)
        self._ranges = self._profile_ranges()
        self._bindings: OrderedDict[Any, Binding] = OrderedDict()
        self._seen: OrderedDict[Any, None] = OrderedDict()
        self._free: List[Context] = [Context(trt, self._engine, self._lines)]
        self._most = MOST_BINDINGS
        self._loose: Optional[Binding] = None
        self._last_stream = self._stream = cuda.handle("cudaStreamCreateWithFlags", NON_BLOCKING)
        self._event = cuda.handle("cudaEventCreateWithFlags", NO_TIMING)
        self._ready = cuda.handle("cudaEventCreateWithFlags", NO_TIMING)
        # Runs that overlap have streams of their own for copies, made when first needed.
        self._in = self._out = 0
        self._flying: List[Flight] = []

    def _settle(self) -> None:
        """Land what is under way: afterwards no binding is in use."""
        while self._flying:
            self._flying[0].land()

    # -- contexts

    def _shaped(self, shapes: Dict[str, Tuple[int, ...]], beside: bool = False) -> Binding:
        """Return a binding whose context is set to these shapes; the oldest makes room.

        One `beside` another of the same shapes never takes anything away: it fails instead.
        """
        profile = self._profile_for(shapes)
        while not beside and len(self._bindings) >= self._most:
            self._evict()
        if not self._free:
            self._free.append(Context(self._trt, self._engine, self._lines))
        context = self._free.pop()
        try:
            while not context.shape(profile, shapes, self._stream):
                # Plans from before 10 may let one context alone use a profile.
                self._most = 1
                if beside or (not self._bindings and self._loose is None):
                    raise RuntimeError("TensorRT refused profile %d of the plan" % profile)
                del context
                self._make_room()
                context = self._free.pop()
            self._cuda.cudaStreamSynchronize(self._stream)
        except BaseException:
            self._free.append(context)
            raise
        return Binding(self._cuda, context)

    def _make_room(self) -> None:
        """Get the only context back from whoever has it."""
        while self._bindings:
            self._evict()
        if self._loose is not None:
            self._release(self._loose)
            self._loose = None

    def _evict(self) -> None:
        _, oldest = self._bindings.popitem(last=False)
        self._release(oldest)

    def _release(self, binding: Binding) -> None:
        # What is still queued may use the memory and the graphs that go now.
        self._cuda.cudaStreamSynchronize(self._stream)
        self._cuda.cudaStreamSynchronize(self._last_stream)
        contexts = [each.context for each in (binding, *binding.twins)]
        binding.free()
        self._free += contexts

    # -- launching

    def _capture(self, binding: Binding, key: str, work: Callable[[int], None]) -> None:
        problem = binding.capture(key, work, self._stream)
        if problem:
            self._note("no CUDA graph, runs are enqueued one by one: %s" % problem)
            self._use_graphs = False

    def _work(self, binding: Binding, stream: int) -> None:
        """Copy in, compute, copy out; outputs of unknown size are fetched later."""
        self._copy_in(binding, stream)
        binding.context.enqueue(stream)
        self._copy_out(binding, stream)

    def _copy_in(self, binding: Binding, stream: int) -> None:
        for name in self._inputs:
            staged = binding.staged.get(name)
            if staged is not None and staged.nbytes:
                self._cuda.cudaMemcpyAsync(
                    binding.device[name], staged.address, staged.nbytes, HOST_TO_DEVICE, stream
                )

    def _copy_out(self, binding: Binding, stream: int) -> None:
        for name in self._outputs:
            staged = binding.staged.get(name)
            if staged is not None and staged.nbytes:
                self._cuda.cudaMemcpyAsync(
                    staged.address, binding.device[name], staged.nbytes, DEVICE_TO_HOST, stream
                )

    def _launch(self, binding: Binding, key: str, stream: int) -> None:
        """Start work on a stream: its graph where there is one, else step by step."""
        if stream != self._last_stream:
            # Both use the same activation memory: the later one waits for the earlier one.
            self._cuda.cudaEventRecord(self._event, self._last_stream)
            self._cuda.cudaStreamWaitEvent(stream, self._event, 0)
            self._last_stream = stream
        graph = binding.graphs.get(key)
        if graph is not None:
            self._cuda.cudaGraphLaunch(graph, stream)
        elif key == "whole":
            self._work(binding, stream)
        else:
            binding.context.enqueue(stream)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    # -- profiles

    def _profile_ranges(self) -> List[Dict[str, List[List[int]]]]:
        """Return per profile: input → [min, opt, max] shapes; inputs by value aren't in it."""
        return [
            {
                name: profile_range(self._trt, self._engine, name, profile)
                for name, port in self._inputs.items()
                if not port.on_host
            }
            for profile in range(self._engine.num_optimization_profiles)
        ]

    def _profile_for(self, shapes: Dict[str, Tuple[int, ...]]) -> int:
        """Return the profile that takes these shapes and was tuned nearest to them."""
        best: Optional[Tuple[float, int]] = None
        for index, ranges in enumerate(self._ranges):
            distance = 0.0
            for name, known in ranges.items():
                if not known:
                    continue
                shape, (low, opt, high) = shapes[name], known
                if len(shape) != len(low) or any(
                    not a <= size <= b for a, size, b in zip(low, shape, high)
                ):
                    break
                distance += sum(abs(np.log((s + 1) / (o + 1))) for s, o in zip(shape, opt))
            else:
                best = min(best or (distance, index), (distance, index))
        if best is None:
            told = ["%s" % {n: [r[0], r[2]] for n, r in p.items() if r} for p in self._ranges]
            raise RuntimeError(
                "no optimisation profile takes %s; the plan has %s"
                % ({n: list(s) for n, s in shapes.items()}, "; ".join(told))
            )
        return best[1]

    @on_its_gpu
    def close(self) -> None:
        """Give all GPU memory back. May be called twice."""
        if self.__dict__.pop("_engine", None) is None:
            return
        cuda = self._cuda
        self._flying.clear()
        for stream in filter(None, (self._last_stream, self._in, self._stream, self._out)):
            cuda.cudaStreamSynchronize(stream)
        for binding in list(self._bindings.values()):
            binding.free()
        self._bindings.clear()
        self._free.clear()
        self._loose = None
        cuda.cudaEventDestroy(self._event)
        cuda.cudaEventDestroy(self._ready)
        for stream in filter(None, (self._in, self._stream, self._out)):
            cuda.cudaStreamDestroy(stream)
        # Contexts before the engine, the engine before its runtime: TensorRT's order.
        del self._runtime
