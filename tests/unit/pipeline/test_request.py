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
        targets=["tensorrt:cuda"],
        options=["tensorrt.profile=batch=1..4"],
        budget="mvre=0.01",
        out="m.rw",
    )
    assert request.weights == Path("w.pth")
    assert request.inputs[0].shape == (Dim("batch", 1, 4), 3)
    assert request.outputs == ("a", "b", "c")
    assert request.targets == (Target("tensorrt", "cuda"),)
    assert request.options == (("tensorrt", "profile", "batch=1..4"),)
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


@pytest.mark.parametrize(
    "option",
    [
        "onnxruntime.level=2",
        "openvino.nonsense=1",
        "openvino.mode=fast",
        "tensorrt.nonsense=1",
        "tensorrt.level=9",
        "tvm.tuning_seconds=soon",
    ],
)
def test_an_option_that_a_target_has_not_is_refused_before_any_work(option):
    targets = ["onnxruntime", "openvino", "tensorrt", "tvm"]
    with pytest.raises(UsageError) as caught:
        make_request("model.onnx", "samples", targets=targets, options=[option])
    assert "--option" in caught.value.where


def test_the_option_that_a_remedy_names_exists():
    with pytest.raises(UsageError) as caught:
        make_request("model.onnx", "samples", targets=["tensorrt"], options=["level=2"])
    named = caught.value.remedy.rpartition(" ")[2]
    request = make_request("model.onnx", "samples", targets=["tensorrt"], options=[named])
    assert request.options == (("tensorrt", "level", "2"),)


def test_weights_with_a_module_in_memory():
    with pytest.raises(UsageError, match="already"):
        make_request(object(), "samples", weights="w.pth")


def test_a_precision_that_this_version_cannot_build():
    with pytest.raises(UnavailableError, match="fp8"):
        make_request("model.onnx", "samples", precision="fp8")


@pytest.mark.parametrize(
    "given", [{"method": "mse"}, {"calibration": "folder"}, {"keep": Path("kept.npz")}]
)
def test_calibration_is_for_int8_and_for_auto_that_may_choose_it(given):
    make_request("model.onnx", "samples", precision="int8", **given)
    auto = make_request("model.onnx", "samples", precision="auto", budget="mvre=0.1", **given)
    tried = {each.precision: each for each in auto.by_precision(auto.targets[0])}
    assert list(tried) == ["fp32", "int8"]
    assert {name: getattr(tried["int8"], name) for name in given} == given
    for precision in ("fp32", "auto", "fp16"):
        with pytest.raises(UsageError, match="int8 alone") as caught:
            make_request("model.onnx", "samples", precision=precision, **given)
        assert caught.value.where == f"--{next(iter(given))}"


def test_nor_is_there_any_where_auto_has_no_int8_to_choose():
    given = {"budget": "mvre=0.1", "keep": "kept.npz"}
    make_request("model.onnx", "samples", targets=["tvm", "openvino"], **given)
    with pytest.raises(UsageError, match="int8 alone"):
        make_request("model.onnx", "samples", targets=["tvm"], **given)


@pytest.mark.parametrize(
    ("samples", "options", "where"),
    [
        ("random", {"precision": "int8"}, "--samples random"),
        ("s", {"precision": "int8", "calibration": "random"}, "--calibration random"),
        ("random", {"budget": "mvre=0.1", "method": "mse"}, "--samples random"),
    ],
)
def test_random_samples_calibrate_nothing(samples, options, where):
    with pytest.raises(UsageError, match="can't calibrate") as caught:
        make_request("model.onnx", samples, **options)
    assert caught.value.where == where


def test_random_samples_may_judge_what_others_calibrated():
    make_request("model.onnx", "random", precision="int8", calibration="folder")


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
