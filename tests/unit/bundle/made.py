"""A small real network, its engine, certificate and samples: what the bundle tests write."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.bundle.content import BundleContent, ContentCase, ContentItem
from roadworthy.core.account import take_account
from roadworthy.core.certificate import Certificate, ModelAccount, ReferenceAccount
from roadworthy.core.signature import Dim, Signature, TensorSpec
from roadworthy.core.target import Target
from roadworthy.core.verdict import (
    CaseVerdict,
    Metrics,
    OutputVerdict,
    SelfCheck,
    Tolerance,
    Verdict,
)

CREATED = "2026-11-20T12:00:00+00:00"
PREPROCESS = {
    "schema": "roadworthy/preprocess/1",
    "inputs": {"image": [{"op": "decode"}]},
    "task": {"kind": "segmentation", "output": "y:0", "classes": ["ground", "figure"]},
}
RAW = b"\x89PNG, or so it says"

# y = 2·x + 1, over an image of any height.
SIGNATURE = Signature(
    inputs=(TensorSpec("image", "float32", (1, Dim("h", 1, 8))),),
    outputs=(TensorSpec("y:0", "float32", (1, Dim("h", 1, 8))),),
)


@cache
def model() -> bytes:
    """y = 2·x + 1 as ONNX."""
    nodes = [
        helper.make_node("Mul", ["image", "two"], ["doubled"]),
        helper.make_node("Add", ["doubled", "one"], ["y:0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "line",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, "h"])],
        [helper.make_tensor_value_info("y:0", TensorProto.FLOAT, [1, "h"])],
        [
            helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        ],
    )
    made = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    return made.SerializeToString()


def engine(target: str = "onnxruntime") -> Engine:
    """The network as ONNX Runtime's engine. Made without it: a program that forks uses this."""
    return Engine(
        target=Target.parse(target),
        signature=SIGNATURE,
        files={"model.onnx": model()},
        options=CompileOptions(threads=1, spinning=False),
        fingerprint={"runtime": "onnxruntime", "version": "1.31.1", "machine": "x86_64"},
        log=("[I] parsing", "[W] ünusual: a line", ""),
    )


def verdict() -> Verdict:
    """One output that passed."""
    metrics = Metrics(0.0, 0.0, 0.0, 1.0, float("inf"), 0.0, True, "a")
    tolerance = Tolerance("relative_l2", 1e-5, "8 × the noise of the reference")
    output = OutputVerdict("y:0", metrics, tolerance)
    case = CaseVerdict("samples", False, {"h": 3}, 2, (output,))
    return Verdict((case,), (SelfCheck("not constant", True, "it isn't"),))


def certificate(target: str = "onnxruntime", passed: bool = True) -> Certificate:
    """What a deploy writes about that engine."""
    return Certificate(
        target=target,
        precision="fp32",
        passed=passed,
        labels=("one shape only",),
        model=ModelAccount("line.onnx", "sha256:0", 10, 17, 2, 2, 2, SIGNATURE.to_json()),
        engine={"runtime": "onnxruntime"},
        samples=take_account("samples", "npz", [("a", {"image": feed(3)["image"]})]),
        reference=ReferenceAccount("oracles", "ONNX reference evaluator", None, {"y:0": None}),
        verdict=verdict(),
        exports=(),
        passes=(),
        latency=None,
        comparison=None,
        environment={"python": "3.11"},
        created=CREATED,
        roadworthy="0.1.0",
    )


def feed(height: int, offset: float = 0.0) -> dict[str, np.ndarray]:
    """One feed of this height."""
    return {"image": np.arange(height, dtype=np.float32)[None] + np.float32(offset)}


def answers(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The right answers to it."""
    return {"y:0": given["image"] * np.float32(2) + np.float32(1)}


def item(sample: str, height: int, raw: bytes | None = None) -> ContentItem:
    """One sample with its answers."""
    given = feed(height)
    return ContentItem(sample, given, answers(given), raw, ".png" if raw else "")


def content(**changes: object) -> BundleContent:
    """A bundle of one engine and two cases."""
    values: dict[str, object] = {
        "signature": SIGNATURE,
        "model": {"model.onnx": model()},
        "preprocess": PREPROCESS,
        "engines": [(engine(), certificate())],
        "cases": [
            ContentCase("samples", False, {"h": 3}, [item("a", 3, RAW), item("ünï/b", 3)]),
            ContentCase("largest", True, {"h": 8}, [item("a", 8)]),
        ],
        "created": CREATED,
    }
    return BundleContent(**(values | changes))  # type: ignore[arg-type]


def sign(folder: Path) -> None:
    """Write the manifest's digest anew, as a forger would."""
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


def forge(folder: Path, name: str, data: bytes) -> None:
    """Change a file and all digests that cover it."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    sign(folder)
