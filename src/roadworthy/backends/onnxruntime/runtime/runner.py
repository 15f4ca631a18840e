"""What the outside calls: run, and tell where the time went."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from .device import CPU, PROVIDERS, affinity
from .foreign import foreign_types, ort_value, raw_array
from .graph import tensors_by_node
from .library import ort
from .session import Source, keep_graph, open_session, session_options
from .trace import by_run, rows_of

# What the graph that is executed is written down as.
OPTIMISED = "optimised.onnx"


class Runner:
    """One ONNX Runtime session over in-memory files.

    `spec`: "device" (None is the CPU), "threads" (None takes what the process may use),
    "optimise", "spinning", "arena" (whether memory is kept between runs).
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        spec: Mapping[str, Any],
        graph: Optional[Path] = None,
    ) -> None:
        """Open the session; `graph` is where to write the graph that it executes."""
        self._spec = spec
        self._provider = PROVIDERS[spec.get("device") or "cpu"]
        source = Source(files)
        options = self._options()
        if graph is not None:
            keep_graph(options, graph)
        self.session = open_session(source, options, self._provider)
        # For a profile, which opens a session of its own; and what is mapped must stay.
        self._source = source
        self.outputs = [output.name for output in self.session.get_outputs()]
        self._foreign_inputs = foreign_types(self.session.get_inputs())
        self._foreign_outputs = foreign_types(self.session.get_outputs())

    def _options(self) -> ort.SessionOptions:
        options = session_options(
            self._spec.get("threads") or affinity(),
            self._spec.get("optimise", True),
            self._spec.get("spinning", True),
            self._provider,
        )
        if not self._spec.get("arena", True):
            # Memory goes back after each run: many sessions would each keep their own peak.
            options.enable_cpu_mem_arena = False
            options.enable_mem_pattern = False
        return options

    def run(self, feed: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Run once. The results own their memory: ONNX Runtime allocates them for each call."""
        return self._run(self.session, feed)

    def _run(self, session: ort.InferenceSession, feed: Dict[str, Any]) -> Dict[str, np.ndarray]:
        if self._foreign_inputs:
            feed = {
                name: ort_value(array, *self._foreign_inputs[name])
                if name in self._foreign_inputs
                else array
                for name, array in feed.items()
            }
        if self._foreign_outputs:
            return self._run_bound(session, feed)
        return dict(zip(self.outputs, session.run(self.outputs, feed)))

    def _run_bound(
        self, session: ort.InferenceSession, feed: Dict[str, Any]
    ) -> Dict[str, np.ndarray]:
        """Run with outputs that `session.run` can't turn into NumPy arrays: copy their bytes."""
        binding = session.io_binding()
        for name, value in feed.items():
            if isinstance(value, ort.OrtValue):
                binding.bind_ortvalue_input(name, value)
            else:
                binding.bind_cpu_input(name, value)
        for name in self.outputs:
            binding.bind_output(name, "cpu")
        session.run_with_iobinding(binding)
        answers = {}
        for name, value in zip(self.outputs, binding.get_outputs()):
            if name in self._foreign_outputs:
                answers[name] = raw_array(value, self._foreign_outputs[name][1])
            else:
                # A copy: a bound result may share an input's memory.
                answers[name] = np.array(value.numpy())
        return answers

    def profile(self, feed: Dict[str, np.ndarray], runs: int) -> List[Dict[str, Any]]:
        """Return the executed nodes with their median time, in the order of execution.

        A session of its own has the profiler, so that `run` stays as fast as it is. Times come in
        whole microseconds. A row has also what tells where a fused node came from: "index" (of the
        node in the graph), "inside" (the If, Loop or Scan that executed it, else empty), and the
        names of its "inputs" and "outputs" in the optimised graph (empty where it can't be told).
        """
        if self._provider != CPU:
            raise RuntimeError(
                "ONNX Runtime's profiler tells how long kernels take to launch on %s, not to run"
                % self._provider
            )
        with tempfile.TemporaryDirectory(prefix="roadworthy-") as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder, "profile"))
            graph = Path(folder, OPTIMISED)
            keep_graph(options, graph)
            session = open_session(self._source, options, self._provider)
            try:
                for _ in range(runs + 1):
                    self._run(session, feed)
            finally:
                # It writes the file, which must not come after the folder is gone.
                trace = Path(session.end_profiling())
                del session
            events = json.loads(trace.read_text(encoding="utf-8"))
            nodes = tensors_by_node(graph.read_bytes())
        return rows_of(by_run(events, runs), nodes)

    def close(self) -> None:
        """Release the session."""
        self.__dict__.pop("session", None)
        self._source.close()
