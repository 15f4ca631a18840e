"""`roadworthy run`: the answers of anything that can run, as a file that can judge."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from tests import models
from tests.unit.cli import made
from tests.unit.cli.refusals import refused

FP32 = 1e-5
"""Relative L2 of one FP32 runtime against NumPy in FP64."""


@pytest.fixture
def place(tmp_path):
    made.write_perceptron(tmp_path)
    return tmp_path


@pytest.fixture
def network(tmp_path):
    return made.write_network(tmp_path)


def run(place, subject, *words, samples="samples.npz", out="answers.npz"):
    return ("run", f"{place}/{subject}", "--samples", place / samples, "--out", place / out, *words)


def close(found, expected):
    difference = np.linalg.norm(found.astype(np.float64) - expected)
    return found.shape == expected.shape and difference < FP32 * np.linalg.norm(expected)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_a_models_answers(command, place, target):
    ended = command(*run(place, "model.onnx", "--target", target, "--json"))
    assert ended.code == 0, ended
    expected = models.perceptron_in_numpy({"x": models.normal(4, 3, seed=3).astype(np.float64)})
    with np.load(place / "answers.npz") as found:
        assert sorted(found) == ["label", "y"]
        assert close(found["y"], expected["y"])
        np.testing.assert_array_equal(found["label"], expected["label"])
    result = ended.document["result"]
    assert result["target"] == target
    assert result["samples"] == 1
    assert result["outputs"] == [
        {"name": "y", "dtype": "float32", "shape": [4, 2]},
        {"name": "label", "dtype": "int64", "shape": [4]},
    ]


def test_what_a_network_answers_judges_an_engine(command, network):
    """Several samples are stacked, as --reference takes them."""
    weights = ("--weights", network / "w.safetensors")
    ended = command(*run(network, "net.py:net", *weights, "--json", samples="samples"))
    assert ended.code == 0, ended
    assert "PyTorch" in ended.document["result"]["ran"]
    assert ended.document["result"]["target"] is None
    expected = np.stack([made.net_in_numpy(image, made.weights()) for image in made.images()])
    with np.load(network / "answers.npz") as found:
        assert list(found) == ["output"]
        assert close(found["output"], expected)
    judged = ("--samples", network / "samples", "--reference", network / "answers.npz", "--json")
    right = made.write_net_onnx(network / "right.onnx", made.weights())
    assert command("verify", right, *judged).code == 0
    wrong = made.write_net_onnx(network / "wrong.onnx", made.weights(seed=8))
    assert command("verify", wrong, *judged).code == 3


def test_a_networks_outputs_can_be_named(command, network):
    words = run(network, "net.py:net", "--outputs", "logits", samples="samples")
    assert command(*words).code == 0
    with np.load(network / "answers.npz") as found:
        assert list(found) == ["logits"]


def test_a_bundle_answers_as_its_model_does(command, place):
    model, samples, bundle = place / "model.onnx", place / "samples.npz", place / "b.rw"
    words = ("--samples", samples, "--measure-seconds", "0", "--out", bundle)
    assert command("deploy", model, *words).code == 0
    assert command(*run(place, "model.onnx", out="a.npz")).code == 0
    ended = command(*run(place, "b.rw", out="b.npz"))
    assert ended.code == 0
    assert "b.rw on onnxruntime, 1 sample" in ended.out
    assert (place / "a.npz").read_bytes() == (place / "b.npz").read_bytes()


def test_a_bundle_brings_the_preprocess_of_its_images(command, place):
    """Beside the images lies none; and none that does would count."""
    contract = {
        "schema": "roadworthy/preprocess/1",
        "inputs": {
            "image": [
                {"op": "decode"},
                {"op": "colour", "to": "grey"},
                {"op": "layout", "to": "CHW"},
                {"op": "dtype", "to": "float32"},
            ]
        },
    }
    onnx.save(models.proto(models.CONVNET, models.convnet_weights()), place / "net.onnx")
    images, others = place / "images", place / "others"
    for folder in (images, others):
        folder.mkdir()
        Image.new("L", (8, 8), 100).save(folder / "a.png")
    (images / "preprocess.json").write_text(json.dumps(contract))
    words = ("--samples", images, "--measure-seconds", "0", "--out", place / "b.rw")
    assert command("deploy", place / "net.onnx", *words).code == 0
    assert command(*run(place, "b.rw", samples="others")).code == 0
    with np.load(place / "answers.npz") as found:
        assert found["y"].shape == (1, 2, 8, 8)
    ended = command(*run(place, "b.rw", "--inputs", "image[1,1,8,8]", "--json", samples="others"))
    assert ended.error["where"] == "--preprocess, --inputs"


def test_random_samples_are_called_what_they_are(command, place):
    ended = command(
        *("run", place / "model.onnx", "--samples", "random", "--out", place / "a.npz", "--json")
    )
    assert ended.code == 0
    assert ended.document["result"]["labels"] == ["smoke test"]


def test_any_output_name_and_text(command, place):
    model = models.proto("g (float[2] x) => (float[2] file, string[2] t) { file = Neg(x) }")
    node = onnx.helper.make_node("Cast", ["x"], ["t"], to=onnx.TensorProto.STRING)
    model.graph.node.append(node)
    onnx.save(model, place / "named.onnx")
    np.savez(place / "two.npz", x=np.array([1, -2], np.float32))
    assert command(*run(place, "named.onnx", samples="two.npz")).code == 0
    with np.load(place / "answers.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["file"], np.array([-1, 2], np.float32))
        assert [float(text) for text in found["t"]] == [1, -2]


def test_an_old_file_is_replaced_only_by_all_the_answers(command, scratch, place):
    (place / "answers.npz").write_bytes(b"old")
    np.savez(place / "wrong.npz", x=models.normal(4, 5))
    refused(command, scratch, place, *run(place, "model.onnx", samples="wrong.npz"))
    assert (place / "answers.npz").read_bytes() == b"old"
    assert command(*run(place, "model.onnx")).code == 0
    assert (place / "answers.npz").read_bytes() != b"old"


def test_answers_of_different_sizes_have_no_common_file(command, scratch, place):
    folder = place / "sizes"
    folder.mkdir()
    for rows in (2, 3):
        np.save(folder / f"{rows}.npy", models.normal(rows, 3))
    error = refused(command, scratch, place, *run(place, "model.onnx", samples="sizes"))
    assert "3.npy" in error["what"]
    assert "file of its own" in error["remedy"]


def test_a_type_that_an_npz_cannot_hold(command, scratch, place):
    onnx.save(
        models.proto("g (float[2] x) => (bfloat16[2] y) { y = Cast<to = 16>(x) }"),
        place / "bf16.onnx",
    )
    np.savez(place / "two.npz", x=np.array([1, -2], np.float32))
    error = refused(command, scratch, place, *run(place, "bf16.onnx", samples="two.npz"))
    assert "bfloat16" in error["what"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "answers.txt"), "answers.txt"),
        (("--out", "samples.npz"), "overwrite"),
        (("--out", "nowhere/a.npz"), "nowhere"),
        (("--outputs", "z"), "names already"),
        (("--weights", "w.safetensors"), "inside"),
        (("--target", "nosuch"), "nosuch"),
        (("--samples", "none.npz"), "don't exist"),
        (("--inputs", "nosuch[4,3]"), "nosuch"),
    ],
)
def test_options_that_make_no_sense(command, scratch, place, monkeypatch, words, said):
    monkeypatch.chdir(place)
    error = refused(command, scratch, place, *run(place, "model.onnx"), *words)
    assert said in error["what"]
    assert error["where"]


def test_no_samples(command, scratch, place):
    words = ("run", place / "model.onnx", "--out", place / "a.npz")
    assert refused(command, scratch, place, *words)["where"] == "--samples"


def test_a_network_has_no_target(command, network):
    words = run(network, "net.py:net", "--target", "onnxruntime", "--json", samples="samples")
    assert command(*words).error["where"] == "--target onnxruntime"


def test_samples_must_be_as_the_user_says_that_a_network_takes_them(command, network):
    words = run(network, "net.py:net", "--inputs", "image[1,3,9,9]", "--json", samples="samples")
    assert command(*words).code == 2
    right = run(network, "net.py:net", "--inputs", "image[1,3,h,w]", "--json", samples="samples")
    assert command(*right).code == 0
