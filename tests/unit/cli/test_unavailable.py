"""What isn't to be had here: exit 4, and the one command that brings it."""

from __future__ import annotations

import subprocess
import sys

import onnx
import onnxruntime
import pytest
from PIL import Image

from tests import models
from tests.unit.cli import made


@pytest.fixture
def place(tmp_path):
    made.write_perceptron(tmp_path)
    return tmp_path


def deploy(place, *words):
    model, samples = place / "model.onnx", place / "samples.npz"
    return ("deploy", model, "--samples", samples, "--measure-seconds", "0", *words)


def without(package: str, *words: object) -> made.Ended:
    """Run a command where a package isn't installed."""
    program = (
        "import sys, importlib.abc\n"
        "class Block(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from importlib import util\n"
        "found = util.find_spec\n"
        "def find_spec(name, package=None):\n"
        f"    return None if name == {package!r} else found(name, package)\n"
        "util.find_spec = find_spec\n"
        "from roadworthy.cli.main import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return made.Ended(ended.returncode, ended.stdout, ended.stderr)


def test_of_several_targets_each_is_told(command, place):
    """The exit code stands for one of them; the others' reasons aren't lost."""
    targets = ("--target", "onnxruntime:nosuch", "--target", "onnxruntime==0.1")
    ended = command(*deploy(place, *targets))
    assert ended.code == 4
    assert "NOT built  onnxruntime==0.1, fp32: " in ended.out
    assert "onnxruntime:nosuch, fp32" not in ended.out
    assert "where   onnxruntime:nosuch" in ended.err


@pytest.mark.parametrize(
    "target",
    ["onnxruntime:cuda", "onnxruntime:nosuch", "onnxruntime==0.1"],
)
def test_a_target_that_is_not_here(command, place, target):
    before = made.listing(place)
    ended = command(*deploy(place, "--target", target, "--out", place / "b.rw", "--json"))
    assert ended.code == 4
    assert ended.error["remedy"]
    assert ended.error["where"] == target
    assert made.listing(place) == before


@pytest.mark.parametrize("precision", ["fp16", "bf16", "tf32", "fp8"])
def test_a_precision_that_is_not_here(command, place, precision):
    ended = command(*deploy(place, "--precision", precision, "--json"))
    assert ended.code == 4
    assert precision in ended.error["what"]
    assert "fp32" in ended.error["remedy"]


def test_doctor_says_what_is_here(command):
    ended = command("doctor", "--json")
    assert ended.code == 0
    found = {item["name"]: item for item in ended.document["result"]["targets"]}
    assert found["onnxruntime"]["ok"] is True
    assert found["onnxruntime"]["detail"] == onnxruntime.__version__
    assert found["onnxruntime:cuda"]["ok"] is False
    features = {item["name"]: item for item in ended.document["result"]["features"]}
    assert features["PyTorch sources"]["ok"] is True
    spoken = command("doctor", "--target", "onnxruntime")
    assert spoken.code == 0
    assert "onnxruntime" in spoken.out


def test_doctor_with_a_target_that_is_not_here(command):
    ended = command("doctor", "--target", "onnxruntime:cuda", "--json")
    assert ended.code == 4
    assert "pip" in ended.error["remedy"]
    assert command("doctor", "--target", "onnxruntime", "--json").code == 0
    assert command("doctor", "--target", "nosuch", "--json").code == 2


def test_a_network_without_torch(tmp_path):
    (tmp_path / "net.py").write_text("def net(): ...\n")
    made.write_arrays(tmp_path / "samples")
    words = ("deploy", f"{tmp_path}/net.py:net", "--samples", tmp_path / "samples")
    ended = without("torch", *words, "--json")
    assert ended.code == 4
    assert ended.error["code"] == "missing-extra"
    assert ended.error["remedy"] == 'pip install "roadworthy[torch]"'
    spoken = without("torch", *words)
    assert 'pip install "roadworthy[torch]"' in spoken.err
    assert "Traceback" not in spoken.err


def test_an_onnx_file_without_torch(place):
    assert without("torch", *deploy(place, "--json")).code == 0


def test_images_without_pillow(tmp_path):
    onnx.save(models.proto(models.CONVNET, models.convnet_weights()), tmp_path / "net.onnx")
    samples = tmp_path / "samples"
    samples.mkdir()
    Image.new("L", (8, 8), 100).save(samples / "a.png")
    (samples / "preprocess.json").write_text(
        '{"schema": "roadworthy/preprocess/1", "inputs": {"image": [{"op": "decode"}, '
        '{"op": "colour", "to": "grey"}, {"op": "layout", "to": "CHW"}, '
        '{"op": "dtype", "to": "float32"}]}}'
    )
    ended = without("PIL", "deploy", tmp_path / "net.onnx", "--samples", samples, "--json")
    assert ended.code == 4
    assert ended.error["remedy"] == 'pip install "roadworthy[vision]"'


def test_doctor_names_the_extra_that_is_missing():
    ended = without("PIL", "doctor", "--target", "onnxruntime", "--json")
    assert ended.code == 0
    features = {item["name"]: item for item in ended.document["result"]["features"]}
    assert features["images, masks, predict"]["ok"] is False
    assert features["images, masks, predict"]["remedy"] == 'pip install "roadworthy[vision]"'
