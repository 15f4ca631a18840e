"""The guard: a pass that changes anything it mustn't is rolled back and named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from roadworthy.core.certificate import PassRecord
from roadworthy.core.signature import Array
from roadworthy.core.verdict import Tolerance
from roadworthy.graph.signature import signature_of
from roadworthy.passes import guard
from roadworthy.passes.base import Pass, PassRefused
from roadworthy.passes.catalogue import standard_passes
from roadworthy.passes.guard import run_guarded
from roadworthy.passes.tidy import Tidy
from tests.models import engine, network, normal

# Two slices of the input, each with its own weight, and an input that nothing needs.
GRAPH = """g (float[n, 4] x, float[n] unused) => (float[n, 2] y, int64[n] label) {
    zero = Constant<value_ints = [0]>() two = Constant<value_ints = [2]>()
    four = Constant<value_ints = [4]>() one = Constant<value_ints = [1]>()
    left = Slice(x, zero, two, one) right = Slice(x, two, four, one)
    a = MatMul(left, w1) b = MatMul(right, w2)
    s = Add(a, b) y = Identity(s) label = ArgMax<axis = 1, keepdims = 0>(y)
}"""
LIMITS = {
    "y": Tolerance("relative_l2", 1e-5, "measured"),
    "label": Tolerance("mismatch_share", 1e-4, "near-ties"),
}
PROBES = [(f"s{i}", {"x": normal(3, 4, seed=i), "unused": normal(3, seed=i)}) for i in range(2)]


def model() -> ir.Model:
    return network(GRAPH, {"w1": normal(2, 2, seed=1), "w2": normal(2, 2, seed=2)})


def content(one: ir.Model) -> bytes:
    return ir.to_proto(one).SerializeToString(deterministic=True)


def answers(one: ir.Model) -> list[dict[str, Array]]:
    with engine(one).open() as session:
        return [session.run(feed) for _, feed in PROBES]


Change = Callable[[onnx.ModelProto], onnx.ModelProto | None]


class Changing(Pass):
    """A pass that does what it is told to the model's proto."""

    name = "changing"

    def __init__(self, change: Change) -> None:
        self.change = change

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        proto = ir.to_proto(model)
        return ir.passes.PassResult(ir.from_proto(self.change(proto) or proto), modified=True)


def guarded(*passes: Pass, on: ir.Model | None = None) -> tuple[ir.Model, tuple[PassRecord, ...]]:
    return run_guarded(on or model(), passes, PROBES, LIMITS, lambda what, share: None)


# What is wrong


def change_a_weight(proto: onnx.ModelProto) -> None:
    weight = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    weight[0, 0] *= 1.001
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w1"))


def merge_the_slices(proto: onnx.ModelProto) -> None:
    """Both halves of the input become the left one, as a careless merging would do."""
    for node in proto.graph.node:
        if node.op_type == "MatMul":
            node.input[0] = "left"


def swap_weights(proto: onnx.ModelProto) -> None:
    first, second = (node for node in proto.graph.node if node.op_type == "MatMul")
    first.input[1], second.input[1] = second.input[1], first.input[1]


def drop_an_input(proto: onnx.ModelProto) -> None:
    del proto.graph.input[1]


def fix_an_axis(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3


def rename_an_output(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].name = "s"


def swap_outputs(proto: onnx.ModelProto) -> None:
    first, second = proto.graph.output
    kept = onnx.ValueInfoProto()
    kept.CopyFrom(first)
    first.CopyFrom(second)
    second.CopyFrom(kept)


def drop_an_output(proto: onnx.ModelProto) -> None:
    del proto.graph.output[1]


def change_a_dtype(proto: onnx.ModelProto) -> None:
    proto.graph.node[-1].output[0] = "long"
    proto.graph.node.append(onnx.helper.make_node("Cast", ["long"], ["label"], to=6))
    proto.graph.output[1].type.tensor_type.elem_type = 6


def keep_a_dimension(proto: onnx.ModelProto) -> None:
    """The labels get another shape; what the graph declares is left unsaid."""
    proto.graph.node[-1].attribute[1].i = 1
    proto.graph.output[1].type.tensor_type.ClearField("shape")


def cut_a_wire(proto: onnx.ModelProto) -> None:
    proto.graph.node[-3].input[0] = "nothing"


def turn_it_round(proto: onnx.ModelProto) -> None:
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def forget_a_type(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].ClearField("type")


def an_operator_that_no_runtime_has(proto: onnx.ModelProto) -> None:
    proto.graph.node[-2].op_type = "Imaginary"


def break_down(proto: onnx.ModelProto) -> None:
    raise KeyError("deep inside")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (change_a_weight, "answers changed: output 'y'"),
        (merge_the_slices, "answers changed: output 'y'"),
        (swap_weights, "answers changed: output 'y'"),
        (keep_a_dimension, "answers changed: output 'label'"),
        (drop_an_input, "signature changed: inputs"),
        (fix_an_axis, "signature changed: x"),
        (rename_an_output, "signature changed: outputs"),
        (swap_outputs, "signature changed: outputs"),
        (drop_an_output, "signature changed: outputs"),
        (change_a_dtype, "signature changed: label"),
        (cut_a_wire, "new graph"),
        (turn_it_round, "new graph"),
        (forget_a_type, "new graph"),
        (an_operator_that_no_runtime_has, "new graph"),
        (break_down, "pass failed: KeyError: 'deep inside'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_pass_is_rolled_back_and_named(change: Change, says: str) -> None:
    original = model()
    before = content(original)
    after, (record,) = guarded(Changing(change), on=original)
    assert (record.name, record.outcome) == ("changing", "rolled back")
    assert says in record.detail
    assert "\n" not in record.detail
    assert after is original
    assert content(after) == before
    assert record.nodes_before == record.nodes_after


class ChangesItsInput(Pass):
    """Declares to leave its input alone, and doesn't."""

    name = "in place"

    def __init__(self, *, then_raise: bool) -> None:
        self.then_raise = then_raise

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        model.graph.initializers["w1"].const_value = ir.tensor(np.zeros((2, 2), np.float32))
        model.graph.outputs[0].name = "z"
        if self.then_raise:
            raise ValueError("half done")
        return ir.passes.PassResult(model.clone(), modified=True)


@pytest.mark.parametrize("then_raise", [True, False])
def test_a_pass_that_changes_its_input_leaves_no_trace(then_raise: bool) -> None:
    original = model()
    before = content(original)
    after, (record,) = guarded(ChangesItsInput(then_raise=then_raise), on=original)
    assert record.outcome == "rolled back"
    assert content(after) == content(original) == before


class NothingReturned(Pass):
    """Forgets to return."""

    name = "forgetful"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return None  # type: ignore[return-value]


def test_a_pass_that_returns_nothing_is_rolled_back() -> None:
    _, (record,) = guarded(NothingReturned())
    assert record.outcome == "rolled back"
    assert "PassResult" in record.detail


# What is right


class Refusing(Pass):
    """Doesn't want to."""

    name = "refusing"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        raise PassRefused("no convolution here")


def test_a_refusal_carries_its_reason() -> None:
    original = model()
    after, (record,) = guarded(Refusing(), on=original)
    assert (record.outcome, record.detail) == ("not applied", "no convolution here")
    assert after is original


class Idle(Pass):
    """Finds nothing to do."""

    name = "idle"

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model.clone(), modified=False)


def test_a_pass_that_changes_nothing_is_kept_and_said() -> None:
    _, (record,) = guarded(Idle())
    assert (record.outcome, record.detail) == ("kept", "nothing to change")


def rename_axes(proto: onnx.ModelProto) -> None:
    for value in (*proto.graph.input, *proto.graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        dim.ClearField("dim_param")


def test_names_of_axes_that_a_pass_loses_come_back() -> None:
    after, (record,) = guarded(Changing(rename_axes))
    assert record.outcome == "kept"
    assert signature_of(after) == signature_of(model())


def test_good_passes_around_a_bad_one_are_kept() -> None:
    tidy, *_ = standard_passes()
    after, records = guarded(Idle(), Changing(change_a_weight), tidy, Refusing())
    assert [record.outcome for record in records] == [
        "kept", "rolled back", "kept", "not applied",
    ]  # fmt: skip
    assert records[2].nodes_after < records[2].nodes_before
    for one, other in zip(answers(after), answers(model()), strict=True):
        np.testing.assert_array_equal(one["y"], other["y"])


def test_the_standard_passes_keep_the_answers_and_leave_their_input_alone() -> None:
    original = model()
    before = content(original)
    after, records = guarded(*standard_passes(), on=original)
    assert content(original) == before
    assert [record.outcome for record in records[:2]] == ["kept", "kept"]
    assert signature_of(after) == signature_of(original)
    assert after.ir_version == original.ir_version
    for one, other in zip(answers(after), answers(original), strict=True):
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-6)


def test_old_models_that_list_weights_as_inputs_pass_through() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 3, opset_import: ["": 9]> g (float[n, 4] x, float[4, 2] w) => (float[n, 2] y)'
        " { m = MatMul(x, w) y = Identity(m) }"
    )
    proto.graph.initializer.append(numpy_helper.from_array(normal(4, 2), "w"))
    probes = [("s0", {"x": normal(3, 4)})]
    after, records = run_guarded(
        ir.from_proto(proto), standard_passes(), probes, {"y": LIMITS["y"]}, lambda *_: None
    )
    assert [record.outcome for record in records[:2]] == ["kept", "kept"]
    assert str(signature_of(after)) == "(x[n,4]:float32) -> (y[n,2]:float32)"


def test_without_a_probe_nothing_is_guarded() -> None:
    with pytest.raises(ValueError, match="probe"):
        run_guarded(model(), standard_passes(), [], LIMITS, lambda *_: None)


def test_progress_names_the_pass() -> None:
    told: list[tuple[str, float]] = []
    run_guarded(
        model(),
        [Idle(), Refusing()],
        PROBES,
        LIMITS,
        lambda what, share: told.append((what, share)),
    )
    assert told == [("idle", 0.0), ("refusing", 0.5)]


def test_a_large_graph_that_is_not_valid_is_rolled_back(as_large) -> None:
    """ONNX Runtime forgives nodes out of order, the checker doesn't, weights or none."""
    as_large()
    after, [record] = guarded(Changing(lambda proto: proto.graph.node.reverse()))
    assert record.outcome == "rolled back"
    assert "topologically sorted" in record.detail
    assert content(after) == content(model())


def test_passes_that_take_no_large_model_are_named_with_the_reason(as_large) -> None:
    as_large()
    after, records = guarded(*standard_passes())
    outcomes = {record.name.split(" ")[0]: record for record in records}
    assert outcomes["tidy"].outcome == "kept"
    for name, tool in (("simplify", "onnxsim"), ("slim", "OnnxSlim")):
        assert outcomes[name].outcome == "not applied"
        assert f"{tool} takes a model of less than 2 GB" in outcomes[name].detail
    for one, other in zip(answers(after), answers(model()), strict=True):
        np.testing.assert_allclose(one["y"], other["y"], rtol=1e-5)


def test_a_model_that_nothing_changes_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a model of gigabytes takes a while, and as much memory again."""
    opened = []
    monkeypatch.setattr(guard, "_answers", lambda *_: opened.append(1))
    tidy = Tidy()(model()).model
    after, [record] = guarded(Tidy(), on=tidy)
    assert (record.outcome, record.detail, opened) == ("kept", "nothing to change", [])
    assert after is tidy
