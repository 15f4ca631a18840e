"""Is what was planned what runs? Judged without a tolerance, and what isn't told is said."""

import pytest

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.core.errors import EXIT_UNAVAILABLE, EXIT_WRONG
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.graph.costs import Costs
from roadworthy.graph.signature import signature_of
from roadworthy.precision.plan import Decision, PrecisionPlan
from roadworthy.precision.proof import (
    check_precision,
    less_than_planned,
    prove_precision,
    runs_none_of,
)
from tests.unit.backends.quantised import block, deafen, quantised

SIZES = {"batch": 1, "h": 8, "w": 8}
WORK = Costs({"a": 600, "b": 300, "relu": 0, "c": 100}, {})


def plan(*decisions: tuple[str, str], precision: str = "int8") -> PrecisionPlan:
    made = tuple(
        Decision(node, "Relu" if node == "relu" else "Conv", dtype) for node, dtype in decisions
    )
    return PrecisionPlan(precision, "onnxruntime", made)


PLAN = plan(("a", "int8"), ("b", "int8"), ("relu", "int8"), ("c", "fp32"))
KEPT = {"a": "int8", "b": "int8", "relu": "int8", "c": "fp32"}


def account(**nodes: str):
    counts = {dtype: list(nodes.values()).count(dtype) for dtype in set(nodes.values())}
    return {"layers": counts, "nodes": nodes}


def test_a_plan_that_runs_as_planned() -> None:
    found = check_precision(PLAN, "int8", account(**KEPT), WORK)
    assert found.macs == {"int8": 0.9, "fp32": 0.1}
    assert (found.findings, found.notes) == ((), ())
    assert less_than_planned(found, Target("onnxruntime")) is None


def test_a_node_that_runs_in_something_else_is_a_finding_with_its_weight() -> None:
    found = check_precision(PLAN, "int8", account(**KEPT | {"b": "fp32"}), WORK)
    assert found.findings == ("1 of 3 nodes planned in int8 run in fp32: b, 30 % of all MACs",)
    assert found.macs == {"int8": 0.6, "fp32": 0.4}
    error = less_than_planned(found, Target("onnxruntime"))
    assert error is not None
    assert error.exit_code == EXIT_WRONG
    assert "b, 30 %" in str(error)


def test_a_node_that_the_engine_doesnt_name_is_said_and_no_finding() -> None:
    nodes = {node: dtype for node, dtype in KEPT.items() if node != "b"}
    found = check_precision(PLAN, "int8", account(**nodes), WORK)
    assert found.findings == ()
    assert found.macs == {"int8": 0.6, "fp32": 0.1, "unknown": 0.3}
    assert found.notes == (
        "the engine doesn't name 1 of 3 nodes planned in int8, so nothing is proven of them: "
        "b, 30 % of all MACs",
        "the engine doesn't tell what 30 % of all MACs run in: b",
    )
    assert found.unproven == found.notes[:1]
    error = less_than_planned(found, Target("onnxruntime"))
    assert error is not None
    assert error.exit_code == EXIT_WRONG
    assert error.what == f"not all that was planned is proven to run: {found.notes[0]}"


@pytest.mark.parametrize(("macs", "passes"), [(9, True), (10, False)])
def test_strictness_lets_less_than_one_percent_of_silence_pass(macs, passes) -> None:
    work = Costs({"a": 1000 - macs, "b": macs}, {})
    found = check_precision(PLAN, "int8", account(a="int8"), work)
    assert any("doesn't name" in note for note in found.notes)
    assert (less_than_planned(found, Target("onnxruntime")) is None) is passes


def test_silence_of_a_node_of_unknown_cost_doesnt_pass() -> None:
    work = Costs({"a": 1000}, {"b": "the shapes aren't known"})
    found = check_precision(PLAN, "int8", account(a="int8"), work)
    assert len(found.unproven) == 1


def test_silence_of_a_node_planned_in_fp32_passes() -> None:
    nodes = {node: dtype for node, dtype in KEPT.items() if node != "c"}
    found = check_precision(PLAN, "int8", account(**nodes), WORK)
    assert less_than_planned(found, Target("onnxruntime")) is None


MIXED = plan(("a", "int8"), ("b", "int8"), ("relu", "fp16"), ("c", "fp16"))


def test_fp16_beside_int8_that_runs_in_fp32_is_a_finding_too() -> None:
    nodes = {"a": "int8", "b": "tf32", "relu": "fp16", "c": "fp32"}
    found = check_precision(MIXED, "int8", account(**nodes), WORK)
    assert found.findings == (
        "1 of 2 nodes planned in int8 run in tf32: b, 30 % of all MACs",
        "1 of 2 nodes planned in fp16 run in fp32: c, 10 % of all MACs",
    )


def test_fp16_beside_int8_that_runs_in_int8_is_a_note() -> None:
    """Fused into what is INT8 beside it. What compares or copies computes in no such type."""
    nodes = {"a": "int8", "b": "int8", "relu": "int8", "c": "other"}
    found = check_precision(MIXED, "int8", account(**nodes), WORK)
    assert found.findings == ()
    assert found.notes == ("1 node planned in fp16 runs in int8: relu",)


def test_less_than_planned_for_an_island_is_said() -> None:
    found = check_precision(PLAN, "int8", account(**KEPT | {"c": "int8"}), WORK)
    assert found.findings == ()
    assert found.notes == ("1 node planned in fp32 runs in int8: c",)


@pytest.mark.parametrize("asked", ["int8", "fp16", "bf16", "fp8"])
def test_asked_for_less_and_nothing_runs_in_it(asked) -> None:
    found = check_precision(None, asked, account(a="fp32", b="fp32", c="fp32"), WORK)
    assert found.findings == (
        f"{asked} was asked for, but no layer that is told of computes in it: 3 in fp32",
    )


def test_an_engine_that_tells_nothing_has_proven_nothing() -> None:
    found = check_precision(PLAN, "int8", {}, WORK)
    assert found.findings == (
        "int8 was asked for, but no layer that is told of computes in it: the engine tells of none",
    )
    assert found.macs == {"unknown": 1.0}


@pytest.mark.parametrize("asked", ["fp32", "tf32"])
def test_fp32_is_never_less(asked) -> None:
    assert check_precision(None, asked, account(a="fp32", b="fp32", c="fp32"), WORK).findings == ()


def test_a_plan_that_quantises_nothing_is_kept_by_fp32() -> None:
    nothing = plan(("a", "fp32"), ("b", "fp32"), ("c", "fp32"))
    assert not check_precision(nothing, "int8", account(a="fp32", b="fp32"), WORK).findings


def test_costs_that_arent_known_are_said() -> None:
    work = Costs({"a": 600}, {"loop": "the shapes aren't known"})
    found = check_precision(None, "fp32", account(a="fp32"), work)
    assert found.notes == ("not in the MACs: loop (the shapes aren't known)",)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_real_int8_engine_keeps_its_plan(backend) -> None:
    model, planned = quantised(backend)
    options = CompileOptions("int8", threads=1)
    engine = find(backend).compile(model, signature_of(model), Target(backend), options)
    proven, found = prove_precision(engine, model, planned, SIZES)
    assert found.findings == ()
    # c1, c2: 16·16·9 each, c3: 16·16, of 16·3·9 + … + 2·16 in all, for every pixel
    share = (2 * 16 * 16 * 9 + 256) / (16 * 27 + 2 * 16 * 16 * 9 + 256 + 32)
    assert found.macs == {"int8": pytest.approx(share), "fp32": pytest.approx(1 - share)}
    assert proven.proof["macs"] == {"int8": round(share, 4), "fp32": round(1 - share, 4)}
    assert proven.files == engine.files


def test_a_real_engine_that_ignores_its_qdq_is_found_out(monkeypatch) -> None:
    """ONNX Runtime without its optimiser computes Q/DQ as written: in FP32."""
    deafen(monkeypatch)
    model, planned = quantised("onnxruntime")
    options = CompileOptions("int8", threads=1)
    target = Target("onnxruntime")
    engine = find("onnxruntime").compile(model, signature_of(model), target, options)
    _, found = prove_precision(engine, model, planned, SIZES)
    assert found.macs == {"fp32": 1.0}
    assert any("nodes planned in int8 run in fp32: c1" in finding for finding in found.findings)
    assert less_than_planned(found, target) is not None


def engine_that(**nodes: str) -> Engine:
    """An engine whose account tells of these nodes alone."""
    told = account(**nodes)
    told["macs"] = dict(check_precision(None, "fp32", told, WORK).macs)
    return Engine(
        Target("onnxruntime"), Signature((), ()), {}, CompileOptions("int8"), {}, "", told
    )


def test_an_engine_that_runs_nothing_in_int8_is_refused() -> None:
    error = runs_none_of(PLAN, engine_that(a="fp32", b="fp32", c="fp32"))
    assert error is not None
    assert error.exit_code == EXIT_UNAVAILABLE
    assert error.what == "int8 was asked for, but no layer of the engine runs in it: 3 in fp32"
    assert error.where == "onnxruntime: --precision int8"


def test_what_only_hands_values_on_is_no_arithmetic_in_int8() -> None:
    made = (Decision("a", "Conv", "int8"), Decision("pool", "MaxPool", "int8"))
    planned = PrecisionPlan("int8", "onnxruntime", made)
    error = runs_none_of(planned, engine_that(a="fp32", pool="int8"))
    assert error is not None
    assert "but what only hands values on: " in error.what


@pytest.mark.parametrize(
    "nodes",
    [
        {"a": "int8", "b": "fp32"},
        # Of b nothing is told, so nothing is shown; strictness is for that.
        {"a": "fp32"},
        {},
    ],
)
def test_an_engine_that_runs_some_or_doesnt_tell_isnt_refused(nodes) -> None:
    assert runs_none_of(PLAN, engine_that(**nodes)) is None


@pytest.mark.parametrize("planned", [None, plan(("a", "fp32"), ("b", "fp16"), precision="fp16")])
def test_nor_is_one_of_which_no_int8_was_planned(planned) -> None:
    assert runs_none_of(planned, engine_that(a="fp32", b="fp32", c="fp32")) is None


def test_a_plan_that_the_engine_wasnt_compiled_from_is_found_out() -> None:
    model, (_, planned) = block(), quantised("openvino")
    options = CompileOptions("fp32", threads=1)
    engine = find("openvino").compile(model, signature_of(model), Target("openvino"), options)
    found = check_precision(planned, "int8", engine.proof, WORK)
    assert "run in fp32: c1" in "; ".join(found.findings)
