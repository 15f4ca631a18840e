"""Our device-to-device call against bare `cudaGraphLaunch` of the same plan, one after the other.

    python tensorrt_bare.py RUNTIME ENGINE.plan INPUT 1x3x224x224 LAUNCHES ROUNDS

Run by the interpreter that has TensorRT (NumPy only); RUNTIME is the folder
`roadworthy/backends/tensorrt/runtime`. Per round: GPU events around LAUNCHES
back-to-back launches of a graph captured here by hand, then around as many `Runner.run_device`
calls with the caller's input and output; the order alternates. Prints one JSON object, in ms.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def load(folder: str) -> Any:
    """Import the runtime by its folder: this interpreter has no roadworthy."""
    # Last: the files beside it are no modules of this interpreter's.
    sys.path.append(str(Path(folder).parent))
    return importlib.import_module(Path(folder).name)


def bare_graph(
    cuda: Any,
    plan: bytes,
    addresses: dict[str, int],
    shape: tuple[int, ...],
    stream: int,
) -> tuple[Any, int]:
    """Capture the plan by hand with TensorRT's own calls; returns what must stay alive, graph."""
    import tensorrt as trt

    log = trt.Logger(trt.Logger.ERROR)
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    for name, address in addresses.items():
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            context.set_input_shape(name, shape)
        context.set_tensor_address(name, address)
    context.execute_async_v3(stream)
    cuda.cudaStreamSynchronize(stream)
    cuda.cudaStreamBeginCapture(stream, 1)
    context.execute_async_v3(stream)
    graph = cuda.end_capture(stream)
    return (log, engine, context), cuda.handle("cudaGraphInstantiateWithFlags", graph, 0)


def main() -> None:
    """Measure and print."""
    folder, plan_path, name, shape_text, launches, rounds = sys.argv[1:]
    runtime = load(folder)
    cuda, plan = runtime.cuda_here(), Path(plan_path).read_bytes()
    shape = tuple(int(size) for size in shape_text.split("x"))
    runner = runtime.Runner({"engine.plan": plan}, {})
    data = np.random.default_rng(0).random(shape, np.float32)
    answers = runner.run({name: data})
    (output,) = answers
    x = runtime.DeviceArray(cuda, shape, data.dtype, None)
    y = runtime.DeviceArray(cuda, answers[output].shape, answers[output].dtype, None)
    stream = cuda.handle("cudaStreamCreateWithFlags", 1)
    cuda.cudaMemcpyAsync(x.address, ctypes.c_void_p(data.ctypes.data), data.nbytes, 1, stream)
    cuda.cudaStreamSynchronize(stream)
    addresses = {name: x.address, output: y.address}
    alive, graph = bare_graph(cuda, plan, addresses, shape, stream)
    first, last = (cuda.handle("cudaEventCreateWithFlags", 0) for _ in range(2))

    def timed(call: Callable[[], object]) -> float:
        for _ in range(20):
            call()
        cuda.cudaStreamSynchronize(stream)
        cuda.cudaEventRecord(first, stream)
        for _ in range(int(launches)):
            call()
        cuda.cudaEventRecord(last, stream)
        cuda.cudaEventSynchronize(last)
        return cuda.elapsed_ns(first, last) / 1e6 / int(launches)

    def bare() -> None:
        cuda.cudaGraphLaunch(graph, stream)

    def ours() -> None:
        runner.run_device({name: x}, {output: y}, stream)

    for _ in range(3):
        ours()
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for turn in range(int(rounds)):
        for key, call in (("bare", bare), ("ours", ours))[:: 1 if turn % 2 else -1]:
            times[key].append(timed(call))
    medians = {key: float(np.median(values)) for key, values in times.items()}
    got = np.empty(y.shape, y.dtype)
    cuda.cudaMemcpyAsync(ctypes.c_void_p(got.ctypes.data), y.address, got.nbytes, 2, stream)
    cuda.cudaStreamSynchronize(stream)
    print(
        json.dumps(
            {
                "launches": int(launches),
                "rounds": times,
                "bare_ms": medians["bare"],
                "ours_ms": medians["ours"],
                "ratio": medians["ours"] / medians["bare"],
                "equal_to_run": bool(np.array_equal(got, answers[output])),
                "graphs": any(b.graphs for b in runner._bindings.values()),
                "notes": runner.notes,
            }
        )
    )
    del alive
    runner.close()


if __name__ == "__main__":
    main()
