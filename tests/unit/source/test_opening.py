"""What a SOURCE is, is told from its name; what isn't supported is said by name."""

from __future__ import annotations

import onnx
import pytest

from roadworthy.core.errors import RoadworthyError, UsageError
from roadworthy.source.network import NetworkSource
from roadworthy.source.onnx.source import OnnxSource
from roadworthy.source.opening import open_module, open_onnx, open_source
from tests import models
from tests.unit.cli import made


@pytest.fixture
def place(tmp_path):
    onnx.save(models.proto(models.PERCEPTRON, models.perceptron_weights()), tmp_path / "m.ONNX")
    return made.write_network(tmp_path)


def test_the_forms(place):
    assert isinstance(open_source(f"{place}/m.ONNX"), OnnxSource)
    assert isinstance(open_source(f"{place}/net.py:net", place / "w.safetensors"), NetworkSource)


def test_what_takes_only_onnx_files_runs_no_code_to_say_so(place):
    assert isinstance(open_onnx(f"{place}/m.ONNX", "no", "do"), OnnxSource)
    (place / "loud.py").write_text("raise SystemExit('this was run')")
    for text in (f"{place}/loud.py:net", "no.such.package:net", f"{place}/missing.pt2"):
        with pytest.raises(UsageError, match="takes") as caught:
            open_onnx(text, "this takes an .onnx", "deploy it")
        assert (caught.value.where, caught.value.remedy) == (text, "deploy it")
    with pytest.raises(UsageError, match="which function"):
        open_onnx(f"{place}/loud.py", "this takes an .onnx", "deploy it")


def test_a_module_of_a_package(place, monkeypatch):
    (place / "package").mkdir()
    (place / "package" / "__init__.py").touch()
    (place / "package" / "module.py").write_text(made.NET)
    monkeypatch.syspath_prepend(place)
    assert isinstance(open_source("package.module:net"), NetworkSource)


def test_a_module_in_memory():
    from torch import nn

    assert isinstance(open_module(nn.Linear(3, 2)), NetworkSource)
    for other in (5, None, nn.Linear, {"weight": 1}):
        with pytest.raises(UsageError):
            open_module(other)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("w.pth", "what the network is"),
        ("w.safetensors", "what the network is"),
        ("net.py", "which function"),
        ("model.h5", "Keras"),
        ("old.plan", "TensorRT plan"),
        ("old.trt", "TensorRT plan"),
        ("old.engine", "TensorRT plan"),
        ("model.xml", "OpenVINO"),
        ("frozen.pb", "TensorFlow"),
        ("net.caffemodel", "Caffe"),
        ("net.prototxt", "Caffe"),
        ("net.uff", "UFF"),
        ("net.params", "MXNet"),
        ("bundle.rw", "there is no such bundle"),
        ("nothing", "can't tell what 'nothing' is: there is no such file"),
        ("", "can't tell"),
        ("picture.png", "can't tell"),
    ],
)
def test_what_is_refused_is_told_apart(name, said):
    with pytest.raises(UsageError, match=said) as caught:
        open_source(name)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["no.py:net", "no_such_module:net", "net.py:", ":net", "a:b:c"])
def test_code_that_is_not_there(text):
    with pytest.raises(RoadworthyError) as caught:
        open_source(text)
    assert caught.value.exit_code == 2


def test_weights_that_would_be_ignored(place):
    with pytest.raises(UsageError, match="inside"):
        open_source(f"{place}/m.ONNX", place / "w.safetensors")
    with pytest.raises(UsageError, match="inside"):
        open_source("model.pt2", place / "w.safetensors")
