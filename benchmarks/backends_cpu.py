"""Each CPU backend through roadworthy, beside the same runtime called by hand.

    python benchmarks/backends_cpu.py [--seconds 2] [--rounds 7] [--out benchmarks/results/…json]

The example UNet (256² and 512²), ResNet-50, a small DETR and a small YOLOv5, all from
`networks.py`, exported at opset 17 and tidied by the passes of `deploy`. FP32, batch 1, one and two
threads. Ours runs as every engine is timed: in a process of its own, through `Session.run`. The raw
runtime runs in this process with the same settings, called as its documentation shows. Both are
timed in alternating blocks, each at rest while the other runs; two openings of the same bytes can
differ by a percent for good, so every round opens both anew, and the ratio (ours over raw, aim: at
most 1.02 where a run takes over 5 ms) is the median over rounds. TVM, which has no settings that
both could be called with by hand, is timed beside ONNX Runtime through roadworthy: as it is built
by rule, and tuned for `--tuning` seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import networks
import numpy as np
import onnx_ir as ir

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.core.cpus import usable_cpus
from roadworthy.core.files import write_text
from roadworthy.core.jsonable import dumps, plain
from roadworthy.core.signature import Feed
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from roadworthy.measure.environment import environment
from roadworthy.measure.paired import compare
from roadworthy.measure.subject import EngineSubject, LocalSubject
from roadworthy.passes.catalogue import standard_passes

HERE = Path(__file__).resolve().parent
AIM, AIM_FROM_MS = 1.02, 5.0
SAME = 1e-5
"""Relative L2 of two FP32 engines: other orders of summation, nothing else."""


def exported(name: str, size: int) -> tuple[ir.Model, Feed]:
    """Export a network at one size, take it through the passes, and return one input with it."""
    network = networks.NETWORKS[name]
    x = network.images(1, (size, size))
    model, _ = networks.exported(network, network.module(), x.shape)
    for one in standard_passes():
        model = one(model).model
    return model, {networks.INPUT: x}


NETWORKS: dict[str, Callable[[], tuple[ir.Model, Feed]]] = {
    "UNet 256²": partial(exported, "unet", 256),
    "UNet 512²": partial(exported, "unet", 512),
    "ResNet-50 224²": partial(exported, "resnet50", 224),
    "DETR (small) 320²": partial(exported, "detr_small", 320),
    "YOLO (small) 320²": partial(exported, "yolo_small", 320),
}


def by_hand_onnxruntime(content: bytes, feed: Feed, threads: int) -> Callable[[], Any]:
    """Return one call of ONNX Runtime with the settings that roadworthy states."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feed)


def by_hand_openvino(content: bytes, feed: Feed, threads: int) -> Callable[[], Any]:
    """Return one call of OpenVINO with the settings that roadworthy states."""
    # Not `import openvino`, which tells Google Analytics.
    from roadworthy.backends.openvino.runtime import ov

    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,
    }
    request = core.compile_model(core.read_model(content), "CPU", settings).create_infer_request()

    def call() -> list[Any]:
        return list(request.infer(feed, share_inputs=True).values())

    return call


BY_HAND = {"onnxruntime": by_hand_onnxruntime, "openvino": by_hand_openvino}


def built(model: ir.Model, backend: str, threads: int, *extra: tuple[str, str]) -> Engine:
    """Build an engine."""
    options = CompileOptions(threads=threads, extra=extra)
    return find(backend).compile(model, signature_of(model), Target(backend), options)


def beside_onnxruntime(
    model: ir.Model, feed: Feed, threads: int, seconds: float, tuning: float
) -> dict[str, Any]:
    """Time TVM beside ONNX Runtime, both through roadworthy; ratio: TVM's time over the other's."""
    began = time.monotonic()
    engine = built(model, "tvm", threads, ("tuning_seconds", f"{tuning:g}"))
    build_seconds = time.monotonic() - began
    other = built(model, "onnxruntime", threads)
    check(engine, feed, lambda *_: lambda: answers(other, feed))
    found = compare(
        EngineSubject("tvm", engine, feed, threads),
        EngineSubject("onnxruntime", other, feed, threads),
        seconds=seconds,
    )
    return {
        "tuning_seconds": tuning,
        "build_seconds": round(build_seconds, 1),
        "ours": plain(found.subject),
        "over_raw": None,
        "over_onnxruntime": {
            "ratio": 1 / found.ratio,
            "low": 1 / found.ratio_high,
            "high": 1 / found.ratio_low,
        },
    }


def answers(engine: Engine, feed: Feed) -> list[Any]:
    """Run an engine once."""
    with engine.open() as session:
        return list(session.run(feed).values())


def run_case(
    model: ir.Model, feed: Feed, backend: str, threads: int, seconds: float, rounds: int
) -> dict[str, Any]:
    """Time one network on one backend and return the account."""
    engine = built(model, backend, threads)
    check(engine, feed, BY_HAND[backend])
    found = []
    for _ in range(rounds):
        call = BY_HAND[backend](next(iter(engine.files.values())), feed, threads)
        raw = LocalSubject(f"{backend} by hand", call, threads)
        ours = EngineSubject(f"{backend} through roadworthy", engine, feed, threads)
        found.append(compare(ours, raw, seconds=seconds))
    ratios = sorted(1 / one.ratio for one in found)
    slow = found[0].baseline.p50_ms > AIM_FROM_MS
    return {
        "ours": plain(found[0].subject),
        "raw": plain(found[0].baseline),
        "over_raw": round(median(ratios), 4),
        "rounds": [round(ratio, 4) for ratio in ratios],
        "aim": AIM if slow else None,
        "met": median(ratios) <= AIM if slow else None,
    }


def check(engine: Engine, feed: Feed, by_hand: Callable[..., Callable[[], Any]]) -> None:
    """Both must do the same work before their times mean anything."""
    raw = by_hand(next(iter(engine.files.values())), feed, engine.options.threads)()
    with engine.open() as session:
        for ours, theirs in zip(session.run(feed).values(), raw, strict=True):
            difference = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
            assert difference < SAME, f"they differ by {difference:.1e} (relative L2)"


def told(row: dict[str, Any]) -> str:
    """Return a row for people."""
    if row["over_raw"] is None:
        times = f"{row['over_onnxruntime']['ratio']:.3f}"
        ratio = f"{times} of ONNX Runtime, tuned for {row['tuning_seconds']:g} s"
    else:
        ratio = f"{row['over_raw']:.4f} of raw"
    what = f"{row['network']:20} {row['backend']:12} {row['threads']}"
    return f"{what}  {row['ours']['p50_ms']:8.2f} ms  {ratio}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        help="of timed work, each round; TVM has one of thrice",
    )
    parser.add_argument("--rounds", type=int, default=7, help="freshly opened, each case")
    parser.add_argument("--backends", default=",".join((*BY_HAND, "tvm")))
    parser.add_argument("--tuning", type=float, default=30.0, help="TVM's budget, in seconds")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="of those, by name")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "backends_cpu.json")
    asked = parser.parse_args()
    account, rows = environment(), []
    for name in asked.networks.split(","):
        model, feed = NETWORKS[name]()
        for backend in asked.backends.split(","):
            for threads in sorted({1, min(2, usable_cpus())}):
                if backend == "tvm":
                    found = [
                        beside_onnxruntime(model, feed, threads, 3 * asked.seconds, tuning)
                        for tuning in (0.0, asked.tuning)
                    ]
                else:
                    found = [run_case(model, feed, backend, threads, asked.seconds, asked.rounds)]
                for row in found:
                    rows.append({"network": name, "backend": backend, "threads": threads, **row})
                    print(told(rows[-1]), flush=True)
    recorded = date.today().isoformat()
    write_text(asked.out, dumps({"recorded": recorded, "environment": account, "rows": rows}))
    return 0 if all(row.get("met") is not False for row in rows) else 5


if __name__ == "__main__":
    sys.exit(main())
