"""Damaged and unfitting files: exit 2, one clear message, nothing executed, nothing left behind."""

from __future__ import annotations

import io
import pickle

import numpy as np
import onnx
import pytest
from PIL import Image

from tests import models
from tests.unit.cli import made
from tests.unit.cli.refusals import Bomb, deploy, refused


@pytest.fixture
def place(tmp_path):
    """A folder with a good model, good samples, and room for damaged ones."""
    made.write_perceptron(tmp_path)
    return tmp_path


# Models


def test_a_truncated_onnx_file(command, scratch, place):
    content = (place / "model.onnx").read_bytes()
    (place / "half.onnx").write_bytes(content[: len(content) // 2])
    error = refused(command, scratch, place, *deploy(place, "half.onnx"))
    assert "half.onnx" in error["where"]


def test_a_picture_named_onnx(command, scratch, place):
    Image.new("RGB", (8, 8)).save(place / "picture.onnx", format="PNG")
    error = refused(command, scratch, place, *deploy(place, "picture.onnx"))
    assert "not an ONNX model" in error["what"]


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x08\x0a"])
def test_not_a_model_at_all(command, scratch, place, content):
    (place / "no.onnx").write_bytes(content)
    refused(command, scratch, place, *deploy(place, "no.onnx"))


def test_a_folder_named_onnx(command, scratch, place):
    (place / "folder.onnx").mkdir()
    refused(command, scratch, place, *deploy(place, "folder.onnx"))


def test_an_onnx_file_whose_data_file_is_missing(command, scratch, place):
    model = models.proto(models.PERCEPTRON, models.perceptron_weights())
    onnx.save(
        model, place / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0
    )
    (place / "big.data").unlink()
    error = refused(command, scratch, place, *deploy(place, "big.onnx"))
    assert "big.data" in error["what"] + error["where"]


@pytest.mark.parametrize(
    "name", ["missing.onnx", "missing.rw", "missing", "model.h5", "w.safetensors", "net.py"]
)
def test_no_such_source(command, scratch, place, name):
    error = refused(command, scratch, place, *deploy(place, name))
    assert name in error["what"] + str(error["where"])


# Samples


def test_samples_of_another_shape(command, scratch, place):
    np.savez(place / "bad.npz", x=models.normal(4, 5))
    error = refused(command, scratch, place, *deploy(place, samples="bad.npz"), code="samples")
    assert "[4, 5]" in error["what"]


def test_samples_of_another_dtype(command, scratch, place):
    np.savez(place / "bad.npz", x=models.normal(4, 3).astype(np.float64))
    error = refused(command, scratch, place, *deploy(place, samples="bad.npz"), code="samples")
    assert "float64" in error["what"]


def test_samples_of_another_name(command, scratch, place):
    np.savez(place / "bad.npz", image=models.normal(4, 3))
    error = refused(command, scratch, place, *deploy(place, samples="bad.npz"), code="samples")
    assert "image" in error["what"]
    assert "x" in error["what"]


def test_one_bad_sample_among_good_ones_is_named(command, scratch, place):
    (place / "many").mkdir()
    for index in range(5):
        np.save(place / "many" / f"{index}.npy", models.normal(1, 4 if index == 3 else 3))
    error = refused(command, scratch, place, *deploy(place, samples="many"), code="samples")
    assert "3.npy" in error["what"]


def test_an_empty_folder_of_samples(command, scratch, place):
    (place / "empty").mkdir()
    refused(command, scratch, place, *deploy(place, samples="empty"), code="samples")


def test_an_empty_array_of_samples(command, scratch, place):
    np.savez(place / "none.npz", x=np.zeros((0, 4, 3), np.float32))
    refused(command, scratch, place, *deploy(place, samples="none.npz"), code="samples")


def test_missing_samples(command, scratch, place):
    refused(command, scratch, place, *deploy(place, samples="nowhere"), code="samples")


def test_no_samples_given(command, scratch, place):
    error = refused(command, scratch, place, "deploy", place / "model.onnx")
    assert "random" in error["remedy"]


@pytest.mark.parametrize("name", ["code.npz", "code.npy"])
def test_a_pickle_with_code_as_samples(command, scratch, place, name):
    bomb = np.array([Bomb(place / "executed")], dtype=object)
    if name.endswith("npy"):
        np.save(place / name, bomb, allow_pickle=True)
    else:
        np.savez(place / name, x=bomb)
    assert b"executed" in (place / name).read_bytes()
    error = refused(command, scratch, place, *deploy(place, samples=name), code="samples")
    assert "pickle" in error["what"]
    assert not (place / "executed").exists()


@pytest.mark.parametrize("name", ["raw.npz", "raw.npy"])
def test_a_bare_pickle_as_samples(command, scratch, place, name):
    (place / name).write_bytes(pickle.dumps(Bomb(place / "executed")))
    refused(command, scratch, place, *deploy(place, samples=name), code="samples")
    assert not (place / "executed").exists()


def test_truncated_samples(command, scratch, place):
    content = (place / "samples.npz").read_bytes()
    (place / "half.npz").write_bytes(content[: len(content) // 2])
    refused(command, scratch, place, *deploy(place, samples="half.npz"), code="samples")


def test_samples_that_are_no_samples(command, scratch, place):
    (place / "notes.txt").write_text("hello")
    refused(command, scratch, place, *deploy(place, samples="notes.txt"), code="samples")


# Images


def image_network(place):
    onnx.save(models.proto(models.CONVNET, models.convnet_weights()), place / "image.onnx")
    (place / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(noise).save(place / "images" / "a.png")
    return place / "images" / "preprocess.json"


def test_images_without_preprocess(command, scratch, place):
    image_network(place)
    error = refused(command, scratch, place, *deploy(place, "image.onnx", "images"), code="samples")
    assert "preprocess" in error["what"] + error["remedy"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": "roadworthy/preprocess/99", "inputs": {}}',
        '{"schema": "roadworthy/preprocess/1"}',
        '{"schema": "roadworthy/preprocess/1", "inputs": {"image": [{"op": "exec"}]}}',
        '{"schema": "roadworthy/preprocess/1", "inputs": {"image": [{"op": "decode"}], "b": 5}}',
        "\udcff",
    ],
)
def test_a_broken_preprocess(command, scratch, place, text):
    contract = image_network(place)
    contract.write_text(text, errors="surrogateescape")
    error = refused(command, scratch, place, *deploy(place, "image.onnx", "images"))
    assert "preprocess.json" in error["where"]


def test_a_broken_image(command, scratch, place):
    contract = image_network(place)
    contract.write_text(
        '{"schema": "roadworthy/preprocess/1", "inputs": {"image": [{"op": "decode"}, '
        '{"op": "colour", "to": "grey"}, {"op": "layout", "to": "CHW"}, '
        '{"op": "dtype", "to": "float32"}]}}'
    )
    image = place / "images" / "a.png"
    image.write_bytes(image.read_bytes()[:40])
    error = refused(command, scratch, place, *deploy(place, "image.onnx", "images"))
    assert "a.png" in error["what"] + error["where"]


# Weights


def test_weights_for_an_onnx_file(command, scratch, place):
    refused(command, scratch, place, *deploy(place), "--weights", place / "model.onnx")


@pytest.fixture
def network(place):
    return made.write_network(place)


def deploy_network(place, weights):
    return (*deploy(place, "net.py:net", "samples"), "--weights", place / weights)


def test_weights_of_another_network(command, scratch, network):
    from safetensors.numpy import save_file

    given = {"0.weight": models.normal(3, 3), "0.bias": models.normal(3)}
    save_file(given, network / "other.safetensors")
    error = refused(
        command, scratch, network, *deploy_network(network, "other.safetensors"), code="weights"
    )
    assert "0.weight" in error["what"] + str(error["remedy"])


def test_weights_of_another_size(command, scratch, network):
    from safetensors.numpy import save_file

    given = {**made.weights(), "last.weight": models.normal(5, 4, 1, 1)}
    save_file(given, network / "other.safetensors")
    error = refused(
        command, scratch, network, *deploy_network(network, "other.safetensors"), code="weights"
    )
    assert "last.weight" in error["what"]


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.safetensors"])
def test_a_pickle_with_code_as_weights(command, scratch, network, name):
    """`a new zip`, as torch.save makes it, and a bare pickle."""
    import torch

    for legacy in (True, False):
        content = io.BytesIO()
        torch.save(
            {"first.weight": Bomb(network / "executed")},
            content,
            _use_new_zipfile_serialization=not legacy,
        )
        (network / name).write_bytes(content.getvalue())
        refused(command, scratch, network, *deploy_network(network, name))
        assert not (network / "executed").exists()


def test_truncated_weights(command, scratch, network):
    content = (network / "w.safetensors").read_bytes()
    (network / "half.safetensors").write_bytes(content[: len(content) // 2])
    refused(command, scratch, network, *deploy_network(network, "half.safetensors"), code="weights")


def test_missing_weights(command, scratch, network):
    refused(command, scratch, network, *deploy_network(network, "no.safetensors"))


def test_images_of_the_wrong_size_for_a_network(command, scratch, network):
    np.save(network / "samples" / "s2.npy", models.normal(1, 4, 8, 8))
    error = refused(command, scratch, network, *deploy_network(network, "w.safetensors"))
    assert "s2.npy" in error["what"]


def test_a_pt2_file_that_is_none(command, scratch, network):
    (network / "model.pt2").write_bytes(pickle.dumps(Bomb(network / "executed")))
    refused(command, scratch, network, *deploy(network, "model.pt2", "samples"))
    assert not (network / "executed").exists()
