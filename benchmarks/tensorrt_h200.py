"""TensorRT on an NVIDIA GPU against PyTorch and against a bare CUDA graph of the same plan.

    python benchmarks/tensorrt_h200.py --target tensorrt@python=/opt/trt86/bin/python3.10

Networks: ResNet-50 (torchvision's, seeded random weights, 224²) and the example UNet at its
account's size (64 base channels, 1×1×512×512, seeded random weights), exported by PyTorch at
opset 17. Per engine: build time, what runs in which precision, relative L2 against PyTorch FP32
with TF32 off, and the runtime's own times (medians): `device` is GPU work alone between events
around back-to-back graph launches; `enqueue` the CPU's part; `latency` copy in, compute, copy out
between events; `host` the same end to end from NumPy arrays to NumPy arrays.
PyTorch (device tensors in and out) is timed the same way as `device`: events around each of the
calls queued back to back. Results are merged by part into one JSON file.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.backends.tensorrt import compiler
from roadworthy.core.errors import RoadworthyError
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of

HERE = Path(__file__).resolve().parent
RUNS = 1000


def resnet50() -> tuple[torch.nn.Module, tuple[int, ...]]:
    """ResNet-50 with seeded weights, and one image's shape."""
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.resnet50(weights=None).eval(), (3, 224, 224)


def unet64() -> tuple[torch.nn.Module, tuple[int, ...]]:
    """The example UNet at the paper's widths."""
    sys.path.insert(0, str(HERE.parent / "examples" / "unet"))
    import model

    torch.manual_seed(0)
    return model.unet64().eval(), (1, 512, 512)


NETWORKS: dict[str, Callable[[], tuple[torch.nn.Module, tuple[int, ...]]]] = {
    "resnet50": resnet50,
    "unet64": unet64,
}


def exported(module: torch.nn.Module, shape: tuple[int, ...], batches: str | None) -> ir.Model:
    """Export at opset 17, the highest that TensorRT 8.6 reads; `batches` makes axis 0 dynamic."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            (torch.zeros(2 if batches else 1, *shape),),
            path,
            opset_version=17,
            dynamo=False,
            input_names=["image"],
            output_names=["y"],
            dynamic_axes={"image": {0: "batch"}, "y": {0: "batch"}} if batches else None,
        )
        return ir.from_proto(ir.to_proto(ir.load(path)))


def ranged(model: ir.Model, batches: str | None) -> Signature:
    """The model's signature, the batch in its range."""
    from roadworthy.core.signature import Dim

    signature = signature_of(model)
    if batches is None:
        return signature
    low, _, high = batches.partition("..")
    return signature.with_ranges({"batch": Dim("batch", int(low), int(high))})


def measured_engine(engine: Engine, images: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Answers against the truth, and times, at one batch."""
    with engine.open() as session:
        answer = session.run({"image": images})["y"]
        error = np.linalg.norm((answer - truth).astype(np.float64)) / np.linalg.norm(truth)
        times = session.runner.time({"image": images}, RUNS if len(images) < 16 else 200, 50)
    ms = {f"{name}_ms": statistics.median(values) / 1e6 for name, values in times.items()}
    return {"batch": len(images), "relative_l2": float(error), "runs": len(times["host"]), **ms}


def layer_table(engine: Engine, images: np.ndarray) -> list[dict[str, Any]]:
    """The layers that take longest."""
    with engine.open() as session:
        layers = session.runner.profile({"image": images}, 50)
    return sorted(layers, key=lambda layer: -layer["median_us"])[:20]


def against_bare(engine: Engine, target: Target, shape: tuple[int, ...]) -> dict[str, Any]:
    """Run tensorrt_bare.py where TensorRT is."""
    python = (target.where or f"python={sys.executable}").removeprefix("python=")
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "engine.plan"
        plan.write_bytes(engine.files["engine.plan"])
        runtime = Path(compiler.__file__).with_name("runtime.py")
        text = "x".join(map(str, shape))
        script = HERE / "tensorrt_bare.py"
        done = subprocess.run(
            [python, script, runtime, plan, "image", text, str(RUNS), "10"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def torch_ways(module: torch.nn.Module) -> Iterator[tuple[str, Callable[[torch.Tensor], Any]]]:
    """Ways of running it in PyTorch; FP16 is `half()`, channels last."""
    half = module.half().to(memory_format=torch.channels_last)

    def run_half(x: torch.Tensor) -> Any:
        return half(x)

    yield "eager fp16", run_half
    compiled = torch.compile(half, mode="reduce-overhead")
    yield "compile reduce-overhead fp16", compiled


def timed_torch(call: Callable[[torch.Tensor], Any], x: torch.Tensor, runs: int) -> float:
    """Median ms between events around each of the calls, queued back to back."""
    for _ in range(20):
        call(x)
    torch.cuda.synchronize()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(runs + 1)]
    events[0].record()
    for event in events[1:]:
        call(x)
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in pairwise(events))


def torch_baselines(name: str, batches: list[int]) -> list[dict[str, Any]]:
    """PyTorch on the same GPU: FP32, autocast, FP16 eager, FP16 compiled with CUDA graphs."""
    rows = []
    with torch.inference_mode():
        module, shape = NETWORKS[name]()
        module = module.cuda()
        for batch in batches:
            x = torch.rand(batch, *shape, device="cuda")
            runs = 200 if batch < 16 else 100
            rows.append(row("eager fp32", batch, timed_torch(module, x, runs)))

            def autocast(x: torch.Tensor, module: Any = module) -> Any:
                with torch.autocast("cuda", torch.float16):
                    return module(x)

            rows.append(row("autocast fp16", batch, timed_torch(autocast, x, runs)))
        for way, call in torch_ways(module):
            for batch in batches:
                x = torch.rand(batch, *shape, device="cuda").half()
                x = x.to(memory_format=torch.channels_last)
                rows.append(row(way, batch, timed_torch(call, x, 200 if batch < 16 else 100)))
    return rows


def row(way: str, batch: int, ms: float) -> dict[str, Any]:
    print(f"  torch {way}, batch {batch}: {ms:.3f} ms", flush=True)
    return {"way": way, "batch": batch, "device_ms": ms}


def part(name: str, target: Target, plan: list[str], seconds: float) -> dict[str, Any]:
    """One network: engines by "precision" or "precision:LOW..HIGH", then PyTorch."""
    module, shape = NETWORKS[name]()
    generator = np.random.default_rng(1)
    found: dict[str, Any] = {"engines": [], "torch": []}
    start = time.monotonic()
    for entry in plan:
        if time.monotonic() - start > seconds:
            found["left_out"] = plan[plan.index(entry) :]
            break
        precision, _, batches = entry.partition(":")
        found["engines"].append(
            engine_row(module, shape, target, precision, batches or None, generator)
        )
    return found


def engine_row(
    module: torch.nn.Module,
    shape: tuple[int, ...],
    target: Target,
    precision: str,
    batches: str | None,
    generator: np.random.Generator,
) -> dict[str, Any]:
    """Build one engine, judge it, time it."""
    model = exported(module, shape, batches)
    extra = (("build-cache", "off"),)
    options = CompileOptions(precision=precision, extra=extra)
    said: list[str] = []
    start = time.monotonic()
    record: dict[str, Any] = {"precision": precision, "batches": batches or "1"}
    try:
        backend: Any = find("tensorrt")
        engine = backend.compile(model, ranged(model, batches), target, options, said.append)
    except RoadworthyError as error:
        print(f"  {precision} {batches}: {error}", flush=True)
        return {**record, "error": str(error)}
    record |= {
        "compile_seconds": time.monotonic() - start,
        "proof": dict(engine.proof),
        "fingerprint": dict(engine.fingerprint),
        "heartbeats": len(said),
        "warnings": [line for line in engine.log if line.startswith(("[W]", "[E]"))][:10],
        "rows": [],
    }
    sizes = [1] if batches is None else [1, 4, 8, 16, 64]
    high = 1 if batches is None else int(batches.rpartition(".")[2])
    for batch in [size for size in sizes if size <= high]:
        images = generator.random((batch, *shape), np.float32)
        with torch.no_grad():
            truth = copy.deepcopy(module).cuda()(torch.from_numpy(images).cuda()).cpu().numpy()
        measured = measured_engine(engine, images, truth)
        record["rows"].append(measured)
        print(
            f"  {precision} batch {batch}: device {measured['device_ms']:.3f} ms, enqueue "
            f"{measured['enqueue_ms']:.4f}, latency {measured['latency_ms']:.3f}, host "
            f"{measured['host_ms']:.3f}, L2 {measured['relative_l2']:.1e}, built in "
            f"{record['compile_seconds']:.0f} s, layers {engine.proof['layers']}",
            flush=True,
        )
    if batches is None and precision == "fp16":
        images = generator.random((1, *shape), np.float32)
        record["slowest_layers"] = layer_table(engine, images)
        record["against_bare_graph"] = bare = against_bare(engine, target, (1, *shape))
        print(f"  bare {bare['bare_ms']:.4f} ms, ours {bare['ours_ms']:.4f}", flush=True)
    return record


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="tensorrt")
    parser.add_argument("--network", choices=tuple(NETWORKS), required=True)
    parser.add_argument("--engines", default="fp16,fp32,tf32,fp16:1..64")
    parser.add_argument("--torch-batches", default="1,64")
    parser.add_argument("--seconds", type=float, default=420.0, help="start no engine later")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "tensorrt_h200.json")
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    print(arguments.network, flush=True)
    found = part(
        arguments.network,
        Target.parse(arguments.target),
        [entry for entry in arguments.engines.split(",") if entry],
        arguments.seconds,
    )
    merge(arguments.out, arguments.network, found)
    batches = [int(batch) for batch in arguments.torch_batches.split(",") if batch]
    found["torch"] = torch_baselines(arguments.network, batches)
    merge(arguments.out, arguments.network, found)


def merge(path: Path, name: str, found: dict[str, Any]) -> None:
    """Add a part to the recorded file."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known["machine"] = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda_of_torch": torch.version.cuda,
        "python": sys.version.split()[0],
    }
    known[name] = {**known.get(name, {}), **found}
    path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
