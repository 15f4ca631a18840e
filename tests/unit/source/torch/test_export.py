"""Candidates from both exporters: what they state, how they fail, and that they can be judged."""

import logging
import threading
import time
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

from roadworthy.core.errors import UsageError
from roadworthy.core.inputspec import parse_inputs
from roadworthy.source.torch import from_module
from roadworthy.source.torch.export import LEGACY, PROVEN, UNPROVEN
from roadworthy.source.torch.quiet import quietly
from tests.unit.source.torch import networks

RNG = np.random.default_rng(0)
# Two roundings a value at most differ between the runtimes here; eps of FP32 is 1.2e-7.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def export(module, feed, *texts, outputs=None, opset=18):
    """Return the reference's judge, the signature, and the candidates by exporter."""
    source = from_module(module, list(feed)).with_outputs(outputs)
    signature = source.signature(feed, parse_inputs(texts))
    found = {c.exporter: c for c in source.candidates(signature, feed, opset)}
    return source.reference(feed).judge, signature, found


def run(candidate, feed):
    """Run the candidate in ONNX Runtime."""
    assert candidate.failure == "" and candidate.model is not None, candidate.failure
    proto = ir.to_proto(candidate.model)
    onnx.checker.check_model(proto, full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feed)), strict=True))


def assert_agrees(judge, candidate, feed):
    expected, got = judge.run(feed), run(candidate, feed)
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype and got[name].shape == array.shape
        np.testing.assert_allclose(got[name], array, **CLOSE)


def shapes(candidate):
    graph = candidate.model.graph
    return [
        [axis if isinstance(axis, int) else axis.value for axis in value.shape]
        for value in (*graph.inputs, *graph.outputs)
    ]


def test_a_static_network_has_two_candidates_and_both_agree():
    feed = {"image": floats(1, 3, 8, 8)}
    judge, _, found = export(networks.ConvNet().train(), feed, outputs=["logits"])
    assert list(found) == [PROVEN, LEGACY]
    for candidate in found.values():
        assert_agrees(judge, candidate, feed)
        assert shapes(candidate) == [[1, 3, 8, 8], [1, 4, 8, 8]]
        assert candidate.model.graph.outputs[0].name == "logits"
        assert candidate.model.ir_version <= 10 and candidate.model.opset_imports == {"": 18}
        assert candidate.seconds > 0


def test_symbolic_axes_keep_their_names_and_hold_over_their_range():
    feed = {"image": floats(1, 3, 8, 8)}
    judge, signature, found = export(
        networks.ConvNet(), feed, "image[batch=1..8,3,h=4..64,w=4..64]"
    )
    assert signature.batch_dim.name == "batch"
    for candidate in found.values():
        assert shapes(candidate) == [["batch", 3, "h", "w"], ["batch", 4, "h", "w"]]
        for size in ((1, 3, 4, 4), (8, 3, 5, 7), (2, 3, 64, 9)):
            assert_agrees(judge, candidate, {"image": floats(*size)})


def test_open_axes_are_exported_too():
    feed = {"image": floats(2, 3, 8, 8)}
    judge, _, found = export(networks.ConvNet(), feed, "image[n,3,h,w]")
    for candidate in found.values():
        assert_agrees(judge, candidate, {"image": floats(1, 3, 5, 11)})


def test_a_step_makes_provable_what_holds_for_multiples_only():
    feed = {"image": floats(1, 1, 8, 8)}
    judge, _, found = export(networks.Halved(), feed, "image[1,1,h=4..64:2,w=6..64:2]")
    assert shapes(found[PROVEN]) == [[1, 1, "h", "w"], [1, 1, "h", "w"]]
    for size in ((1, 1, 4, 6), (1, 1, 64, 22)):
        assert_agrees(judge, found[PROVEN], {"image": floats(*size)})


def test_a_range_with_a_rest_is_exported_too():
    feed = {"image": floats(1, 3, 7, 8)}
    judge, _, found = export(networks.ConvNet(), feed, "image[1,3,h=5..33:2,8]")
    assert shapes(found[PROVEN])[0] == [1, 3, "h", 8]
    assert_agrees(judge, found[PROVEN], {"image": floats(1, 3, 11, 8)})


def test_a_frozen_branch_fails_the_proof_and_is_otherwise_seen_at_an_odd_size():
    feed = {"image": floats(1, 1, 4, 8)}
    judge, signature, found = export(networks.FrozenBranch(), feed, "image[1,1,4,w=6..64]")
    assert found[PROVEN].model is None
    assert "values of w in the specified range" in found[PROVEN].failure
    assert "(w % 2)" in found[PROVEN].failure and "w = 2*_w" in found[PROVEN].failure
    # The judge's own signature already says that the output isn't simply w wide.
    assert signature.outputs[0].shape[3].name == "output_3"
    odd = {"image": floats(1, 1, 4, 9)}
    for name in (UNPROVEN, LEGACY):
        assert_agrees(judge, found[name], feed)
        assert run(found[name], odd)["output"].shape != judge.run(odd)["output"].shape


def test_a_batch_baked_in_by_the_network_itself_is_visible_at_another_batch():
    feed = {"x": floats(1, 3, 2)}
    judge, _, found = export(networks.BatchBaked(), feed, "x[n=1..4,3,2]")
    for name in (PROVEN, UNPROVEN):
        assert found[name].model is None and "n = 4" in found[name].failure
    # The recording one takes int(shape[0]) for a constant, the example's batch of 4, and says
    # nothing: at batch 2 the answer has another shape.
    assert_agrees(judge, found[LEGACY], {"x": floats(4, 3, 2)})
    two = {"x": floats(2, 3, 2)}
    assert run(found[LEGACY], two)["output"].shape != judge.run(two)["output"].shape


def test_control_flow_on_data_fails_in_both_exporters():
    feed = {"x": np.ones((2, 2), np.float32)}
    _, _, found = export(networks.DataDependent(), feed)
    for candidate in found.values():
        assert candidate.model is None and "networks.py" in candidate.failure
    assert any("TracerWarning" in line for line in found[LEGACY].log)
    assert "values of its inputs" in found[LEGACY].failure


class ReadsItsWeights(torch.nn.Module):
    """Python decides by a value that no input changes, and the new exporter can't know it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("gain", torch.tensor(2.0))

    def forward(self, x):
        return x * 2 if self.gain > 1 and x.shape[0] > 1 else x


def test_a_branch_on_what_no_input_changes_may_be_recorded():
    feed = {"x": floats(2, 2)}
    judge, _, found = export(ReadsItsWeights(), feed)
    assert any("TracerWarning" in line for line in found[LEGACY].log)
    assert_agrees(judge, found[LEGACY], feed)


@pytest.mark.parametrize(
    ("module", "feed"),
    [
        (networks.TwoInputs(), {"left": floats(2, 3), "right": floats(2, 3)}),
        (networks.OptionalMask(), {"x": floats(3, 4)}),
        (
            networks.OptionalMask(),
            {"x": floats(3, 4), "mask": np.array([[True, False]] * 3)},
        ),
        (networks.DictOut(), {"x": floats(2, 3)}),
        (networks.DataclassOut(), {"x": floats(2, 3)}),
        (
            networks.Embedding(),
            {"tokens": np.array([[1, 9, 0], [2, 2, 2]]), "real": np.ones((2, 3), bool)},
        ),
        (networks.InPlace(), {"x": floats(3, 4)}),
        (networks.UnusedInput(), {"x": floats(2), "unused": floats(3)}),
        (networks.TwiceTheSame(), {"x": floats(2, 2)}),
        (networks.StaysInTraining(), {"x": floats(6, 4)}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else "",
)
def test_every_kind_of_call_and_result_goes_through_both_exporters(module, feed):
    judge, signature, found = export(module, feed)
    for candidate in found.values():
        assert_agrees(judge, candidate, feed)
        assert [v.name for v in candidate.model.graph.inputs] == list(feed)
        assert [v.name for v in candidate.model.graph.outputs] == [
            spec.name for spec in signature.outputs
        ]


def test_inputs_of_one_shape_are_told_apart_under_names_of_the_users_choice():
    feed = {"b": floats(2, 3), "a": floats(2, 3)}
    judge, _, found = export(networks.TwoInputs(), feed)
    for candidate in found.values():
        got = run(candidate, feed)["output"]
        np.testing.assert_allclose(got, feed["b"] - 2 * feed["a"], **CLOSE)
        assert_agrees(judge, candidate, feed)


def test_candidates_are_made_only_when_asked_for():
    feed = {"image": floats(1, 3, 8, 8)}
    source = from_module(networks.ConvNet())
    walk = source.candidates(source.signature(feed), feed)
    assert next(walk).exporter == PROVEN
    walk.close()


def test_a_lower_opset_is_reached_or_the_candidate_says_that_it_was_not():
    feed = {"image": floats(1, 3, 8, 8)}
    judge, _, found = export(networks.ConvNet(), feed, opset=13)
    assert found[LEGACY].model.opset_imports == {"": 13}
    assert_agrees(judge, found[LEGACY], feed)
    new = found[PROVEN]
    assert (new.model is None and "opset" in new.failure) or new.model.opset_imports[""] <= 13
    with pytest.raises(UsageError):
        export(networks.ConvNet(), feed, opset=3)


def test_nothing_of_this_machine_stays_in_the_model():
    feed = {"image": floats(1, 3, 8, 8)}
    _, _, found = export(networks.ConvNet(), feed)
    for candidate in found.values():
        content = ir.to_proto(candidate.model).SerializeToString()
        assert b"networks.py" not in content and b"site-packages" not in content


def test_weights_keep_the_names_of_the_users_state_dict():
    _, _, found = export(networks.Embedding(), {
        "tokens": np.zeros((1, 2), np.int64), "real": np.ones((1, 2), bool)
    })  # fmt: skip
    for candidate in found.values():
        assert "table.weight" in candidate.model.graph.initializers


def test_exporting_prints_nothing_and_warns_of_nothing(capfd, recwarn):
    feed = {"x": np.ones((2, 2), np.float32)}
    _, _, found = export(networks.DataDependent(), feed)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "") and not recwarn.list
    assert found[LEGACY].log


def test_quietly_keeps_this_threads_words_and_lets_other_threads_speak(capsys):
    handlers = list(logging.getLogger("torch").handlers)
    with quietly() as lines:
        print("mine")
        warnings.warn("careful", UserWarning, stacklevel=1)
        logging.getLogger("torch.onnx").warning("hm %d", 3)
        other = threading.Thread(target=print, args=("theirs",))
        other.start()
        other.join()
    assert lines == ["mine", "warning: hm 3", "UserWarning: careful"]
    assert capsys.readouterr().out == "theirs\n"
    assert logging.getLogger("torch").handlers == handlers


def test_an_attempt_is_timed_by_a_steady_clock():
    feed = {"x": floats(2, 2)}
    started = time.monotonic()
    _, _, found = export(networks.InPlace(), feed)
    total = time.monotonic() - started
    assert 0 < sum(candidate.seconds for candidate in found.values()) <= total
