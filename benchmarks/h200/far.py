"""Runs where the runtime is, with NumPy only; prints one JSON object.

    python far.py RUNTIME ENGINE threads INPUT 16x3x224x224 SECONDS
    python far.py RUNTIME ENGINE once    INPUT 64x1x512x512 RUNS

`threads`: 1 to 4 threads, each with an engine of its own (stream, buffers, graph), from NumPy to
NumPy: images per second. While one copies, another computes. `once`: runs a (large) batch, the
median time, the device memory taken, and whether equal images in it got equal answers.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np


def runtime_at(path: Path) -> Any:
    """Import the runtime by its path: this interpreter has no roadworthy."""
    # Last: the files beside it are no modules of this interpreter's.
    sys.path.append(str(path.parent))
    return importlib.import_module(path.stem)


def free_memory(runtime: Any) -> int | None:
    """Return the device's free bytes; None without a device."""
    if not hasattr(runtime, "cuda_here"):
        return None
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    runtime.cuda_here().cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    return free.value


def rates(runtime: Any, files: dict[str, bytes], feed: Any, seconds: float) -> dict[str, Any]:
    """Return images per second with 1, 2, 3 and 4 threads."""
    batch = len(next(iter(feed.values())))
    found = {}
    for count in (1, 2, 3, 4):
        runners = [runtime.Runner(files, {}) for _ in range(count)]
        done = [0] * count
        ready, stop = threading.Barrier(count + 1), threading.Event()

        def work(
            index: int, runners: Any = runners, done: Any = done, gates: Any = (ready, stop)
        ) -> None:
            for _ in range(10):
                runners[index].run(feed)
            gates[0].wait()
            while not gates[1].is_set():
                runners[index].run(feed)
                done[index] += 1

        threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
        for thread in threads:
            thread.start()
        ready.wait()
        began = time.perf_counter()
        time.sleep(seconds)
        runs, spent = sum(done), time.perf_counter() - began
        stop.set()
        for thread in threads:
            thread.join()
        for runner in runners:
            runner.close()
        found[str(count)] = batch * runs / spent
    return {"per_second": found}


def once(
    runtime: Any, files: dict[str, bytes], shape: tuple[int, ...], name: str, runs: int
) -> dict[str, Any]:
    """Run a batch of four images over and over."""
    before = free_memory(runtime)
    four = np.random.default_rng(0).random((4, *shape[1:]), np.float32)
    data = four[np.arange(shape[0]) % 4]
    runner = runtime.Runner(files, {})
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        answers = runner.run({name: data})
        times.append(time.perf_counter() - began)
    after = free_memory(runtime)
    worst = 0.0
    for y in answers.values():
        flat = y.reshape(len(y), -1).astype(np.float64)
        same = flat[np.arange(len(y)) % 4]
        worst = max(worst, float(np.linalg.norm(flat - same) / np.linalg.norm(flat)))
    finite = all(bool(np.isfinite(y).all()) for y in answers.values())
    runner.close()
    host = median(times[1:])
    return {
        "host_ms": host * 1e3,
        "per_second": shape[0] / host,
        "device_bytes": None if before is None or after is None else before - after,
        "free_bytes_before": before,
        "equal_images_differ_by": worst,
        "finite": finite,
    }


def main() -> None:
    """Do one task and print."""
    path, engine, task, name, shape_text, number = sys.argv[1:]
    runtime = runtime_at(Path(path))
    shape = tuple(int(size) for size in shape_text.split("x"))
    files = {Path(engine).name: Path(engine).read_bytes()}
    if task == "threads":
        feed = {name: np.random.default_rng(0).random(shape, np.float32)}
        found = rates(runtime, files, feed, float(number))
    else:
        found = once(runtime, files, shape, name, int(number))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
