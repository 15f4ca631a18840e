"""A GPU and a TensorRT that do the least that CUDA promises, to see whether the order is right.

Memory is this process's own, and copies really copy. What is queued on a stream happens as late as
it may: only when somebody waits for it, or for something that waits for it. So a missing event
shows as a wrong number, every time, not once in a thousand runs.

The network is y = 2·x + 1 by way of a scratch buffer that each context has one of.
"""

# ruff: noqa: N802, N815 - CUDA names its calls
from __future__ import annotations

import ctypes
import weakref
from collections import Counter
from types import SimpleNamespace

import numpy as np

from roadworthy.backends.tensorrt.runtime.cuda import LEGACY_STREAM, Cuda, CudaError


class Stream:
    def __init__(self):
        self.queue = []
        self.captured = None

    def add(self, work):
        (self.queue if self.captured is None else self.captured).append(work)

    def advance(self, until=None):
        """Do what is queued, up to a step or all of it."""
        while self.queue and (until is None or until in self.queue):
            self.queue.pop(0)()


class Gpu(Cuda):
    """The calls of `cuda.py`, on streams and events of this process.

    `log` has (call, stream's number) in order; `live` counts what was made and not given back.
    """

    def __init__(self, memory=1 << 40, count=1):
        self.count, self.current, self.used = count, 0, set()
        # Work that gives no stream is on the legacy one.
        self.things = {LEGACY_STREAM: Stream()}
        self.blocks = {}
        self.live = Counter()
        self.log = []
        self.left = memory

    def _keep(self, out, kind, thing):
        number = 1000 + len(self.things)
        self.things[number] = thing
        self.live[kind] += 1
        out._obj.value = number

    def stream(self, number):
        return self.things[number]

    def cudaGetDevice(self, out):
        out._obj.value = self.current

    def cudaSetDevice(self, index):
        assert 0 <= index < self.count
        self.current = index

    def cudaGetDeviceCount(self, out):
        out._obj.value = self.count

    def _allocate(self, out, size):
        if size > self.left:
            raise CudaError("cudaMalloc", 2, "out of memory")
        self.used.add(self.current)
        block = (ctypes.c_ubyte * size)()
        out._obj.value = ctypes.addressof(block)
        self.blocks[ctypes.addressof(block)] = block
        self.left -= size

    def cudaMalloc(self, out, size):
        self._allocate(out, size)

    def cudaHostAlloc(self, out, size, flags):
        self._allocate(out, size)

    def cudaFree(self, address):
        self.finish()
        self.left += len(self.blocks.pop(address))

    cudaFreeHost = cudaFree

    def finish(self):
        for thing in list(self.things.values()):
            if isinstance(thing, Stream):
                thing.advance()

    def cudaStreamCreateWithFlags(self, out, flags):
        self._keep(out, "stream", Stream())

    def cudaStreamDestroy(self, stream):
        assert not self.stream(stream).queue
        self.live["stream"] -= 1

    def cudaStreamSynchronize(self, stream):
        self.stream(stream).advance()

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        self.log.append(("H2D" if kind == 1 else "D2H", stream))
        self.stream(stream).add(lambda: ctypes.memmove(target, source, size))

    def cudaEventCreateWithFlags(self, out, flags):
        self._keep(out, "event", SimpleNamespace(pending=None))

    def cudaEventDestroy(self, event):
        self.live["event"] -= 1

    def cudaEventRecord(self, event, stream):
        def mark():
            pass

        where = self.stream(stream)
        where.add(mark)
        self.things[event].pending = (where, mark)

    def _reach(self, pending):
        if pending is not None:
            where, mark = pending
            where.advance(mark)

    def cudaEventSynchronize(self, event):
        self._reach(self.things[event].pending)

    def cudaStreamWaitEvent(self, stream, event, flags):
        pending = self.things[event].pending
        self.stream(stream).add(lambda: self._reach(pending))

    def cudaEventElapsedTime(self, out, start, end):
        out._obj.value = 1.0

    def cudaStreamBeginCapture(self, stream, mode):
        self.stream(stream).captured = []

    def cudaStreamEndCapture(self, stream, out):
        self._keep(out, "graph", self.stream(stream).captured)
        self.stream(stream).captured = None

    def cudaGraphInstantiateWithFlags(self, out, graph, flags):
        self._keep(out, "exec", list(self.things[graph]))

    def cudaGraphDestroy(self, graph):
        self.live["graph"] -= 1

    def cudaGraphExecDestroy(self, graph):
        self.live["exec"] -= 1

    def cudaGraphLaunch(self, graph, stream):
        self.used.add(self.current)
        self.log.append(("graph", stream))
        for work in self.things[graph]:
            self.stream(stream).add(work)


def at(address, shape):
    """The FP32 array at an address."""
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)


class Context:
    def __init__(self, engine):
        self.engine = engine
        self.active_optimization_profile = 0
        self.addresses, self.shape, self.allocator = {}, None, None
        self.scratch = np.zeros(0, np.float32)

    def set_input_shape(self, name, shape):
        self.shape = tuple(shape)
        return True

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name):
        return (-1,) if name == "y" and self.engine.grows else self.shape

    def infer_shapes(self):
        return []

    def set_output_allocator(self, name, allocator):
        self.allocator = allocator
        return True

    def execute_async_v3(self, stream):
        source, shape = self.addresses["x"], self.shape
        target = self.addresses.get("y")

        def compute():
            self.scratch = at(source, shape) * 2
            result, goal = self.scratch + 1, target
            if self.allocator is not None:
                result = result[: int(result.flat[0]) % len(result) + 1]
                goal = self.allocator.reallocate_output("y", 0, result.nbytes, 256)
                self.allocator.notify_shape("y", result.shape)
            at(goal, result.shape)[...] = result

        if self.engine.fails(stream):
            return False
        self.engine.gpu.used.add(self.engine.gpu.current)
        self.engine.gpu.log.append(("enqueue", stream))
        self.engine.gpu.stream(stream).add(compute)
        return True


class Plan:
    """One input "x", one output "y"; `most` contexts fit; with `grows`, y's size depends on x.

    `on_host` are those read or written as values there, `integers` those of type INT32: a plan with
    one of these two opens like the real one, and can't be run.
    """

    num_io_tensors, num_optimization_profiles = 2, 1

    def __init__(self, gpu, grows=False, most=100, on_host="", integers=""):
        self.gpu, self.grows, self.most = gpu, grows, most
        self.on_host, self.integers = on_host, integers
        self.fails = lambda stream: False
        self.alive: weakref.WeakSet[Context] = weakref.WeakSet()

    def create_execution_context(self):
        if len(self.alive) >= self.most:
            return None
        context = Context(self)
        self.alive.add(context)
        return context

    def get_tensor_name(self, index):
        return "xy"[index]

    def get_tensor_mode(self, name):
        return {"x": "in", "y": "out"}[name]

    def get_tensor_dtype(self, name):
        return SimpleNamespace(name="INT32" if name in self.integers else "FLOAT")

    def get_tensor_location(self, name):
        return "host" if name in self.on_host else "device"

    def get_tensor_components_per_element(self, name):
        return -1

    def get_tensor_shape(self, name):
        return (-1,)

    def get_tensor_profile_shape(self, name, profile):
        return [(0,), (8,), (1 << 20,)]


class Base:
    pass


def tensorrt(plan):
    """Return a module that gives this plan for any bytes."""
    return SimpleNamespace(
        __version__="10.0.0",
        ILogger=Base,
        IOutputAllocator=Base,
        TensorIOMode=SimpleNamespace(INPUT="in"),
        TensorLocation=SimpleNamespace(HOST="host"),
        init_libnvinfer_plugins=lambda log, name: True,
        Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=lambda content: plan),
    )
