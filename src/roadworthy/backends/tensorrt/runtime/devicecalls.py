"""Runs from GPU arrays to GPU arrays, without a copy."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Optional, Tuple

from .arrays import UNTOLD, DeviceArray, DeviceView
from .binding import Binding
from .cuda import LEGACY_STREAM
from .engine import Engine, on_its_gpu
from .plan import known_sizes


class DeviceCalls(Engine):
    """Calls with arrays that are on the GPU already.

    `device_refusal` says why this network can't be called so, "" where it can.
    """

    def __init__(self, files: Dict[str, bytes], spec: Dict[str, Any]) -> None:
        super().__init__(files, spec)
        self.device_refusal = self._why_refused()

    @on_its_gpu
    def run_device(
        self,
        feed: Dict[str, Any],
        outputs: Optional[Dict[str, Any]] = None,
        stream: Optional[int] = None,
    ) -> Dict[str, Any]:
        """Run from GPU arrays to GPU arrays without a copy, in this process.

        Args:
            feed: objects with `__cuda_array_interface__` (CUDA tensors of PyTorch, CuPy, …),
                contiguous, of the engine's dtypes.
            outputs: the same, to be written; None: new `DeviceArray`s, which PyTorch takes with
                `torch.as_tensor`.
            stream: a CUDA stream's handle: the work is queued there and this call returns at
                once. None: the call waits until the results are there, and before for whatever is
                queued on the stream that an array names, or, where it names none (PyTorch's don't),
                on the legacy default stream, which PyTorch uses unless told otherwise.

        The second call with the same shapes and addresses captures a CUDA graph; keep the arrays
        (copy into them) for the best speed.
        """
        if self.device_refusal:
            raise RuntimeError("%s; use run() for this network" % self.device_refusal)
        if self._flying:
            self._settle()
        queue = self._stream if stream is None else stream
        views = {name: DeviceView(name, feed[name]) for name in self._inputs}
        given = {name: DeviceView(name, value) for name, value in (outputs or {}).items()}
        # Without a stream of the caller's, what isn't told is on the one that all others wait for.
        self._await(
            (*views.values(), *given.values()), queue, LEGACY_STREAM if stream is None else 0
        )
        key = (
            "device",
            tuple((view.address, view.shape) for view in views.values()),
            tuple((name, view.address) for name, view in given.items()),
        )
        binding = self._bindings.get(key)
        if binding is not None and binding.graphs:
            self._bindings.move_to_end(key)
            self._launch(binding, "compute", queue)
            made: Dict[str, Any] = {}
        else:
            binding, made = self._run_loose(key, views, given, queue, stream)
        if stream is None:
            self._cuda.cudaStreamSynchronize(queue)
        return {name: made.get(name, (outputs or {}).get(name)) for name in self._order}

    def _await(self, views: Iterable[DeviceView], queue: int, untold: int) -> None:
        """Make a queue wait for the streams that arrays are made on."""
        streams = {untold if view.ready_on == UNTOLD else view.ready_on for view in views}
        for stream in streams - {None, 0, queue}:
            self._cuda.cudaEventRecord(self._ready, stream)
            self._cuda.cudaStreamWaitEvent(queue, self._ready, 0)

    def _run_loose(
        self,
        key: Any,
        views: Dict[str, DeviceView],
        given: Dict[str, DeviceView],
        queue: int,
        stream: Optional[int],
    ) -> Tuple[Binding, Dict[str, Any]]:
        """Enqueue with these addresses; met a second time, they get a context and a graph."""
        keep = self._use_graphs and key in self._seen and len(given) == len(self._outputs)
        self._check_device(views)
        shapes = {name: view.shape for name, view in views.items()}
        if keep:
            binding = self._shaped(shapes)
        else:
            self._remember(key)
            binding = self._loose_binding(shapes)
        for name, view in views.items():
            binding.context.address(name, view.address)
        made: Dict[str, Any] = {}
        for name, port in self._outputs.items():
            shape = binding.context.output_shape(name)
            if name in given:
                if given[name].shape != shape or given[name].dtype != port.dtype:
                    raise RuntimeError(
                        "output %r is %s %s, not %s %s"
                        % (name, port.dtype, list(shape), given[name].dtype, given[name].shape)
                    )
                address = given[name].address
            else:
                made[name] = DeviceArray(self._cuda, shape, port.dtype, stream)
                address = made[name].address
            binding.context.address(name, address)
        self._launch(binding, "compute", queue)
        if keep:
            self._cuda.cudaStreamSynchronize(queue)
            self._capture(binding, "compute", binding.context.enqueue)
            if binding.graphs:
                self._bindings[key] = binding
            else:
                self._release(binding)
        return binding, made

    def _why_refused(self) -> str:
        for name, port in {**self._inputs, **self._outputs}.items():
            if port.on_host:
                return "%r is a shape, which TensorRT keeps in host memory" % name
            if port.narrow:
                return "%r is INT64, which this TensorRT computes as INT32" % name
        unknown = self._data_dependent()
        return "the shape of output %r depends on the data" % unknown if unknown else ""

    def _data_dependent(self) -> Optional[str]:
        """Return an output whose shape isn't known though all the inputs' are; None: there is none.

        That is a property of the network: it is the same for all shapes and profiles.
        """
        shapes = {name: known_sizes(self._engine.get_tensor_shape(name)) for name in self._outputs}
        unsettled = [name for name, sizes in shapes.items() if sizes is None or -1 in sizes]
        if not unsettled:
            return None
        context = self._free[0]
        optimum = {name: tuple(known[1]) for name, known in self._ranges[0].items() if known}
        context.shape(0, optimum, self._stream)
        return next((name for name in unsettled if -1 in context.output_shape(name)), None)

    def _check_device(self, views: Dict[str, DeviceView]) -> None:
        for name, view in views.items():
            port = self._inputs[name]
            if view.dtype != port.dtype:
                raise RuntimeError(
                    "input %r is %s on the GPU, the engine takes %s"
                    % (name, view.dtype, port.dtype)
                )

    def _loose_binding(self, shapes: Dict[str, Tuple[int, ...]]) -> Binding:
        """Return the binding for changing addresses; it never has a graph."""
        if self._loose is None:
            self._loose = self._shaped(shapes)
            return self._loose
        profile = self._profile_for(shapes)
        # Its last work may still run, and shapes are read when it is enqueued, not later.
        if not self._loose.context.shape(profile, shapes, self._last_stream):
            raise RuntimeError("TensorRT refused profile %d of the plan" % profile)
        return self._loose

    def _remember(self, key: Any) -> None:
        self._seen[key] = None
        while len(self._seen) > 64:
            self._seen.popitem(last=False)
