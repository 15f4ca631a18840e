"""Runs from host memory to host memory: staged through pinned buffers, one graph per shape."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from .binding import Binding
from .cuda import DEVICE_TO_HOST
from .engine import Engine, on_its_gpu
from .memory import Pinned, make_allocator
from .port import Port


class HostCalls(Engine):
    """Calls with NumPy arrays."""

    @on_its_gpu
    def run(self, feed: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Run once from host memory to host memory; the results are the caller's."""
        if self._flying:
            self._settle()
        binding = self._bound(feed)
        self._load(binding, feed)
        self._launch(binding, "whole", self._stream)
        self._cuda.cudaStreamSynchronize(self._stream)
        return self._results(binding)

    def _bound(self, feed: Dict[str, np.ndarray]) -> Binding:
        """Return the binding for these shapes, made on their first use."""
        key: Any = tuple(
            (feed[name].shape, feed[name].tobytes() if port.on_host else None)
            for name, port in self._inputs.items()
        )
        binding = self._bindings.get(key)
        if binding is not None:
            self._bindings.move_to_end(key)
            return binding
        # Room for it may be made of any other.
        self._settle()
        binding = self._make(feed)
        self._bindings[key] = binding
        return binding

    def _make(self, feed: Dict[str, np.ndarray], beside: bool = False) -> Binding:
        """Return a new binding for these shapes; `beside` another one, for runs that overlap."""
        cuda = self._cuda
        binding = self._shaped({name: feed[name].shape for name in self._inputs}, beside)
        try:
            for name, port in self._inputs.items():
                if port.on_host:
                    binding.host[name] = np.empty(feed[name].shape, port.dtype)
                    port.into(binding.host[name], feed[name])
                    binding.context.address(name, binding.host[name].ctypes.data)
                    continue
                binding.staged[name] = Pinned(cuda, feed[name].shape, port.dtype)
                binding.device[name] = cuda.device_memory(binding.staged[name].nbytes)
                binding.context.address(name, binding.device[name])
            self._bind_outputs(binding)
            self._load(binding, feed)
            self._work(binding, self._stream)
            cuda.cudaStreamSynchronize(self._stream)
            if self._use_graphs and not (beside or binding.allocators or binding.host):
                self._capture(binding, "whole", lambda stream: self._work(binding, stream))
        except BaseException:
            self._release(binding)
            raise
        return binding

    def _bind_outputs(self, binding: Binding) -> None:
        """Give every output memory: of its shape, or an allocator where only running tells."""
        unknown = list(binding.context.raw.infer_shapes())
        if unknown:
            raise RuntimeError("the shape or values of %s are not known" % ", ".join(unknown))
        for name, port in self._outputs.items():
            shape = binding.context.output_shape(name)
            if any(size < 0 for size in shape):
                allocator = make_allocator(self._trt, self._cuda)
                if not binding.context.raw.set_output_allocator(name, allocator):
                    raise RuntimeError("TensorRT refused an allocator for output %r" % name)
                binding.allocators[name] = allocator
            elif port.on_host:
                binding.host[name] = np.empty(shape, port.dtype)
                binding.context.address(name, binding.host[name].ctypes.data)
            else:
                binding.staged[name] = Pinned(self._cuda, shape, port.dtype)
                binding.device[name] = self._cuda.device_memory(binding.staged[name].nbytes)
                binding.context.address(name, binding.device[name])

    def _load(self, binding: Binding, feed: Dict[str, np.ndarray]) -> None:
        for name, port in self._inputs.items():
            if not port.on_host:
                port.into(binding.staged[name].array, feed[name])

    def _results(self, binding: Binding) -> Dict[str, np.ndarray]:
        answers = {}
        for name in self._order:
            port = self._outputs[name]
            if name in binding.allocators:
                answers[name] = port.out_of(self._fetched(binding.allocators[name], port))
            elif name in binding.host:
                answers[name] = port.out_of(binding.host[name])
            else:
                answers[name] = port.out_of(binding.staged[name].array)
        return answers

    def _fetched(self, allocator: Any, port: Port) -> np.ndarray:
        array = np.empty(allocator.shape, port.dtype)
        if array.nbytes:
            self._cuda.cudaMemcpyAsync(
                array.ctypes.data, allocator.address, array.nbytes, DEVICE_TO_HOST, self._stream
            )
            self._cuda.cudaStreamSynchronize(self._stream)
        return array
