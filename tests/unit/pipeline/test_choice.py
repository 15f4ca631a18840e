"""Between engines that verified the objective decides, by times taken side by side; what failed is
never chosen, and what isn't shown to be faster takes nobody's place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.core.certificate import Comparison, Latency
from roadworthy.core.errors import BudgetError, CompileError, RunError, WrongAnswersError
from roadworthy.core.signature import Signature
from roadworthy.core.target import Target
from roadworthy.pipeline.choosing import choose, fastest
from roadworthy.pipeline.deployment import Deployment, TargetResult
from roadworthy.pipeline.ship import check_destination
from tests.unit.report.made import certificate

NOTHING = Signature((), ())


def result(name, precision="fp32", *, p50=None, throughput=0.0, size=1, error=None):
    target = Target.parse(name)
    latency = p50 and Latency(name, 10, p50, p50, None, p50, throughput, 1, 1, 0, True)
    engine = Engine(target, NOTHING, {"model.onnx": b"x" * size}, CompileOptions(), {})
    known = certificate(latency=latency, choice=())
    return TargetResult(target, precision, engine, known, error)


def race(width=0.1, met=None):
    """A race whose ratio is that of the medians, give or take `width`; `met` hears who raced."""

    def run(result, holder, share):
        if met is not None:
            met.append((result.precision, holder.precision, share))
        first, second = (
            replace(each.certificate.latency, subject=f"{each.precision} on {each.target}")
            for each in (result, holder)
        )
        ratio = second.p50_ms / first.p50_ms
        return Comparison(first, second, ratio, ratio - width, ratio + width, 8, {})

    return run


def not_built(name, precision):
    return TargetResult(Target(name), precision, None, None, CompileError("no such kernel"))


@pytest.mark.parametrize(
    ("objective", "name"), [("latency", "quick"), ("throughput", "quick"), ("size", "small")]
)
def test_the_objective_decides(objective, name):
    results = [
        result("middling", p50=2.0, throughput=90.0, size=200),
        result("small", p50=3.0, throughput=20.0, size=100),
        result("quick", p50=1.0, throughput=10.0, size=300),
    ]
    _, chosen, why = choose(results, objective, race())
    assert chosen == Target(name)
    assert all(other.target.backend in why for other in results)


def test_what_failed_is_never_chosen():
    wrong = result("wrong", p50=0.1, error=WrongAnswersError("differs"))
    _, chosen, why = choose([wrong, result("right", p50=5.0)], "latency", race())
    assert chosen == Target("right")
    assert "differs" in why
    assert choose([wrong], "latency", race()) == ((wrong,), None, "no target verified")


def test_where_nothing_is_timed_the_first_is_chosen():
    results = [result("first"), result("second")]
    assert choose(results, "latency")[1:] == (
        Target("first"),
        "first: verified, not timed; second: verified, not timed",
    )
    assert choose(results[:1], "latency")[2] == "first: verified, not timed"


def test_the_chosen_target_s_certificate_says_what_it_was_chosen_by():
    results, chosen, why = choose(
        [result("a", p50=2.0), result("b", p50=1.0), result("c", p50=4.0)], "latency", race()
    )
    assert chosen == Target("b")
    said = "fp32 on b is faster than fp32 on a: 2.000 times as fast (95 % interval 1.900 to 2.100)"
    assert f"a: 2 ms (median); {said}" in why
    assert "fp32 on c is slower than fp32 on b: 0.250 times as fast" in why
    assert [len(each.certificate.choice) for each in results] == [0, 2, 0]
    assert results[1].certificate.choice[0].in_words() == said


def test_machines_are_not_raced_with_each_other():
    far = [result(f"{name}@ssh=far", p50=p50) for name, p50 in (("a", 2.0), ("b", 1.0))]
    met = []
    results, chosen, why = choose([result("here", p50=3.0), *far], "latency", race(met=met))
    assert chosen == far[1].target
    assert why.count("timed apart, on different hosts") == 1
    assert len(met) == len(results[2].certificate.choice) == 1  # the two on one host


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
        race(),
    )
    assert (best.precision, best.ok) == ("fp16", True)
    assert best.others == (
        "fp32: 9 ms (median); fp16 on t is faster than fp32 on t: 4.500 times as fast "
        "(95 % interval 4.400 to 4.600)",
        "tf32: no such kernel",
        "int8: output 'y' has mvre 0.3",
    )
    said = best.to_json()
    assert (said["precision"], said["others"]) == ("fp16", list(best.others))
    assert [each.ratio for each in said["certificate"].choice] == [4.5]


def test_a_lower_precision_that_isn_t_shown_to_be_faster_doesn_t_ship():
    """Its median is lower, and the interval holds 1. The next meets who stayed."""
    met = []
    precisions = [("fp32", 1.02), ("tf32", 1.0), ("fp16", 0.98), ("int8", 0.5)]
    results = [result("t", name, p50=p50) for name, p50 in precisions]
    best = fastest(results, "latency", race(met=met))
    assert best.precision == "int8"
    assert met == [("tf32", "fp32", 1 / 3), ("fp16", "fp32", 1 / 3), ("int8", "fp32", 1 / 3)]
    assert best.others[1] == (
        "tf32: 1 ms (median); tf32 on t can't be told apart from fp32 on t in speed: "
        "1.020 times as fast (95 % interval 0.920 to 1.120)"
    )
    assert fastest(results[:3], "latency", race()).precision == "fp32"
    assert fastest(results[:3], "latency", race(width=0.01)).precision == "fp16"


def test_by_size_nothing_is_raced():
    met = []
    results = [result("t", "fp32", p50=1.0, size=4), result("t", "int8", p50=2.0, size=1)]
    best = fastest(results, "size", race(met=met))
    assert (best.precision, met, best.certificate.choice) == ("int8", [], ())


def test_one_that_can_t_be_timed_beside_the_other_doesn_t_take_its_place():
    def fails(*_):
        raise RunError("out of memory")

    results = [result("t", "fp32", p50=9.0), result("t", "int8", p50=1.0)]
    best = fastest(results, "latency", fails)
    assert best.precision == "fp32"
    [said] = best.others
    assert said == "int8: 1 ms (median); couldn't be timed beside fp32 on t: out of memory"


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
