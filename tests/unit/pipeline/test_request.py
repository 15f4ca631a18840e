"""A request is checked when it is made: nothing is started that can't be finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from roadworthy.core.errors import UnavailableError, UsageError
from roadworthy.core.signature import Dim
from roadworthy.core.target import Target
from roadworthy.pipeline.request import Request, make_request, parse_budget


def test_texts_become_words():
    request = make_request(
        "model.onnx",
        "samples",
        weights="w.pth",
        inputs=["x[batch=1..4,3]"],
        outputs=["a,b", "c"],
        targets=["onnxruntime:cpu"],
        options=["onnxruntime.some=1=2"],
        budget="mvre=0.01",
        out="m.rw",
    )
    assert request.weights == Path("w.pth")
    assert request.inputs[0].shape == (Dim("batch", 1, 4), 3)
    assert request.outputs == ("a", "b", "c")
    assert request.targets == (Target("onnxruntime", "cpu"),)
    assert request.options == (("onnxruntime", "some", "1=2"),)
    assert request.budget == {"mvre": 0.01}
    assert request.out == Path("m.rw")


def test_what_is_not_said():
    request = make_request("model.onnx", "samples")
    assert request == Request("model.onnx", "samples")
    assert request.targets == (Target("onnxruntime"),)
    assert (request.precision, request.objective, request.out) == ("auto", "latency", None)


def test_one_text_is_not_its_letters():
    request = make_request(
        "m.onnx", "s", inputs="x[1,3]", outputs="y", targets="onnxruntime", out=None
    )
    assert [spec.name for spec in request.inputs] == ["x"]
    assert request.outputs == ("y",)
    assert request.targets == (Target("onnxruntime"),)


@pytest.mark.parametrize(
    "options",
    [
        {"target": "onnxruntime:cuda"},  # a slip for `targets` that would deploy for the CPU
        {"seconds": 3},
        {"targets": ["nosuch"]},
        {"targets": ["onnxruntime", "onnxruntime"]},
        {"threads": 0},
        {"measure_seconds": -1.0},
        {"measure_seconds": float("nan")},
        {"measure_seconds": float("inf")},
        {"objective": "beauty"},
        {"precision": "fp31"},
        {"budget": ""},
        {"inputs": ["x[", "y"]},
    ],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(UsageError):
        make_request("model.onnx", "samples", **options)


def test_weights_with_a_module_in_memory():
    with pytest.raises(UsageError, match="already"):
        make_request(object(), "samples", weights="w.pth")


def test_a_precision_that_this_version_cannot_build():
    with pytest.raises(UnavailableError, match="int8"):
        make_request("model.onnx", "samples", precision="int8")


@pytest.mark.parametrize(
    ("text", "limit"), [("mvre=0.01", 0.01), ("mvre=1e-3", 1e-3), (" mvre = 2 ", 2)]
)
def test_budgets(text, limit):
    assert parse_budget(text) == {"mvre": limit}


@pytest.mark.parametrize(
    "text", ["mvre", "mvre=", "mvre=x", "mvre=0", "mvre=-1", "mvre=nan", "mvre=inf", "x=1", ""]
)
def test_no_budgets(text):
    with pytest.raises(UsageError):
        parse_budget(text)
