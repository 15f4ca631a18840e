"""An execution context set to shapes and addresses, and the CUDA graphs of what it does."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from .cuda import THREAD_LOCAL, Cuda, CudaError
from .log import Lines
from .memory import Pinned
from .plan import known_sizes


class Context:
    """An execution context, and which profile and shapes it is set to."""

    def __init__(self, trt: Any, engine: Any, lines: Lines) -> None:
        self.raw = engine.create_execution_context()
        if self.raw is None:
            raise RuntimeError(
                "TensorRT could not make an execution context: %s"
                % lines.reason("most likely the GPU's memory is full")
            )
        self._lines = lines
        self._engine = engine
        self._shapes: Dict[str, Tuple[int, ...]] = {}

    def shape(self, profile: int, shapes: Dict[str, Tuple[int, ...]], stream: int) -> bool:
        """Set profile and input shapes. False: another context holds this profile (before 10)."""
        raw = self.raw
        if raw.active_optimization_profile != profile:
            if not raw.set_optimization_profile_async(profile, stream):
                return False
            self._shapes = {}
        for name, shape in shapes.items():
            if self._shapes.get(name) == shape:
                continue
            if not raw.set_input_shape(name, shape):
                raise RuntimeError(
                    "TensorRT refused shape %s of input %r: %s"
                    % (list(shape), name, self._lines.reason("no reason given"))
                )
            self._shapes[name] = shape
        return True

    def address(self, name: str, address: int) -> None:
        """Bind a tensor to memory."""
        if not self.raw.set_tensor_address(name, address):
            raise RuntimeError("TensorRT refused an address for tensor %r" % name)

    def output_shape(self, name: str) -> Tuple[int, ...]:
        """Return an output's shape; -1 where only running tells."""
        sizes = known_sizes(self.raw.get_tensor_shape(name))
        return (-1,) if sizes is None else tuple(sizes)

    def enqueue(self, stream: int) -> None:
        """Start one inference."""
        if not self.raw.execute_async_v3(stream):
            raise RuntimeError("TensorRT failed to run: %s" % self._lines.reason("no reason given"))


class Binding:
    """A context set to shapes and addresses, with CUDA graphs of what it does.

    A captured graph is only valid while its context stays as it was, so a binding that has one
    keeps the context to itself. `twins` are bindings of the same shapes, for runs that overlap, and
    `events` mark how far such a run is.
    """

    def __init__(self, cuda: Cuda, context: Context) -> None:
        self.cuda, self.context = cuda, context
        self.device: Dict[str, int] = {}
        self.staged: Dict[str, Pinned] = {}
        self.host: Dict[str, np.ndarray] = {}
        self.allocators: Dict[str, Any] = {}
        self.graphs: Dict[str, int] = {}
        self.twins: List[Binding] = []
        self.events: List[int] = []

    def capture(self, key: str, work: Callable[[int], None], stream: int) -> Optional[str]:
        """Record `work(stream)` as a graph. Returns why not, or None; afterwards all is usable."""
        cuda = self.cuda
        problem, graph = None, 0
        try:
            cuda.cudaStreamBeginCapture(stream, THREAD_LOCAL)
        except CudaError as error:
            return str(error)
        try:
            work(stream)
        except RuntimeError as error:
            problem = str(error)
        try:
            graph = cuda.end_capture(stream)
        except CudaError as error:
            problem = problem or str(error)
        if graph and problem is None:
            try:
                self.graphs[key] = cuda.handle("cudaGraphInstantiateWithFlags", graph, 0)
            except CudaError as error:
                problem = str(error)
        if graph:
            cuda.cudaGraphDestroy(graph)
        return problem

    def free(self) -> None:
        """Give memory and graphs back, its twins' too; the context stays."""
        for twin in self.twins:
            twin.free()
        for event in self.events:
            self.cuda.cudaEventDestroy(event)
        self.twins.clear()
        self.events.clear()
        for graph in self.graphs.values():
            self.cuda.cudaGraphExecDestroy(graph)
        for address in self.device.values():
            self.cuda.cudaFree(address)
        for staged in self.staged.values():
            staged.free()
        for allocator in self.allocators.values():
            allocator.free()
        for each in (self.graphs, self.device, self.staged, self.allocators, self.host):
            each.clear()
