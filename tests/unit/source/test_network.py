"""PyTorch code as a source: the first export that agrees is kept, the others are told."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.core.errors import SamplesError, UsageError, WrongAnswersError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.core.progress import silent
from roadworthy.core.samples import Samples
from roadworthy.source.opening import open_source
from tests.unit.cli import made


@pytest.fixture
def network(tmp_path):
    return made.write_network(tmp_path)


def feeds(count=2):
    return Samples.of_arrays([{"image": image} for image in made.images(count)])


def prepare(network, factory, *inputs, outputs=(), samples=None):
    source = open_source(f"{network}/net.py:{factory}")
    return source.prepare(samples or feeds(), parse_inputs(inputs), outputs, silent)


def test_the_first_export_that_agrees_is_kept(network):
    prepared = prepare(network, "net")
    with prepared.trusted:
        assert [attempt.outcome for attempt in prepared.exports] == ["kept"]
        assert prepared.signature.is_static
        assert prepared.reference.kind == "source framework"
        assert prepared.baseline is not None


def test_the_outputs_get_the_names_that_were_asked_for(network):
    prepared = prepare(network, "net", outputs=("maps",))
    with prepared.trusted:
        assert [spec.name for spec in prepared.signature.outputs] == ["maps"]
        assert [value.name for value in prepared.model.graph.outputs] == ["maps"]


def test_exports_that_froze_a_branch_are_refused_each_with_its_reason(network):
    with pytest.raises(WrongAnswersError) as caught:
        prepare(network, "parity", "image[1,3,h=4..16,8]")
    assert "torchscript" in caught.value.what
    assert "torch.export" in caught.value.what
    assert "\n" not in caught.value.what
    assert "forward()" in str(caught.value.remedy)


def test_a_random_network_is_no_reference(network):
    with pytest.raises(UsageError, match="two runs"):
        prepare(network, "dropping")


def test_samples_that_do_not_fit(network):
    bad = Samples.of_arrays([{"image": made.images()[0]}, {"image": made.images(size=7)[0]}])
    with pytest.raises(SamplesError, match="arrays#1"):
        prepare(network, "net", samples=bad)


def test_shapes_are_known_where_they_were_stated(network):
    source = open_source(f"{network}/net.py:net")
    assert source.default_input(()) == "image"
    assert source.input_ranks(()) is None
    specs = parse_inputs(["picture[1,3,8,8]"])
    assert source.default_input(specs) == "picture"
    assert source.input_ranks(specs) == {"picture": 4}
    assert source.declared(specs).inputs[0].dtype == "float32"
    with pytest.raises(UsageError, match="shapes"):
        source.declared(())


def test_it_judges_another_network_of_its_signature(network):
    source = open_source(f"{network}/net.py:net", network / "w.safetensors")
    with (prepared := prepare(network, "net")).trusted:
        reference = source.reference(prepared.signature, feeds(), silent)
        answers = reference.judge.run(feeds()[0])
        expected = made.net_in_numpy(made.images()[0], made.weights())
        (name,) = answers
        assert np.abs(answers[name] - expected).max() < 1e-5
