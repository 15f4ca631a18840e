"""Samples in memory and in files, and the contract they must share with the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from roadworthy.core.errors import InputError, SamplesError, UsageError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Signature, TensorSpec
from roadworthy.pipeline.gather import check_contract, fitting, gather_samples, output_names
from roadworthy.source.network import NetworkSource
from roadworthy.source.onnx.source import OnnxSource
from roadworthy.source.torch import from_module
from roadworthy.vision.preprocess import Preprocess
from tests import models

CONTRACT = {
    "schema": "roadworthy/preprocess/1",
    "inputs": {
        "image": [
            {"op": "decode"},
            {"op": "colour", "to": "grey"},
            {"op": "layout", "to": "CHW"},
            {"op": "dtype", "to": "float32"},
        ]
    },
    "task": {"kind": "segmentation", "output": "y", "classes": ["no", "yes"]},
}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(models.proto(models.PERCEPTRON, models.perceptron_weights()), path)
    return OnnxSource(path)


def gather(given, source):
    samples, contract = gather_samples(given, source, (), None)
    assert contract is None
    return samples


def test_one_feed_and_several(source):
    feed = {"x": models.normal(2, 3)}
    assert len(gather(feed, source)) == 1
    assert len(gather([feed, feed], source)) == 2
    assert len(gather((feed for _ in range(3)), source)) == 3


@pytest.mark.parametrize(
    "given",
    [
        5,
        np.zeros((2, 3), np.float32),
        [np.zeros((2, 3), np.float32)],
        {"x": [[1.0, 2.0, 3.0]]},
        {"x": 1.0},
        {1: np.zeros((2, 3), np.float32)},
        [{"x": None}],
        [None],
    ],
    ids=repr,
)
def test_objects_that_are_no_feeds(source, given):
    with pytest.raises(SamplesError) as caught:
        gather(given, source)
    assert caught.value.remedy


@pytest.mark.parametrize("given", [[], ()])
def test_no_samples_at_all(source, given):
    with pytest.raises(SamplesError, match="no samples"):
        gather(given, source)


def test_a_torch_tensor_is_not_an_array(source):
    import torch

    with pytest.raises(SamplesError, match="Tensor"):
        gather({"x": torch.zeros(2, 3)}, source)


def test_nothing_given(source):
    with pytest.raises(UsageError, match="nothing could be proven"):
        gather(None, source)


def test_random_is_a_word_and_not_a_path(source, tmp_path, monkeypatch):
    assert gather("random", source).is_random
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SamplesError, match="don't exist"):
        gather(Path("random"), source)
    np.savez(tmp_path / "random.npz", x=models.normal(2, 3))
    assert not gather("random.npz", source).is_random


def test_the_outputs_name_is_the_users_else_the_contracts():
    contract = Preprocess.from_json(CONTRACT, "test")
    network = NetworkSource(from_module(torch.nn.ReLU()))
    assert output_names(("a",), network, contract) == ("a",)
    assert output_names((), network, contract) == ("y",)
    assert output_names((), network, None) == ()


def test_a_contract_takes_no_output_away_from_an_onnx_file(tmp_path):
    graph = "g (float[1,4] x) => (float[1,4] y, float[1,4] z) { y = Relu (x) z = Neg (x) }"
    onnx.save(models.proto(graph), tmp_path / "two.onnx")
    contract = Preprocess.from_json(CONTRACT, "test")
    assert output_names((), OnnxSource(tmp_path / "two.onnx"), contract) == ()


def test_a_contract_of_another_network():
    contract = Preprocess.from_json(CONTRACT, "test")
    check_contract(contract, signature({"image"}, {"y", "more"}))
    check_contract(None, signature(set(), set()))
    with pytest.raises(InputError, match="takes"):
        check_contract(contract, signature({"x"}, {"y"}))
    with pytest.raises(InputError, match="outputs"):
        check_contract(contract, signature({"image"}, {"z"}))


def signature(inputs: set[str], outputs: set[str]) -> Signature:
    inner, outer = (
        tuple(TensorSpec(name, "float32", None) for name in names) for names in (inputs, outputs)
    )
    return Signature(inner, outer)


def test_samples_and_contract_must_both_fit(tmp_path):
    """Then the network's inputs have the ranges that the user stated."""
    onnx.save(
        models.proto("g (float[n,4] x) => (float[n,4] y) { y = Relu (x) }"), tmp_path / "r.onnx"
    )
    source = OnnxSource(tmp_path / "r.onnx")
    specs = parse_inputs(["x[n=1..8,4]"])
    samples = Samples.of_arrays([{"x": np.ones((2, 4), np.float32)}])
    assert [str(spec) for spec in fitting(samples, source, specs, None).inputs] == [
        "x[n=1..8,4]:float32"
    ]
    with pytest.raises(InputError, match="takes"):
        fitting(samples, source, specs, Preprocess.from_json(CONTRACT, "test"))
    with pytest.raises(SamplesError):
        fitting(Samples.of_arrays([{"x": np.ones((2, 5), np.float32)}]), source, specs, None)
