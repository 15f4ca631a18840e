"""TensorRT on an NVIDIA GPU: latency, throughput, precision, and PyTorch beside it.

    python benchmarks/tensorrt_h200.py --target tensorrt@python=/opt/trt86/bin/python3.10 \
        --part latency --part torch --seconds 570 --out results.json

Steps (`--list` shows them with the seconds each is expected to take) are recorded one by one, so
that a run which is cut off loses nothing: the same command again continues. `--only TEXT` picks
steps by name, `--again` repeats recorded ones. `--build-only` builds the steps' engines and records
nothing; the measuring run finds them in TensorRT's build cache (there `--only` picks engines by
name). So several builds can share the machine, each in a process, and no measurement does.
Networks: `networks.py`. Errors are relative L2 against PyTorch FP32 with TF32 off, on the same
weights and image. Times of our engines are medians of what the runtime measures where it is:
`device` is GPU work alone, between events around back-to-back graph launches; `enqueue` the CPU's
part of a launch; `latency` copy in, compute, copy out between events; `host` the same end to end
from NumPy to NumPy. `--dry-run` runs every step with ONNX Runtime on this CPU and small networks:
for finding bugs, its times mean nothing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from h200 import engines, int8, road
from h200.bench import Bench, Spec
from h200.pairs import LEVEL, WAYS, in_one_call, paired
from h200.quantised import PLACEMENTS
from h200.record import Record, Step

from roadworthy.core.signature import Dim
from roadworthy.core.target import Target
from roadworthy.measure.environment import environment

HERE = Path(__file__).resolve().parent

_BATCHES = ((0, Dim("batch", 1, 16)),)
_SIDES = ((2, Dim("height", 480, 1088, 32)), (3, Dim("width", 480, 1088, 32)))
_PROFILE = "height=480..1088@800,width=480..1088@800"

RESNET = Spec("resnet50", "fp16")
RESNET_ANY = Spec("resnet50", "fp16", axes=_BATCHES, profile="batch=1..16@8")
RESNET_64 = Spec("resnet50", "fp16", batch=64, level=2)
UNET = Spec("unet64", "fp16")
UNET_2 = Spec("unet64", "fp16", level=2)
RESNET_2 = Spec("resnet50", "fp16", level=2)
DETR = Spec("detr", "fp16")
DETR_ANY = Spec("detr", "fp16", level=2, axes=_SIDES, profile=_PROFILE)
YOLO = Spec("yolo", "fp16", level=2)
# UNet: at batch 64 its last Concat would have 64·128·512² = 2^31 elements, one more than TensorRT
# can number; at 16 the GPU has all the work it can take.
C4_LINES = (
    ("resnet50", 1),
    ("resnet50", 64),
    ("unet64", 1),
    ("unet64", 16),
    ("yolo", 1),
    ("yolo", 64),
)
C4_SECONDS = 45.0
"""Of a line whose engines were built before."""
DETR_SIZES = [(1, 800, 800), (1, 480, 640), (1, 608, 1088), (1, 1088, 1088)]


def planned(bench: Bench, level: int = LEVEL) -> list[Step]:
    """Return all steps, the most wanted first; seconds include the build where it comes first.

    `level` is the optimisation level of account C4's engines.
    """
    dry = bench.dry
    steps: list[Step] = []

    def add(part: str, key: str, seconds: float, work: Any, *arguments: Any) -> None:
        seconds = 1.0 if dry else seconds
        build, how = (in_one_call, "one call ") if part == "c1" else (Bench.engine, "")
        specs = [item for item in arguments if isinstance(item, Spec)]
        builds: dict[str, Any] = {how + spec.key: partial(build, bench, spec) for spec in specs}
        if work is road.road:
            builds = {key: partial(road.built, bench)}
        steps.append(Step(part, key, seconds, partial(work, bench, *arguments), builds))

    def engine(part: str, spec: Spec, seconds: float, *sizes: tuple[int, ...]) -> None:
        used = list(sizes) or [(spec.batch, *bench.shape(spec.network)[1:])]
        add(part, spec.key, seconds, engines.measure, spec, used)

    side = bench.shape("resnet50")[1:]
    resnet_64 = replace(RESNET_64, batch=3) if dry else RESNET_64
    engine("latency", RESNET, 110)
    add("latency", "resnet50 against a bare graph", 15, engines.bare, RESNET)
    add("profile", "resnet50 layers", 10, engines.layers, RESNET)
    add("torch", "pairs resnet50 batch 1", 70, paired, RESNET, 1, WAYS)
    engine("latency", resnet_64, 70)
    add("torch", "pairs resnet50 batch 64", 60, paired, resnet_64, resnet_64.batch, WAYS)
    engine("latency", RESNET_ANY, 100, *((batch, *side) for batch in (1, 4, 8, 16)))
    engine("latency", Spec("resnet50", "fp32", level=2), 35)
    engine("latency", Spec("resnet50", "tf32", level=2), 40)
    engine("unet", UNET, 70)
    add("profile", "unet64 layers", 10, engines.layers, UNET)
    add("torch", "pairs unet64 batch 1", 60, paired, UNET, 1, WAYS)
    engine("detr", DETR, 110)
    add("torch", "pairs detr batch 1", 80, paired, DETR, 1, WAYS)
    engine("detr", Spec("detr", "fp32", level=2), 50)
    engine("detr", DETR_ANY, 110, *DETR_SIZES)
    engine("yolo", YOLO, 110)
    engine("yolo", Spec("yolo", "tf32", level=2), 50)
    add("torch", "pairs yolo batch 1", 70, paired, YOLO, 1, WAYS)
    for spec in (UNET_2, RESNET_2):
        for precision, more in (("fp16", ""), ("int8", ", int8")):
            ways = (f"one call {precision}", "eager fp32", "autocast fp16")
            by = replace(spec, precision=precision)
            add("c1", f"one call {spec.network} batch 1{more}", 70, paired, by, 1, ways)
    add("int8", "ConvTranspose's weights by axis, int8", 45, int8.transposed)
    for name, batch in C4_LINES:
        size = min(batch, 3) if dry else batch
        specs = [Spec(name, precision, size, level) for precision in int8.PRECISIONS]
        key = f"precisions {name} batch {size}, level {level}"
        add("int8", key, C4_SECONDS, int8.precisions, *specs)
    for name, others in product(("unet64", "yolo"), pairwise(PLACEMENTS[:3])):
        specs = [Spec(name, "int8", level=level, placement=where) for where in others]
        specs.append(Spec(name, "fp16", level=level))
        key = f"placements {name} batch 1, level {level}, {others[-1]}"
        add("placements", key, 60, int8.placements, *specs)
    # By itself: 8.6 has never built a ConvTranspose between others in INT8, and tries for minutes.
    engine("placements", Spec("unet64", "int8", level=level, placement=PLACEMENTS[3]), 60)
    for spec in (resnet_64, UNET_2):
        add("overlap", f"copies beside computing, {spec.key}", 35, engines.threads, spec)
    add("road", "deploy, verify, bench", 120, road.road)
    add("largest", "largest batch unet64 fp16", 150, engines.largest, "unet64", 32, 150.0)
    add("largest", "largest batch resnet50 fp16", 150, engines.largest, "resnet50", 1024, 150.0)
    slow = ("max-autotune fp16",)
    add("autotune", "pairs resnet50 batch 1, max-autotune", 300, paired, RESNET, 1, slow)
    return steps


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", default="tensorrt")
    parser.add_argument("--part", action="append", help="all but autotune, if none is named")
    parser.add_argument("--only", default="", help="steps with this text in their name")
    parser.add_argument("--again", action="store_true", help="repeat recorded steps")
    parser.add_argument("--build-only", action="store_true", help="build, measure nothing")
    parser.add_argument("--list", action="store_true", help="show the steps and end")
    parser.add_argument("--dry-run", action="store_true", help="on this CPU; see above")
    parser.add_argument("--seconds", type=float, default=570.0, help="begin no step that won't fit")
    parser.add_argument("--also-running", default="", help="what else the machine does: recorded")
    parser.add_argument("--int8-level", type=int, default=LEVEL, help="part int8's engines'")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "tensorrt_h200.json")
    asked = parser.parse_args()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    machine = {**environment(), "gpu": gpu}
    machine["cuda_of_torch"] = torch.version.cuda
    record = Record(asked.out, machine, asked.seconds, asked.also_running)
    target = Target.parse("onnxruntime" if asked.dry_run else asked.target)
    bench = Bench(target, asked.dry_run, record)
    steps = [
        step
        for step in planned(bench, asked.int8_level)
        if (asked.build_only or asked.only in step.key)
        and (step.part in asked.part if asked.part else step.part != "autotune")
    ]
    if asked.list:
        for step in steps:
            print(f"{step.part:9} {step.seconds:4.0f} s  {step.key}")
            if asked.build_only:
                print(*(f"{'':18}{name}" for name in step.builds), sep="\n")
        return 0
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if asked.dry_run:
        torch.set_num_threads(1)
    if asked.build_only:
        return record.build(steps, asked.only)
    return record.do(steps, asked.again)


if __name__ == "__main__":
    sys.exit(main())
