"""Between several verified targets the objective decides; what failed is never chosen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.core.certificate import Latency
from roadworthy.core.errors import BudgetError, CompileError, WrongAnswersError
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.pipeline.deployment import Deployment, TargetResult
from roadworthy.pipeline.ship import check_destination, choose, fastest

NOTHING = Signature((), ())


def result(name, precision="fp32", *, p50=None, throughput=0.0, size=1, error=None):
    target = Target(name)
    latency = p50 and Latency(name, 10, p50, p50, None, p50, throughput, 1, 1, 0, True)
    engine = Engine(target, NOTHING, {"model.onnx": b"x" * size}, CompileOptions(), {})
    certificate = SimpleNamespace(latency=latency)
    return TargetResult(target, precision, engine, certificate, error)


def not_built(name, precision):
    return TargetResult(Target(name), precision, None, None, CompileError("no such kernel"))


def test_the_objective_decides():
    results = [
        result("quick", p50=1.0, throughput=10.0, size=300),
        result("many", p50=2.0, throughput=90.0, size=200),
        result("small", p50=3.0, throughput=20.0, size=100),
    ]
    for objective, name in (("latency", "quick"), ("throughput", "many"), ("size", "small")):
        chosen, why = choose(results, objective)
        assert chosen == Target(name)
        assert all(other.target.backend in why for other in results)


def test_what_failed_is_never_chosen():
    wrong = result("wrong", p50=0.1, error=WrongAnswersError("differs"))
    chosen, why = choose([wrong, result("right", p50=5.0)], "latency")
    assert chosen == Target("right")
    assert "differs" in why
    assert choose([wrong], "latency") == (None, "no target verified")


def test_untimed_ones_lose_to_timed_ones():
    chosen, why = choose([result("untimed"), result("timed", p50=9.0)], "latency")
    assert chosen == Target("timed")
    assert "not timed" in why


def test_of_one_target_s_precisions_the_fastest_says_why_the_others_lost():
    """Also those that were never built: each by its name."""
    best = fastest(
        [
            result("t", "fp32", p50=9.0),
            not_built("t", "tf32"),
            result("t", "fp16", p50=2.0),
            result("t", "int8", p50=1.0, error=BudgetError("output 'y' has mvre 0.3")),
        ],
        "latency",
    )
    assert (best.precision, best.ok) == ("fp16", True)
    assert best.others == (
        "fp32: 9 ms (median)",
        "tf32: no such kernel",
        "int8: output 'y' has mvre 0.3",
    )
    said = best.to_json()
    assert (said["precision"], said["others"]) == ("fp16", list(best.others))


def test_where_no_precision_may_ship_it_is_the_most_exact():
    best = fastest([not_built("t", "fp32"), not_built("t", "fp16")], "latency")
    assert (best.precision, best.others) == ("fp32", ("fp16: no such kernel",))
    assert best.to_json()["precision"] == "fp32"


def test_the_worst_of_all_endings_counts():
    """DESIGN.md: in the order 1, 3, 5, 4."""
    budget, gone, wrong = BudgetError("slow"), CompileError("refused"), WrongAnswersError("no")
    for errors, worst in (
        ([], None),
        ([gone], gone),
        ([gone, budget], budget),
        ([budget, gone, wrong], wrong),
    ):
        results = (result("good"), *(result(f"t{i}", error=e) for i, e in enumerate(errors)))
        ended = Deployment(results, NOTHING, None, None, "")
        assert ended.error is worst
        assert ended.exit_code == (0 if worst is None else worst.exit_code)
        if worst is None:
            assert ended.require() is ended
        else:
            with pytest.raises(type(worst)):
                ended.require()


def test_a_destination_is_tried_without_leaving_anything(tmp_path):
    check_destination(None)
    check_destination(tmp_path / "new.rw")
    assert list(tmp_path.iterdir()) == []
