"""Who is trusted with a bare ONNX file: two that agree, or we say that it is one."""

from __future__ import annotations

import gc
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.core.certificate import SINGLE_ORACLE
from roadworthy.core.errors import OraclesDisagreeError, RunError, UsageError
from roadworthy.core.progress import silent
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Answers, Array, Feed
from roadworthy.graph.signature import signature_of
from roadworthy.source.onnx import evaluator, oracles
from roadworthy.source.onnx.evaluate import read_arrays, write_arrays
from roadworthy.source.onnx.oracles import EvaluatorOracle, onnx_reference
from roadworthy.source.onnx.source import OnnxSource
from tests.models import convnet, network, normal, perceptron, perceptron_in_numpy


@pytest.fixture(autouse=True)
def two_oracles(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime and the evaluator, whatever else is installed here."""
    monkeypatch.setattr(oracles, "_INDEPENDENT_BACKENDS", ())


@pytest.fixture
def no_process_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "_idle", None)


def reference(graph: str, feed: dict[str, Array], seconds: float = 60.0) -> Reference:
    model = network(graph)
    return onnx_reference(
        model, signature_of(model), [("s0", feed)], lambda what, share: None, seconds
    )


def test_two_oracles_that_agree_are_on_record() -> None:
    model = convnet()
    feeds = [(f"s{i}", {"image": normal(1, 1, 6, 5, seed=i)}) for i in range(3)]
    told: list[str] = []
    found = onnx_reference(model, signature_of(model), feeds, lambda what, share: told.append(what))
    assert (found.kind, found.labels, found.notes) == ("oracles", (), ())
    assert "onnxruntime" in found.judge.name and "optimisations off" in found.judge.name
    assert found.fine is not None
    agreement = found.account["agreement"]
    assert isinstance(agreement, dict)
    record = agreement["ONNX reference evaluator, FP64"]
    assert record["feeds"] == 2
    assert 0 < record["worst_difference"] < 1e-5
    assert told == ["oracle: ONNX reference evaluator, FP64"]


def test_the_evaluator_answers_in_fp64_and_is_asked_once_for_each_feed() -> None:
    oracle = EvaluatorOracle(perceptron())
    feed = {"x": normal(2, 3)}
    answers = oracle.run(feed)
    expected = perceptron_in_numpy({"x": feed["x"].astype(np.float64)})
    np.testing.assert_allclose(answers["y"], expected["y"], rtol=1e-14)
    assert oracle.run({"x": feed["x"].copy()}) is answers


def test_oracles_that_contradict_each_other_can_judge_nothing(monkeypatch) -> None:
    """One of them that gives every number a second axis."""
    right = EvaluatorOracle.run

    def wrong(self: EvaluatorOracle, feed: Feed) -> Answers:
        return {name: answer[:, None] for name, answer in right(self, feed).items()}

    monkeypatch.setattr(EvaluatorOracle, "run", wrong)
    with pytest.raises(OraclesDisagreeError) as caught:
        reference("g (float[3] x) => (float[3] y) { y = Neg(x) }", {"x": normal(3)})
    error = caught.value
    assert error.exit_code == 3
    assert "output 'y'" in error.what
    assert "arrays of other shapes" in error.what
    assert "[3]" in error.what and "[3, 1]" in error.what  # both are shown
    assert "onnxruntime" in error.what and "reference evaluator" in error.what
    assert error.where == "sample s0"
    assert "--reference" in str(error.remedy)


def test_oracles_that_differ_in_values_are_both_shown() -> None:
    """Random numbers: each implementation throws its own."""
    with pytest.raises(OraclesDisagreeError, match="first values"):
        reference(
            "g (float[8] x) => (float[8] y) { y = RandomNormalLike<seed = 1.0>(x) }",
            {"x": normal(8)},
        )


@pytest.mark.usefixtures("no_process_is_kept")
def test_an_evaluator_out_of_time_leaves_a_single_oracle() -> None:
    found = reference(
        "g (float[2] x) => (float[2] y) { y = Exp(x) }", {"x": normal(2)}, seconds=0.01
    )
    assert found.labels == (SINGLE_ORACLE,)
    assert found.fine is None
    assert any("time" in note for note in found.notes)


@pytest.mark.usefixtures("no_process_is_kept")
def test_time_that_is_used_up_stays_used_up() -> None:
    oracle = EvaluatorOracle(perceptron(), seconds=0.01)
    for seed in range(2):
        with pytest.raises(RunError, match="used up"):
            oracle.run({"x": normal(1, 3, seed=seed)})


@pytest.mark.usefixtures("no_process_is_kept")
def test_one_process_answers_every_feed_and_goes_with_the_oracle(monkeypatch) -> None:
    started: list[subprocess.Popen[str]] = []
    really = subprocess.Popen

    def start(*words: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(really(*words, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    oracle = EvaluatorOracle(perceptron())
    for seed in range(3):
        feed = {"x": normal(2, 3, seed=seed)}
        expected = perceptron_in_numpy({"x": feed["x"].astype(np.float64)})
        np.testing.assert_allclose(oracle.run(feed)["y"], expected["y"], rtol=1e-14)
    [process] = started
    assert process.poll() is None
    del oracle
    gc.collect()
    assert process.returncode is not None


def test_a_kept_process_answers_for_every_oracle_and_ends_with_the_block() -> None:
    feed, answers = {"x": normal(2, 4)}, []
    with evaluator.kept():
        for graph in ("y = Neg(x)", "y = Abs(x)"):
            oracle = EvaluatorOracle(network(f"g (float[2, 4] x) => (float[2, 4] y) {{ {graph} }}"))
            answers.append(oracle.run(feed)["y"])
            [child] = evaluator._idle or []
            assert child._process.returncode is None
    np.testing.assert_array_equal(answers, [-feed["x"], abs(feed["x"])])
    assert child._process.returncode is not None


@pytest.mark.usefixtures("no_process_is_kept")
def test_an_oracle_that_has_a_process_lends_it_to_nobody() -> None:
    oracle, other = EvaluatorOracle(perceptron()), EvaluatorOracle(perceptron())
    oracle.run({"x": normal(1, 3)})
    own = oracle._child
    with evaluator.kept():
        oracle.run({"x": normal(2, 3)})
        assert evaluator._idle == []
        other.run({"x": normal(1, 3)})
        assert evaluator._idle != [own]
    assert oracle._child is own
    assert oracle.run({"x": normal(3, 3)})


@pytest.mark.usefixtures("no_process_is_kept")
def test_what_the_evaluator_cant_do_it_is_not_asked_again() -> None:
    model = network(
        "g (float[2, 4] x) => (float[2, 4] y) { y = MeanVarianceNormalization<axes = [1]>(x) }"
    )
    oracle = EvaluatorOracle(model)
    with pytest.raises(RunError, match="evaluator failed: onnx"):
        oracle.run({"x": normal(2, 4)})
    with pytest.raises(RunError, match="used up"):
        oracle.run({"x": normal(2, 4, seed=1)})


def test_an_operator_that_the_evaluator_has_not_leaves_a_single_oracle() -> None:
    found = reference(
        "g (float[2, 4] x) => (float[2, 4] y) { y = MeanVarianceNormalization<axes = [1]>(x) }",
        {"x": normal(2, 4)},
    )
    assert found.labels == (SINGLE_ORACLE,)
    assert any("evaluator failed" in note for note in found.notes)


@pytest.mark.parametrize(
    ("graph", "x"),
    [
        (
            "g (string[n] x) => (string[n] y) { y = Identity(x) }",
            np.array(["a", "straße", ""], object),
        ),
        (
            "g (bfloat16[n] x) => (bfloat16[n] y) { y = Identity(x) }",
            np.array([1, 2.5, -3], ml_dtypes.bfloat16),
        ),
        ("g (float16[n] x) => (float16[n] y) { y = Exp(x) }", np.array([0, 1], np.float16)),
        ("g (int64[n] x) => (int64[n] y) { y = Neg(x) }", np.arange(3)),
        ("g (bool[n] x) => (bool[n] y) { y = Not(x) }", np.array([True, False])),
        ("g (float x) => (float y) { y = Exp(x) }", np.array(0.5, np.float32)),
        ("g (float[n] x) => (float[n] y) { y = Exp(x) }", np.zeros(0, np.float32)),
    ],
    ids=["text", "bfloat16", "float16", "int64", "bool", "scalar", "empty"],
)
def test_inputs_of_every_kind_find_their_two_oracles(graph: str, x: Array) -> None:
    found = reference(graph, {"x": x})
    assert found.labels == ()


def test_text_that_cannot_be_handed_over_leaves_a_single_oracle() -> None:
    found = reference(
        "g (string[n] x) => (string[n] y) { y = Identity(x) }", {"x": np.array(["a\0"], object)}
    )
    assert found.labels == (SINGLE_ORACLE,)


def test_arrays_of_every_dtype_pass_between_the_processes(tmp_path) -> None:
    arrays: dict[str, Array] = {
        "a:b/c": normal(2, 3),
        "text": np.array([["a", "straße"]], object),
        "scalar": np.array(1.5),
        "empty": np.zeros((0, 2), np.int8),
        **{
            name: np.array([0, 1, 1]).astype(getattr(ml_dtypes, name))
            for name in ("bfloat16", "float8_e5m2", "float8_e4m3fn", "int4", "uint2")
        },
    }
    write_arrays(tmp_path / "a.npz", arrays)
    back = read_arrays(tmp_path / "a.npz")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tolist() == array.tolist()


def test_the_evaluators_folder_goes_with_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    oracle = EvaluatorOracle(perceptron())
    assert oracle.run({"x": normal(1, 3)})
    assert list(tmp_path.iterdir())
    del oracle
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_of_a_large_network_the_evaluator_is_not_asked_and_a_note_says_so(as_large) -> None:
    as_large()
    model = perceptron()
    feeds = [("s0", {"x": normal(2, 3)})]
    found = onnx_reference(model, signature_of(model), feeds, lambda what, share: None)
    assert (found.fine, found.labels) == (None, (SINGLE_ORACLE,))
    [note] = found.notes
    assert "FP64: not asked" in note and "GB of weights" in note
    expected = perceptron_in_numpy(feeds[0][1])["y"]
    np.testing.assert_allclose(found.judge.run(feeds[0][1])["y"], expected, atol=1e-5)


def test_the_judge_of_a_file_gives_its_memory_back_when_all_is_answered(tmp_path: Path) -> None:
    """Every session has a copy of the weights; nobody asks this one any more."""
    ir.save(perceptron(), tmp_path / "m.onnx")
    samples = Samples.of_arrays([{"x": normal(2, 3)}])
    prepared = OnnxSource(tmp_path / "m.onnx").prepare(samples, (), (), silent)
    with prepared.trusted as trusted:
        _, feed, answers = next(iter(trusted.cases[0].pairs()))
        np.testing.assert_allclose(answers["y"], perceptron_in_numpy(feed)["y"], atol=1e-5)
    with pytest.raises(UsageError, match="closed"):
        prepared.reference.judge.run(feed)
