"""Run by the interpreter that has TensorRT 8: an INT8 build from a calibration cache alone.

    python device_trtcache.py RUNTIME net.onnx CACHE    (input "image" 2x3x16x16, output "y")

TensorRT places the INT8 by itself, with its own calibrator of the entropy kind. Prints one JSON
object: the answers to the image of seed 0, the layers by precision, and what the builder warned of.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt

# As in device_arrays.py.
sys.path.append(str(Path(sys.argv[1]).parent))
runtime = importlib.import_module(Path(sys.argv[1]).name)
proof = importlib.import_module(Path(sys.argv[1]).name + ".proof")


class Log(trt.ILogger):
    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.lines: list[str] = []

    def log(self, severity: Any, msg: str) -> None:
        if severity <= trt.ILogger.WARNING:
            self.lines.append(msg)


class FromCache(trt.IInt8EntropyCalibrator2):
    def __init__(self, text: bytes) -> None:
        trt.IInt8EntropyCalibrator2.__init__(self)
        self.text, self.batches = text, 0

    def get_batch_size(self) -> int:
        return 1

    def get_batch(self, names: Any) -> None:
        self.batches += 1

    def read_calibration_cache(self) -> bytes:
        return self.text

    def write_calibration_cache(self, cache: Any) -> None:
        pass


log = Log()
builder = trt.Builder(log)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
parser = trt.OnnxParser(network, log)
assert parser.parse(Path(sys.argv[2]).read_bytes()), log.lines
config = builder.create_builder_config()
config.set_flag(trt.BuilderFlag.INT8)
config.builder_optimization_level = 0
config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
# The others want cuDNN and cuBLAS.
config.set_tactic_sources(1 << int(trt.TacticSource.EDGE_MASK_CONVOLUTIONS))
calibrator = FromCache(Path(sys.argv[3]).read_bytes())
config.int8_calibrator = calibrator
plan = builder.build_serialized_network(network, config)
assert plan is not None, log.lines
runner = runtime.Runner({"engine.plan": bytes(plan)}, {})
image = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
found = {
    "y": runner.run({"image": image})["y"].tolist(),
    "layers": proof.census(runner.inspect())["layers"],
    "batches": calibrator.batches,
    "warnings": log.lines,
}
runner.close()
print(json.dumps(found))
