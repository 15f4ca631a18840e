"""A library, loaded and run."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from .calls import Calls
from .contract import CONTRACT, LIBRARY, check_fits
from .failure import plainly
from .machine import import_tvm, set_threads


class Runner:
    """One library, loaded. Refuses before loading what this CPU would crash on."""

    def __init__(self, files: Dict[str, bytes], spec: Dict[str, Any]) -> None:
        tvm = import_tvm()
        contract = json.loads(files[CONTRACT].decode())
        check_fits(tvm, contract)
        if not spec.get("spinning", True):
            os.environ["TVM_THREAD_POOL_SPIN_COUNT"] = "0"
        set_threads(tvm, spec)
        relax = importlib.import_module("tvm.relax")
        self._folder = tempfile.TemporaryDirectory(prefix="roadworthy-tvm-")
        path = Path(self._folder.name, LIBRARY)
        path.write_bytes(files[LIBRARY])
        self._tensor = tvm.runtime.tensor
        self._inputs: List[str] = contract["inputs"]
        self._outputs: List[Tuple[str, str]] = list(zip(contract["outputs"], contract["dtypes"]))
        with plainly("can't open the library"):
            library = tvm.runtime.load_module(str(path))
            self._machine: Any = lambda: relax.VirtualMachine(library, tvm.cpu())
            self._call: Any = self._machine()["main"]

    def run(self, feed: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Run once. TVM gets copies, aligned as it wants them, and its results are copied out."""
        with plainly("failed"):
            results = self._call(*[self._tensor(feed[name]) for name in self._inputs])
            results = [results] if len(self._outputs) == 1 else list(results)
            answers = {}
            for (name, dtype), result in zip(self._outputs, results):
                answers[name] = _array(name, dtype, result)
        return answers

    def time(
        self, feed: Dict[str, np.ndarray], runs: int, lead: int, host_only: bool = False
    ) -> Dict[str, List[int]]:
        """Time end to end ("host"), and TVM's call alone ("device"), in nanoseconds."""
        times: Dict[str, List[int]] = {"host": [], "device": []}
        tensors = [self._tensor(feed[name]) for name in self._inputs]
        for count in range(lead + runs):
            start = time.perf_counter_ns()
            self.run(feed)
            middle = time.perf_counter_ns()
            self._call(*tensors)
            end = time.perf_counter_ns()
            if count >= lead:
                times["host"].append(middle - start)
                times["device"].append(end - middle)
        return times

    def profile(self, feed: Dict[str, np.ndarray], runs: int) -> List[Dict[str, Any]]:
        """Return TVM's functions in the order of their first call, with their median time per run.

        "onnx" is empty: TVM fuses nodes into functions and keeps no account of which. What its
        virtual machine does itself, such as getting memory, is of the kind "builtin". A virtual
        machine of its own has the instrument, so that `run` stays as fast as it is.
        """
        calls = Calls()
        with plainly("failed"):
            machine = self._machine()
            machine.set_instrument(calls.instrument)
            tensors = [self._tensor(feed[name]) for name in self._inputs]
            for _ in range(runs + 1):
                calls.begin_run()
                machine["main"](*tensors)
        return calls.rows()

    def close(self) -> None:
        """Give the library back."""
        self._call = self._machine = None
        self._folder.cleanup()


def _array(name: str, dtype: str, result: Any) -> np.ndarray:
    """Return a result as an array of its own."""
    array = result.numpy() if hasattr(result, "numpy") else np.array(list(result), np.int64)
    if array.dtype.name != dtype:
        raise RuntimeError(
            "TVM gave output %r as %s, the model says %s" % (name, array.dtype, dtype)
        )
    return np.array(array)
