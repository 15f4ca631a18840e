"""`Session.run_many`: answers in order, each failure in its place, nothing kept for ever."""

import sys
import threading
from itertools import count

import numpy as np
import pytest

from roadworthy.backends.base import Engine
from roadworthy.core.errors import InputError, RunError, UsageError
from tests.models import convnet, engine, network, normal
from tests.unit.backends.openvino.made import compiled


def onnxruntime() -> Engine:
    return engine(convnet())


def openvino() -> Engine:
    return compiled(convnet())


def overlapping() -> Engine:
    """Two streams, so that two runs overlap."""
    return compiled(convnet(), threads=2, mode="throughput")


def elsewhere() -> Engine:
    return compiled(convnet(), target=f"openvino@python={sys.executable}", mode="throughput")


ENGINES = pytest.mark.parametrize("made", [onnxruntime, openvino, overlapping, elsewhere])


def images(number: int) -> list:
    """Images of several sizes: the axes are dynamic."""
    return [{"image": normal(1, 1, 8 + i % 5, 16 + i % 3, seed=i)} for i in range(number)]


@ENGINES
def test_the_answers_are_run_s_in_order_and_at_every_shape(made):
    with made().open() as session:
        got = list(session.run_many(images(12)))
        want = [session.run(feed) for feed in images(12)]
    assert len(got) == 12
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours["y"], theirs["y"], rtol=1e-5, atol=1e-6)


@ENGINES
def test_the_answers_are_the_caller_s_to_keep(made):
    """Asked for late, or changed, they change nothing; the feed's buffer may be used again."""
    buffer = np.empty((1, 1, 8, 8), np.float32)

    def frames():
        for i in range(6):
            buffer[...] = normal(1, 1, 8, 8, seed=i)
            yield {"image": buffer}

    with made().open() as session:
        kept = []
        for answers in session.run_many(frames()):
            kept.append(answers["y"].copy())
            answers["y"][...] = 99
        for i, ours in enumerate(kept):
            theirs = session.run({"image": normal(1, 1, 8, 8, seed=i)})["y"]
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@ENGINES
def test_no_feeds_no_answers(made):
    with made().open() as session:
        assert list(session.run_many([])) == []


@ENGINES
def test_a_feed_that_does_not_fit_fails_in_its_place(made):
    feeds = images(5)
    feeds[3] = {"image": normal(1, 2, 8, 8)}
    with made().open() as session:
        answers = session.run_many(feeds)
        for _ in range(3):
            assert next(answers)["y"].shape[1] == 2
        with pytest.raises(InputError):
            next(answers)
        assert next(answers, None) is None
        assert len(list(session.run_many(images(2)))) == 2, "the session lives on"


@ENGINES
def test_what_the_feeds_raise_comes_in_its_place_and_as_it_is(made):
    def feeds():
        yield from images(2)
        raise OSError("the camera is gone")

    with made().open() as session:
        answers = session.run_many(feeds())
        next(answers), next(answers)
        with pytest.raises(OSError, match="camera") as caught:
            next(answers)
    assert not isinstance(caught.value, RunError)


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_a_run_that_fails_does_so_in_its_place(mode):
    """The shape of the answer is impossible for one feed's values: found only while it runs."""
    text = "g (float[n] x, int64[2] to) => (float[a, b] y) { y = Reshape(x, to) }"
    good = {"x": normal(6), "to": np.array([2, 3])}
    bad = {"x": normal(6), "to": np.array([4, 5])}
    with compiled(network(text), threads=2, mode=mode).open() as session:
        answers = session.run_many([good, good, bad, good])
        assert [next(answers)["y"].shape for _ in range(2)] == [(2, 3), (2, 3)]
        with pytest.raises(RunError):
            next(answers)
        assert next(answers, None) is None
        assert session.run(good)["y"].shape == (2, 3)
        assert len(list(session.run_many([good] * 5))) == 5


@ENGINES
def test_it_reads_no_further_ahead_than_it_must(made):
    read = count()

    def endless():
        while True:
            next(read)
            yield {"image": normal(1, 1, 8, 8)}

    with made().open() as session:
        answers = session.run_many(endless())
        assert next(read) == 0, "nothing runs before it is asked for"
        for _ in range(5):
            next(answers)
        answers.close()
        assert next(read) <= 1 + 5 + 4
        assert session.run(images(1)[0])["y"].shape[1] == 2, "the session lives on"


def test_the_overlapping_runs_are_as_many_as_the_proof_says():
    proof = overlapping().proof
    assert (proof["mode"], proof["streams"]) == ("throughput", proof["requests"])
    assert proof["precision"]["share"] == {"f32": 1.0}, "the precision stays as stated"
    alone = openvino().proof
    assert (alone["mode"], alone["streams"], alone["requests"]) == ("latency", 1, 1)


@ENGINES
def test_a_session_that_is_closed_meanwhile_says_so(made):
    session = made().open()
    answers = session.run_many(images(50))
    next(answers)
    session.close()
    with pytest.raises(UsageError, match="closed"):
        list(answers)


@ENGINES
def test_two_of_them_and_single_runs_take_turns_in_one_session(made):
    with made().open() as session:
        pairs = zip(session.run_many(images(6)), session.run_many(images(6)), strict=True)
        for (left, right), feed in zip(pairs, images(6), strict=True):
            np.testing.assert_array_equal(left["y"], right["y"])
            np.testing.assert_allclose(left["y"], session.run(feed)["y"], rtol=1e-5, atol=1e-6)


@ENGINES
def test_the_feeds_may_be_made_by_the_session_itself(made):
    with made().open() as session:
        feeds = ({"image": session.run(feed)["y"][:, :1]} for feed in images(4))
        assert len(list(session.run_many(feeds))) == 4


@ENGINES
def test_each_thread_has_a_session_of_its_own(made):
    built, wrong = made(), []

    def work(seed):
        feeds = [{"image": normal(1, 1, 8, 8, seed=seed + i)} for i in range(10)]
        with built.open() as session:
            for feed, answers in zip(feeds, session.run_many(feeds), strict=True):
                again = session.run(feed)["y"]
                if not np.allclose(again, answers["y"], rtol=1e-5, atol=1e-6):
                    wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("made", [onnxruntime, overlapping])
def test_a_second_thread_in_one_session_is_an_error(made):
    inside, done = threading.Event(), threading.Event()

    class Waits:
        """A runner in which a run takes until another thread was refused."""

        def __init__(self, runner):
            self.runner = runner

        def run_many(self, feeds):
            for _ in feeds:
                inside.set()
                done.wait(20)
                yield {}

        def close(self):
            self.runner.close()

    def work(session):
        list(session.run_many(images(1)))

    with made().open() as session:
        session.runner = Waits(session.runner)
        thread = threading.Thread(target=work, args=(session,))
        thread.start()
        assert inside.wait(20)
        with pytest.raises(UsageError, match="one session per thread"):
            next(session.run_many(images(1)))
        done.set()
        thread.join()


def test_an_unknown_mode_is_refused():
    with pytest.raises(UsageError, match="mode=latency"):
        compiled(network("g (float[n] x) => (float[n] y) { y = Neg(x) }"), mode="fast")
