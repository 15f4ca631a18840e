"""Copies beside computing: the order of what is queued, on a GPU that does everything late."""

from itertools import islice, pairwise

import numpy as np
import pytest

from roadworthy.backends.tensorrt.runtime.manycalls import LANES
from tests.unit.backends.tensorrt.simulated import Gpu


def feeds(count, sizes=(4,)):
    return [
        {"x": np.arange(sizes[n % len(sizes)], dtype=np.float32) + 100 * n} for n in range(count)
    ]


def check(answers, given):
    assert len(answers) == len(given)
    for answer, feed in zip(answers, given, strict=True):
        np.testing.assert_array_equal(answer["y"], feed["x"] * 2 + 1)


GRAPHS = pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])


@GRAPHS
@pytest.mark.parametrize("sizes", [(4,), (4, 4, 7), (1, 2, 3, 4, 5, 6, 7)], ids=str)
def test_the_answers_come_in_order_at_every_shape(opened, graphs, sizes):
    runner, _, _ = opened(graphs=graphs)
    check(list(runner.run_many(feeds(50, sizes))), feeds(50, sizes))
    check([runner.run(feed) for feed in feeds(3)], feeds(3))


def test_a_feed_s_array_may_be_used_again_and_the_answers_are_the_caller_s(opened):
    runner, _, _ = opened()
    buffer = np.empty(4, np.float32)

    def frames():
        for n in range(12):
            buffer[...] = n
            yield {"x": buffer}

    kept = list(runner.run_many(frames()))
    assert [float(answer["y"][0]) for answer in kept] == [2 * n + 1 for n in range(12)]
    assert not any(np.shares_memory(a["y"], b["y"]) for a, b in pairwise(kept))


@GRAPHS
def test_each_kind_of_work_has_a_stream_and_three_runs_are_under_way(opened, graphs):
    runner, _, gpu = opened(graphs=graphs)
    list(runner.run_many(feeds(2 * LANES)))
    answers = runner.run_many(feeds(20))
    gpu.log.clear()
    next(answers)
    assert sum(kind == "D2H" for kind, _ in gpu.log) == LANES + 1
    by_kind = {kind: {s for k, s in gpu.log if k == kind} for kind, _ in gpu.log}
    assert set(by_kind) == {"H2D", "graph" if graphs else "enqueue", "D2H"}
    assert all(len(streams) == 1 for streams in by_kind.values())
    assert len(set.union(*by_kind.values())) == 3
    # When the first answer is handed out the others are queued, and not done: nobody waited.
    assert any(gpu.stream(stream).queue for stream in by_kind["D2H"])
    answers.close()


def test_ending_early_leaves_nothing_under_way(opened):
    runner, _, gpu = opened()
    answers = runner.run_many(feeds(20))
    assert [float(next(answers)["y"][0]) for _ in range(2)] == [1, 201]
    answers.close()
    assert not runner._flying
    check([runner.run(feed) for feed in feeds(5)], feeds(5))
    check(list(runner.run_many(feeds(9))), feeds(9))
    runner.close()
    assert not gpu.blocks
    assert not +gpu.live, "streams, events and graphs were all given back"


def test_a_runner_closed_meanwhile_gives_everything_back(opened):
    runner, _, gpu = opened()
    answers = runner.run_many(feeds(20))
    next(answers)
    runner.close()
    answers.close()
    assert not gpu.blocks
    assert not +gpu.live


def test_what_fails_does_so_in_its_place(opened):
    runner, plan, _ = opened(graphs=False)
    list(runner.run_many(feeds(2 * LANES)))
    done = iter([False, False, False, True])
    plan.fails = lambda stream: next(done, False)
    answers = runner.run_many(feeds(8))
    check([next(answers) for _ in range(3)], feeds(3))
    with pytest.raises(RuntimeError, match="failed to run"):
        next(answers)
    assert next(answers, None) is None
    check(list(runner.run_many(feeds(8))), feeds(8))


def test_what_the_feeds_raise_comes_in_its_place(opened):
    runner, _, _ = opened()

    def camera():
        yield from feeds(2)
        raise OSError("the camera is gone")

    answers = runner.run_many(camera())
    check([next(answers), next(answers)], feeds(2))
    with pytest.raises(OSError, match="camera"):
        next(answers)


def test_a_feed_of_another_type_fails_in_its_place(opened):
    runner, _, _ = opened()
    given = [*feeds(2), {"x": np.zeros(4)}, *feeds(1)]
    answers = runner.run_many(given)
    check([next(answers), next(answers)], feeds(2))
    with pytest.raises(TypeError, match="cast"):
        next(answers)
    check(list(runner.run_many(feeds(7))), feeds(7))


def test_two_of_them_and_single_runs_take_turns(opened):
    runner, _, _ = opened()
    left, right = runner.run_many(feeds(9)), runner.run_many(feeds(9, (5, 4)))
    for one, other in zip(feeds(9), feeds(9, (5, 4)), strict=True):
        check([next(left), next(right), runner.run(one)], [one, other, one])


@GRAPHS
def test_two_of_them_with_more_shapes_than_are_kept(opened, graphs):
    runner, _, _ = opened(graphs=graphs)
    one, other = feeds(20, range(1, 8)), feeds(20, range(8, 15))
    pairs = list(zip(runner.run_many(one), runner.run_many(other), strict=True))
    check([left for left, _ in pairs], one)
    check([right for _, right in pairs], other)


def test_feeds_may_be_made_by_the_runner_itself(opened):
    runner, _, _ = opened()
    given = ({"x": runner.run(feed)["y"]} for feed in feeds(6))
    want = [{"x": feed["x"] * 2 + 1} for feed in feeds(6)]
    check(list(runner.run_many(given)), want)


def test_shapes_that_are_kept_are_not_made_again(opened):
    runner, _, gpu = opened()
    given = feeds(40, [size for size in (1, 2, 3, 4) for _ in range(5)])
    list(runner.run_many(given))
    graphs = gpu.live["exec"]
    made = len(gpu.things)
    check(list(runner.run_many(given)), given)
    assert (gpu.live["exec"], len(gpu.things)) == (graphs, made)


def test_more_shapes_than_are_kept_drop_their_lanes_too(opened):
    runner, plan, gpu = opened()
    sizes = [size for size in range(1, 9) for _ in range(4)]
    check(list(runner.run_many(feeds(64, sizes))), feeds(64, sizes))
    assert len(plan.alive) <= 4 * LANES
    runner.close()
    assert not gpu.blocks


@pytest.mark.parametrize("most", [1, 2])
def test_where_no_more_contexts_fit_fewer_runs_overlap(opened, most):
    runner, _, _ = opened(most=most)
    check(list(runner.run_many(feeds(10))), feeds(10))
    assert any(f"{most} runs at once, not {LANES}" in note for note in runner.notes)


def test_where_no_more_buffers_fit_fewer_runs_overlap(opened):
    gpu = Gpu(memory=4 * 4000 + 100)
    runner, plan, _ = opened(gpu)
    given = feeds(10, (1000,))
    check(list(runner.run_many(given)), given)
    assert any("1 runs at once" in note and "memory" in note for note in runner.notes)
    assert len(plan.alive) == 1, "what was made in vain holds no memory"
    runner.close()
    assert not gpu.blocks


def test_outputs_whose_size_depends_on_the_data_run_one_by_one(opened):
    runner, _, _ = opened(grows=True)
    given = [{"x": np.arange(8, dtype=np.float32) + n} for n in range(10)]
    want = [runner.run(feed)["y"] for feed in given]
    assert len({len(y) for y in want}) > 1
    for answer, y in zip(runner.run_many(given), want, strict=True):
        np.testing.assert_array_equal(answer["y"], y)


def test_it_reads_no_further_ahead_than_runs_overlap(opened):
    runner, _, _ = opened()
    read = []
    source = (read.append(n) or feed for n, feed in enumerate(feeds(50)))
    answers = runner.run_many(source)
    assert read == []
    assert len(list(islice(answers, 5))) == 5
    assert len(read) == 5 + LANES


def test_times_are_told_per_feed(opened):
    runner, _, _ = opened()
    times = runner.time(feeds(1)[0], 7, 2)
    assert set(times) == {"host", "latency", "device", "enqueue", "call", "overlapped"}
    assert all(len(values) == 7 and min(values) > 0 for values in times.values())
    assert not runner._flying
