"""A certificate with something in every field, and what a reader sees of a page."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from roadworthy.core.account import InputRange, SamplesAccount
from roadworthy.core.certificate import (
    Certificate,
    Comparison,
    ExportAttempt,
    Latency,
    ModelAccount,
    PassRecord,
    ReferenceAccount,
)
from roadworthy.core.jsonable import dumps
from roadworthy.core.signature import Dim, Signature, TensorSpec
from roadworthy.core.verdict import (
    CaseVerdict,
    Metrics,
    OutputVerdict,
    SelfCheck,
    Tolerance,
    Verdict,
)
from roadworthy.report.page import render

SIGNATURE = Signature(
    (TensorSpec("image", "float32", (Dim("batch", 1, 4), 1, Dim("h", 64, 320, 16))),),
    (TensorSpec("logits", "float32", (Dim("batch", 1, 4), 2)), TensorSpec("mask", "int64", None)),
)

_METRICS = Metrics(
    mvre=4.1e-07,
    max_abs=1.1e-05,
    relative_l2=2.6e-07,
    cosine=1 - 4.1e-14,
    sqnr_db=131.7,
    mismatch_share=0.88,
    bit_equal=False,
    worst_sample="scene-02",
)
_EQUAL = Metrics(0.0, 0.0, 0.0, 1.0, float("inf"), 0.0, True, "scene-00")
_FLOATING = Tolerance("relative_l2", 2.0e-05, "32·eps·√depth at depth 26")
_DISCRETE = Tolerance("mismatch_share", 1e-4, "near-ties: 1 element in 10,000")


def case(name: str, *, derived: bool = True, **changes: Any) -> CaseVerdict:
    """Return a passed case with both outputs."""
    outputs = (
        OutputVerdict("logits", _METRICS, _FLOATING),
        OutputVerdict("mask", _EQUAL, _DISCRETE),
    )
    made = CaseVerdict(name, derived, {"batch": 3, "h": 272}, 7, outputs)
    return replace(made, **changes)


def failing(name: str) -> CaseVerdict:
    """Return a case whose first output is far beyond its tolerance."""
    wrong = OutputVerdict(
        "logits",
        replace(_METRICS, relative_l2=0.0341),
        _FLOATING,
        ("relative L2 0.0341 is above the tolerance 2e-05",),
    )
    return case(name, outputs=(wrong,))


def latency(subject: str, p50: float, **changes: Any) -> Latency:
    """Return the times of 1,234 runs."""
    made = Latency(subject, 1234, p50, 42.9, 47.3, 38.7, 25.9, 1, 2, 96, True)
    return replace(made, **changes)


def certificate(**changes: Any) -> Certificate:
    """Return a passed certificate with every field filled, then changed as asked."""
    engine_time = latency("onnxruntime", 38.6)
    made = Certificate(
        target="onnxruntime:cpu",
        precision="fp32",
        passed=True,
        labels=(),
        model=ModelAccount(
            "unet/model.py:unet", "sha256:aa11", 10, 20, 66, 1_940_851, 26, SIGNATURE.to_json()
        ),
        engine={
            "fingerprint": {"runtime": "onnxruntime", "version": "1.31.1"},
            "options": {"precision": "fp32", "threads": None, "optimise": True, "spinning": False},
            "files": {"model.onnx": 7_800_000},
            "digest": "sha256:bb22",
        },
        samples=SamplesAccount(
            "scenes",
            "images",
            7,
            "sha256:cc33",
            (InputRange("image", "float32", ((1, 1, 256, 256),), -0.25, 1.5, 0.496, 0.145),),
            ("sample scene-04: input 'image' is all 0.0",),
        ),
        reference=ReferenceAccount(
            "oracles",
            "PyTorch 2.13 eager, FP32",
            "PyTorch 2.13 eager, FP64",
            {"logits": 2.63e-07, "mask": None},
            ("FP64 was run on 4 of the 7 feeds of samples",),
            {"agreement": {"evaluator": {"feeds": 2, "worst_difference": 3.1e-07}}, "asked": "yes"},
        ),
        verdict=Verdict(
            (case("samples", derived=False), case("odd")),
            (SelfCheck("strides", True, "inputs in column order: equal to the last bit"),),
            {"reference": 12.5, "fp64": 75.0, "engine": 2.0, "compare": 0.1, "self_checks": 0.45},
        ),
        exports=(
            ExportAttempt("torch.onnx (new)", "disagrees", "relative L2 0.5 on scene-01", 11.2),
            ExportAttempt("torch.onnx (old)", "kept", "agrees with the module", 3.4),
        ),
        passes=(
            PassRecord("tidy", "kept", "same answers on 2 inputs", 70, 66, 0.25),
            PassRecord("slim", "rolled back", "the signature changed: h", 66, 66, 1.5),
        ),
        latency=engine_time,
        comparison=Comparison(
            engine_time, latency("PyTorch 2.13", 63.4), 1.64, 1.56, 1.7, 16, {"batch": 1, "h": 256}
        ),
        environment={
            "cpu": "A Processor",
            "memory_bytes": 25_300_000_000,
            "packages": {"numpy": "2.3.4"},
            "load_1min": 0.56,
        },
        choice=(
            Comparison(
                latency("int8 on onnxruntime", 38.6),
                latency("fp32 on onnxruntime", 60.1),
                *(1.55, 1.5, 1.62, 16),
                {"batch": 1, "h": 256},
            ),
        ),
        created="2026-11-20T14:09:58+00:00",
        roadworthy="0.1.0",
    )
    return replace(made, **changes)


LOWERING: dict[str, Any] = {
    "precision": "int8",
    "dialect": "onnxruntime",
    "nodes": {"fp32": 3, "int8": 42},
    "exceptions": [
        {"node": "conv_in", "op_type": "Conv", "dtype": "fp32", "why": "first layer"},
        {"node": "up_1", "op_type": "ConvTranspose", "dtype": "fp32", "why": "no INT8 kernel"},
        {"node": "up_2", "op_type": "ConvTranspose", "dtype": "fp32", "why": "no INT8 kernel"},
    ],
    "calibration": {
        "model": "sha256:dd44",
        "source": "photographs",
        "data_set": "sha256:ff66",
        "samples": "sha256:ee55",
        "count": 14,
        "skipped": {"scene-03": "input 'image' has 3 NaN or infinite values"},
        "tensors": 30,
        "ranges": {
            "relu": [0.0, 33.125],
            "cat_2": [-6.4394, 11.4711],
            "relu_3": [0.0, 7.80187],
            "relu_9": [0.0, 0.0],
        },
        "dead_channels": {"relu_9": 11, "relu_3": 1},
        "findings": [
            "sample scene-03: left out: input 'image' has 3 NaN or infinite values",
            "sample scene-05: an outlier, tensor 'relu' reaches 33.1",
        ],
        "seconds": 2.146,
        "method": "mse",
        "saturation": {"relu": 1.02e-05, "cat_2": 0.0123},
    },
    "scores": [
        {"method": "entropy", "sqnr_db": 39.81, "outputs": {"logits": 39.81, "mask": 0.991}},
        {"method": "mse", "sqnr_db": 39.68, "outputs": {"logits": 39.68, "mask": 0.983}},
    ],
    "held_back": 2,
    "split": "by position: in another order other samples are held back",
    "bias_correction": {"nodes": 17, "without_db": 37.6, "with_db": 39.64, "kept": True},
    "notes": [],
}
PROOF: dict[str, Any] = {
    "layers": {"int8": 38, "fp32": 4},
    "macs": {"int8": 0.92, "fp32": 0.06, "unknown": 0.02},
    "nodes": {"conv1": "fp32"},
    "findings": ["1 of 39 nodes planned in int8 run in fp32: conv2, 3 % of all MACs"],
    "notes": ["the engine doesn't name 2 nodes"],
    "provider": "CPUExecutionProvider",
}


def reduced(**changes: Any) -> Certificate:
    """Return a certificate of an engine in INT8, its plan's account changed as asked."""
    made = certificate(precision="int8", lowering={**LOWERING, **changes})
    return replace(made, engine={**made.engine, "proof": PROOF})


def ranges(**changes: Any) -> dict[str, Any]:
    """Return the account of the calibration, changed as asked."""
    return {**LOWERING["calibration"], **changes}


def of_before() -> dict[str, Any]:
    """Return a lowering without what the first certificates didn't have."""
    lowering = {**LOWERING, "calibration": ranges()}
    del lowering["split"]
    for key in ("source", "data_set", "ranges"):
        del lowering["calibration"][key]
    return lowering


def failed() -> Certificate:
    """Return a certificate in which a case, an engine run and a self-check failed."""
    verdict = Verdict(
        (
            case("samples", derived=False),
            failing("odd"),
            case(
                "largest", outputs=(), samples=0, failures=("sample a: the engine gave no answer",)
            ),
        ),
        (SelfCheck("results kept", False, "output 'logits' was overwritten"),),
    )
    return certificate(passed=False, verdict=verdict, latency=None, comparison=None)


def as_json(made: Certificate) -> dict[str, Any]:
    """Return the certificate as it is read from a bundle."""
    data: dict[str, Any] = json.loads(dumps(made))
    return data


class Seen(HTMLParser):
    """What a page holds: its words, its elements in order, and whether they are balanced."""

    _void = frozenset({"meta", "img", "br", "link"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.problems: list[str] = []
        self._open: list[str] = []
        self._words: list[str] = []
        self.feed(page)
        self.close()
        self.problems += [f"{name} is never closed" for name in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if len(dict(attrs)) != len(attrs):
            self.problems.append(f"{tag} has an attribute twice")
        if tag not in self._void:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self._words.append(data)

    @property
    def text(self) -> str:
        """All words, white space made single."""
        return " ".join(" ".join(self._words).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of this name."""
        return [attributes for name, attributes in self.elements if name == tag]


def page(*made: Certificate, **given: Any) -> str:
    """Return the page of certificates."""
    return render([as_json(one) for one in made], signature=SIGNATURE, title="unet.rw", **given)


def see(*made: Certificate, **given: Any) -> Seen:
    """Return what a reader sees of it; its form has no faults."""
    seen = Seen(page(*made, **given))
    assert seen.problems == []
    return seen
