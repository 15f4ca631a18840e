"""What the outside calls: run, and tell what runs and where the time goes."""

from __future__ import annotations

from typing import Any, Dict, Generator, Iterable, List, Mapping

import numpy as np

from .arrays import answers_of, lend
from .compiling import check_precision, compile_model
from .device import device_name
from .failure import plainly
from .justbuilt import take
from .manycalls import ManyCalls
from .ports import input_ports, output_ports
from .profile import rows_of
from .proof import proof_of
from .steps import floats_by_type, steps_of


class Runner:
    """One compiled model and one request over in-memory files.

    `spec`: "device" (None is the CPU), "precision" ("fp32", "bf16", "fp16"), "threads" (None takes
    what the process may use), "shapes" (input name to a list of sizes or [low, high],
    high None if unbounded), "inputs" and "outputs" (their names), "pinning", "cache_dir" (None: no
    cache), "mode" ("latency", "throughput").
    """

    def __init__(self, files: Mapping[str, bytes], spec: Mapping[str, Any]) -> None:
        self._files, self._spec = files, spec
        self._device = device_name(spec.get("device"))
        self.compiled = take(files, spec)
        with plainly():
            if self.compiled is None:
                self.compiled = compile_model(files, spec, self._device)
                check_precision(files, spec, floats_by_type(steps_of(self.compiled)))
            self._request = self.compiled.create_infer_request()
            # As many runs as OpenVINO says keep the device busy; 1 on a CPU for latency.
            self._most = int(self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._inputs = input_ports(self.compiled.inputs, spec)
        self._outputs = output_ports(self.compiled.outputs, spec["outputs"])
        self._many = ManyCalls(self.compiled, self._inputs, self._outputs, self._most)

    def proof(self) -> Dict[str, Any]:
        """Return what really runs; see `proof.proof_of`."""
        return proof_of(self.compiled, self._spec, self._device, self._most)

    def run(self, feed: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Run once. The results are copies: OpenVINO uses its own buffers again."""
        kept = lend(self._request, self._inputs, feed)
        with plainly():
            self._request.infer(share_outputs=True)
        answers = answers_of(self._request, self._outputs)
        # Not before: an output may be an input's own memory.
        del kept
        return answers

    def run_many(
        self, feeds: Iterable[Dict[str, np.ndarray]]
    ) -> Generator[Dict[str, np.ndarray], None, None]:
        """Yield the answers to feeds in order; as many runs overlap as the proof's "requests".

        Feeds are copied: whoever makes them may use its arrays again while a run reads them. A
        failure, be it to make a feed or to run it, comes after the answers to those before it.
        """
        return self._many.run(feeds)

    def profile(self, feed: Dict[str, np.ndarray], runs: int) -> List[Dict[str, Any]]:
        """Return the executed steps with their median time, in the order of execution.

        "onnx" holds the names that OpenVINO keeps from the model: those of nodes, but of outputs
        where a node makes an output of the model or has no name. Counters cost time, so a second
        compilation has them and `run` hasn't.
        """
        with plainly():
            compiled = compile_model(self._files, self._spec, self._device, profiling=True)
        return rows_of(compiled, self._inputs, feed, runs)

    def close(self) -> None:
        """Release the requests and the compiled model, after what still runs has ended."""
        self._many.close()
        self.__dict__.pop("_request", None)
        self.__dict__.pop("compiled", None)
