"""Checks without a reference: an engine against itself."""

from __future__ import annotations

import time
from dataclasses import replace
from signal import SIGINT, pthread_kill
from threading import Semaphore, Thread, current_thread, main_thread

import ml_dtypes
import numpy as np
import pytest

from roadworthy.core.signature import Array
from roadworthy.core.verdict import SelfCheck, Tolerance
from roadworthy.verify.selfcheck import _compare, _threads, self_checks
from tests.models import engine, network, normal, ranged

LIMIT = Tolerance("relative_l2", 1e-6, "measured")
ROWS: list[dict[str, Array]] = [{"x": normal(1, 4, seed=i)} for i in range(4)]


def checks(graph: str, feeds: list[dict[str, Array]], *inputs: str) -> dict[str, SelfCheck]:
    model = network(graph)
    compiled = replace(engine(model), signature=ranged(model, *inputs))
    limits = {spec.name: LIMIT for spec in compiled.signature.outputs}
    return {check.name: check for check in self_checks(compiled, feeds, limits)}


def passed(found: dict[str, SelfCheck]) -> dict[str, bool]:
    return {name: check.passed for name, check in found.items()}


def test_a_sound_engine_passes_all_five() -> None:
    found = checks("g (float[n, 4] x) => (float[n, 4] y) { y = Exp(x) }", ROWS)
    assert passed(found) == dict.fromkeys(
        ("repeat", "results kept", "strides", "batch", "threads"), True
    )
    assert "4 different samples" in found["batch"].detail


def test_answers_that_are_thrown_like_dice_fail() -> None:
    dice = "g (float[n, 4] x) => (float[n, 4] y) { r = RandomNormalLike(x)  y = Add(x, r) }"
    found = checks(dice, ROWS)
    assert not found["repeat"].passed
    assert "output 'y'" in found["repeat"].detail
    assert not found["threads"].passed


def test_without_a_batch_axis_there_is_no_batch_to_check() -> None:
    assert "batch" not in checks("g (float[1, 4] x) => (float[1, 4] y) { y = Exp(x) }", ROWS)


def test_an_interrupted_check_leaves_no_thread_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that still computes while the interpreter goes ends the process with an abort."""
    begun, left = Semaphore(0), []

    class Slow:
        def __enter__(self) -> Slow:
            return self

        def __exit__(self, *_: object) -> None:
            left.append(current_thread())

        def run(self, feed: dict[str, Array]) -> dict[str, Array]:
            if current_thread() is not main_thread():
                begun.release()
                time.sleep(0.3)
            return feed

    def interrupt() -> None:
        for _ in range(2):
            begun.acquire()
        time.sleep(0.1)  # until the one that waits for them does so
        pthread_kill(main_thread().ident or 0, SIGINT)

    compiled = engine(network("g (float[n, 4] x) => (float[n, 4] y) { y = Exp(x) }"))
    monkeypatch.setattr(type(compiled), "open", lambda self: Slow())
    Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        _threads(compiled, ROWS, {"x": LIMIT})
    assert len(left) == 3 and not any(one.is_alive() for one in left[1:])


MEAN = """g (float[n, 4] x) => (float[n, 4] y) {
    a = Constant<value_ints = [0]>()  m = ReduceMean(x, a)  y = Sub(x, m)
}"""


def test_a_batch_that_subtracts_its_mean_is_caught() -> None:
    found = checks(MEAN, ROWS)
    assert not found["batch"].passed
    assert "unlike its rows alone" in found["batch"].detail


def test_an_answer_that_depends_on_the_rows_before_it_is_caught() -> None:
    graph = """g (float[n, 4] x) => (float[n, 4] y) {
        zero = Constant<value_int = 0>()  y = CumSum(x, zero) }"""
    found = checks(graph, ROWS)
    assert not found["batch"].passed
    assert "order of a batch" in found["batch"].detail


def test_cross_talk_is_caught_where_single_rows_are_not_allowed() -> None:
    graph = """g (float[n, 4] x) => (float[n, 4] y) {
        zero = Constant<value_int = 0>()  y = CumSum(x, zero) }"""
    feeds = [{"x": normal(8, 4)}]
    found = checks(graph, feeds, "x[n=6..9,4]")
    assert not found["batch"].passed
    sound = checks("g (float[n, 4] x) => (float[n, 4] y) { y = Exp(x) }", feeds, "x[n=6..9,4]")
    assert sound["batch"].passed
    assert "6 samples, permuted" in sound["batch"].detail


def test_one_row_only_is_said() -> None:
    found = checks("g (float[n, 4] x) => (float[n, 4] y) { y = Exp(x) }", ROWS[:1])
    assert found["batch"].passed
    assert "one row only" in found["batch"].detail


def test_an_engine_that_fails_has_failed_the_check() -> None:
    baked = """g (float[n, 4] x) => (float[n, 4] y) {
        s = Constant<value_ints = [1, 4]>()  y = Reshape(x, s) }"""
    found = checks(baked, ROWS)
    assert not found["batch"].passed
    assert "the engine failed" in found["batch"].detail
    assert found["repeat"].passed


@pytest.mark.parametrize(
    ("graph", "feed"),
    [
        ("g (float x) => (float y) { y = Exp(x) }", np.array(0.5, np.float32)),
        ("g (int64[n] x) => (int64[n] y) { y = Neg(x) }", np.arange(4)),
        ("g (bool[n] x) => (bool[n] y) { y = Not(x) }", np.array([True, False])),
        ("g (string[n] x) => (string[n] y) { y = Identity(x) }", np.array(["a", "b"], object)),
        (
            "g (bfloat16[n] x) => (bfloat16[n] y) { y = Identity(x) }",
            np.ones(2, ml_dtypes.bfloat16),
        ),
        ("g (float[n, 0] x) => (float[n, 0] y) { y = Exp(x) }", np.ones((3, 0), np.float32)),
    ],
    ids=["scalar", "int64", "bool", "text", "bfloat16", "empty"],
)
def test_every_kind_of_input_can_be_checked(graph: str, feed: Array) -> None:
    found = checks(graph, [{"x": feed}])
    assert all(check.passed for check in found.values()), found


# The comparison beneath


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (f32(1, 2), f32(1, 2), True),
        (f32(1, 2), f32(1, 2 + 1e-6), True),
        (f32(1, 2), f32(1, 3), False),
        (f32(1, 2), f32(1, np.nan), False),
        (f32(1, np.nan), f32(1, np.nan), True),
        (f32(1, 2), f32(1, 2, 3), False),
        (np.array([1e300, 1.0]), np.array([-1e300, np.inf]), False),
    ],
)
def test_two_answers_are_the_same_within_the_tolerance(
    one: Array, other: Array, same: bool
) -> None:
    for order in (("y",), ("y", "z"), ("z", "y")):
        equal = f32(1, 2)
        ones = {name: one if name == "y" else equal for name in order}
        others = {name: other if name == "y" else equal for name in order}
        assert _compare(ones, others, dict.fromkeys(order, LIMIT))[0] is same


def test_a_limit_of_nothing_allows_nothing() -> None:
    nothing = {"y": Tolerance("mismatch_share", 0.0, "exact")}
    assert _compare({"y": np.arange(4)}, {"y": np.arange(4)}, nothing)[0]
    assert not _compare({"y": np.arange(4)}, {"y": np.array([0, 1, 2, 4])}, nothing)[0]
