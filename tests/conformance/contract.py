"""What every session keeps to, whatever runs beneath it: written as ONNX text in, arrays out."""

from __future__ import annotations

import threading
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.core.errors import InputError, RoadworthyError, UnavailableError, UsageError
from roadworthy.core.signature import Array, Signature
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from tests.conformance.networks import (
    HEAD,
    NUMPY_DTYPES,
    OPTIONS,
    RELU,
    SMALL_DTYPES,
    SUB,
    identity_of,
    ramp,
    values_of,
)


class SessionContract:
    """The contract, test by test."""

    target: ClassVar[str]
    claims: ClassVar[frozenset[str]]
    """The dtypes that this backend takes and gives; any other must be refused, never mangled."""
    names_nodes: ClassVar[bool] = True
    """Whether its profile knows which ONNX nodes a layer came from; if not, it names none."""
    options: ClassVar[CompileOptions] = OPTIONS
    """What the backend is told; one that needs ranges for open axes is given them here."""

    def engine(self, graph: str) -> Engine:
        """Compile ONNX text as this backend compiles."""
        target, model = Target.parse(self.target), ir.from_onnx_text(HEAD + graph)
        return find(target.backend).compile(model, signature_of(model), target, self.options)

    # Shapes

    def test_one_session_takes_every_shape_of_its_open_axes(self) -> None:
        with self.engine(RELU).open() as session:
            for shape in ((1, 1), (3, 5), (2, 64), (3, 5)):
                y = session.run({"x": ramp(*shape)})["y"]
                np.testing.assert_array_equal(y, np.maximum(ramp(*shape), 0))

    @pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
    def test_an_axis_may_be_empty(self, shape: tuple[int, int]) -> None:
        with self.engine(RELU).open() as session:
            y = session.run({"x": np.empty(shape, np.float32)})["y"]
        assert (y.shape, y.dtype) == (shape, np.dtype(np.float32))

    def test_a_fixed_axis_may_be_empty(self) -> None:
        graph = (
            "g (float[0, 2] a, float[n, 2] b) => (float[m, 2] y) { y = Concat <axis = 0> (a, b) }"
        )
        with self.engine(graph).open() as session:
            y = session.run({"a": np.empty((0, 2), np.float32), "b": ramp(3, 2)})["y"]
        np.testing.assert_array_equal(y, ramp(3, 2))

    def test_a_scalar_stays_a_scalar(self) -> None:
        with self.engine("g (float x) => (float y) { y = Neg(x) }").open() as session:
            y = session.run({"x": np.array(2.5, np.float32)})["y"]
        assert (y.shape, float(y)) == ((), -2.5)

    def test_a_shape_may_depend_on_the_values(self) -> None:
        graph = "g (float[n] x) => (int64[1, k] y) { y = NonZero(x) }"
        with self.engine(graph).open() as session:
            assert session.run({"x": ramp(5)})["y"].tolist() == [[0, 1, 3, 4]]
            assert session.run({"x": ramp(2) * 0})["y"].shape == (1, 0)

    # Dtypes

    @pytest.mark.parametrize("dtype", [*NUMPY_DTYPES, *SMALL_DTYPES])
    def test_a_claimed_dtype_comes_back_to_the_bit(self, dtype: str) -> None:
        x = values_of(dtype)
        if dtype not in self.claims:
            with pytest.raises(UnavailableError):
                self.engine(identity_of(dtype)).open()
            return
        with self.engine(identity_of(dtype)).open() as session:
            for feed in (x, x[:0], np.repeat(x, 3)[::-1]):
                y = session.run({"x": feed})["y"]
                assert (y.dtype, y.shape) == (x.dtype, feed.shape)
                np.testing.assert_array_equal(y, feed)

    def test_every_claimed_dtype_is_a_known_one(self) -> None:
        assert self.claims <= {*NUMPY_DTYPES, *SMALL_DTYPES}

    def test_text_that_is_not_an_object_array_is_text_too(self) -> None:
        with self.engine(identity_of("str")).open() as session:
            for dtype in ("<U6", ">U6", np.dtypes.StringDType()):
                y = session.run({"x": np.array(["straße", ""], dtype)})["y"]
                assert y.tolist() == ["straße", ""]

    @pytest.mark.parametrize("stranger", [None, 1, b"bytes"])
    def test_an_object_that_is_not_text_is_refused(self, stranger: object) -> None:
        with (
            self.engine(identity_of("str")).open() as session,
            pytest.raises(InputError, match=type(stranger).__name__),
        ):
            session.run({"x": np.array(["a", stranger], object)})

    def test_byte_order_is_ours_to_mend(self) -> None:
        with self.engine(RELU).open() as session:
            y = session.run({"x": ramp(2, 3).astype(">f4")})["y"]
        assert y.dtype.isnative
        np.testing.assert_array_equal(y, np.maximum(ramp(2, 3), 0))

    # Names

    def test_inputs_go_by_name_and_not_by_position(self) -> None:
        a, b = ramp(4), ramp(4) * 10
        with self.engine(SUB).open() as session:
            np.testing.assert_array_equal(session.run({"a": a, "b": b})["y"], a - b)
            np.testing.assert_array_equal(session.run({"b": b, "a": a})["y"], a - b)

    def test_outputs_come_by_name_in_the_signatures_order(self) -> None:
        graph = "g (float[n] x) => (float[n] z, float[n] y) { y = Abs(x) z = Neg(x) }"
        engine = self.engine(graph)
        with engine.open() as session:
            answers = session.run({"x": ramp(3)})
        assert list(answers) == [spec.name for spec in engine.signature.outputs] == ["z", "y"]
        np.testing.assert_array_equal(answers["z"], -ramp(3))

    def test_an_input_that_nothing_uses_is_still_an_input(self) -> None:
        with self.engine("g (float[n] x, float[2] u) => (float[n] y) { y = Neg(x) }").open() as s:
            y = s.run({"x": ramp(3), "u": ramp(2)})["y"]
            np.testing.assert_array_equal(y, -ramp(3))
            with pytest.raises(InputError, match="'u'"):
                s.run({"x": ramp(3)})

    def test_an_input_with_a_default_is_no_input(self) -> None:
        graph = "g (float[n] x, float[1] w = {3.0}) => (float[n] y) { y = Mul(x, w) }"
        with self.engine(graph).open() as session:
            np.testing.assert_array_equal(session.run({"x": ramp(3)})["y"], ramp(3) * 3)
            with pytest.raises(InputError, match="'w'"):
                session.run({"x": ramp(3), "w": ramp(1)})

    @pytest.mark.parametrize(
        "feed",
        [
            {"a": ramp(3)},
            {"a": ramp(3), "b": ramp(3), "c": ramp(3)},
            {"a": ramp(3), "b": ramp(3).astype(np.float64)},
            {"a": ramp(3), "b": ramp(3, 1)},
            {"a": ramp(3), "b": ramp(4)},
            {"a": ramp(3), "b": [1.0, 2.0, 3.0]},
        ],
        ids=["missing", "unknown", "dtype", "rank", "one axis, two sizes", "not an array"],
    )
    def test_a_feed_of_another_signature_is_refused_and_the_session_lives_on(self, feed) -> None:
        good = {"a": ramp(3), "b": ramp(3)}
        with self.engine(SUB).open() as session:
            for _ in range(2):
                with pytest.raises(InputError):
                    session.run(feed)
                np.testing.assert_array_equal(session.run(good)["y"], np.zeros(3, np.float32))

    # Memory

    @pytest.mark.parametrize(
        "graph",
        [
            "g (float[n] x) => (float[n] y) { y = Identity(x) }",
            "g (float[n] x) => (float[m] y) <int64[1] s = {-1}> { y = Reshape(x, s) }",
            "g (float[n] x) => (float[n] x) { }",
            "g (float[n] x) => (float[n] y, float[3] c) <float[3] c = {1., 2., 3.}> { y = Neg(x) }",
            "g (float[n] x) => (float[n] y, float[3] d) <float[3] c = {1., 2., 3.}>"
            " { y = Neg(x) d = Add(c, c) }",
            "g (float[n] x) => (float[n] y, float[n] z) { y = Neg(x) z = Identity(y) }",
        ],
        ids=["identity", "view", "input", "initialiser", "folded constant", "twin outputs"],
    )
    def test_results_are_the_callers_to_keep_and_to_change(self, graph: str) -> None:
        x = ramp(1000)
        with self.engine(graph).open() as session:
            first = session.run({"x": x})
            kept = {name: array.copy() for name, array in first.items()}
            second = session.run({"x": x})
            for array in second.values():
                array[...] = 77  # to change one result changes no other, nor the network
                others = [x, *(other for other in second.values() if other is not array)]
                assert not any(np.shares_memory(array, other) for other in others)
            np.testing.assert_array_equal(x, ramp(1000))
            third = session.run({"x": x})
            x[...] = -5  # nor does the next use of an input's buffer
            for answers in (first, third):
                for name, want in kept.items():
                    assert answers[name].flags.c_contiguous
                    np.testing.assert_array_equal(answers[name], want)
        for name, want in kept.items():
            np.testing.assert_array_equal(first[name], want)  # the session is closed, they stay

    @pytest.mark.parametrize(
        "array",
        [
            ramp(6, 4).T,
            ramp(4, 6)[::-1],
            ramp(4, 6)[:, ::-1],
            ramp(8, 12)[::2, 1::2],
            np.asfortranarray(ramp(4, 6)),
            np.broadcast_to(ramp(6), (4, 6)),
            np.frombuffer(b"-" + ramp(4, 6).tobytes(), np.uint8)[1:].view("<f4").reshape(4, 6),
        ],
        ids=["transposed", "rows back", "columns back", "every 2nd", "Fortran", "stride 0", "odd"],
    )
    def test_strides_do_not_matter(self, array: Array) -> None:
        with self.engine(RELU).open() as session:
            y = session.run({"x": array})["y"]
        np.testing.assert_array_equal(y, np.maximum(array, 0))

    # Threads and sessions

    def test_two_sessions_of_one_engine_run_side_by_side(self) -> None:
        engine, failures = self.engine(RELU), []

        def work(sign: int) -> None:
            with engine.open() as session:
                for size in range(1, 60):
                    x = ramp(size, 7) * sign
                    if not np.array_equal(session.run({"x": x})["y"], np.maximum(x, 0)):
                        failures.append((sign, size))

        threads = [threading.Thread(target=work, args=(sign,)) for sign in (1, -1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures

    def test_a_second_thread_in_one_session_is_an_error_and_no_wrong_answer(self) -> None:
        steps = " ".join(f"x{i + 1} = MatMul(x{i}, x{i})" for i in range(40))
        graph = f"g (float[n, n] x0) => (float[n, n] x40) {{ {steps} }}"
        # A permutation of order 255 = 2^8 - 1: its powers are exact, and none is the identity.
        shift = np.roll(np.eye(255, dtype=np.float32), 1, axis=1)
        want = np.roll(np.eye(255, dtype=np.float32), pow(2, 40, 255), axis=1)
        refused, answers, first_is_done = [], [], threading.Event()

        def until_run(session) -> None:
            while True:
                try:
                    answers.append(session.run({"x0": shift})["x40"])
                    return
                except UsageError as error:
                    refused.append(error)

        def work(session) -> None:
            until_run(session)
            first_is_done.set()

        with self.engine(graph).open() as session:
            thread = threading.Thread(target=work, args=(session,))
            thread.start()
            while not first_is_done.is_set():
                until_run(session)
            thread.join()
        assert refused, "two threads were in one session at once, and neither was told"
        assert "one session per thread" in str(refused[0])
        for answer in answers:
            np.testing.assert_array_equal(answer, want)

    def test_sessions_of_one_engine_know_nothing_of_each_other(self) -> None:
        engine = self.engine(RELU)
        with engine.open() as first:
            with engine.open() as second:
                second.run({"x": ramp(2, 2)})
            y = first.run({"x": ramp(1, 3)})["y"]
        np.testing.assert_array_equal(y, [[0, 0, 0]])

    def test_a_closed_session_says_so(self) -> None:
        with self.engine(RELU).open() as session:
            session.close()
            session.close()
            with pytest.raises(UsageError, match="closed"):
                session.run({"x": ramp(1, 1)})

    # Many, and where the time goes

    def test_many_feeds_are_answered_in_order(self) -> None:
        feeds = [{"x": ramp(n % 3 + 1, n % 5 + 1) * n} for n in range(12)]
        with self.engine(RELU).open() as session:
            answers = list(session.run_many(feeds))
        assert len(answers) == len(feeds)
        for got, feed in zip(answers, feeds, strict=True):
            np.testing.assert_array_equal(got["y"], np.maximum(feed["x"], 0))

    def test_the_feed_that_is_refused_comes_after_the_answers_before_it(self) -> None:
        feeds = [{"x": ramp(2, 2)}, {"x": ramp(3, 3)}, {"x": ramp(2)}, {"x": ramp(2, 2)}]
        with self.engine(RELU).open() as session:
            answers = session.run_many(feeds)
            assert [next(answers)["y"].shape for _ in range(2)] == [(2, 2), (3, 3)]
            with pytest.raises(InputError):
                next(answers)
            assert next(answers, None) is None

    def test_a_profile_tells_every_layers_time_and_the_session_lives_on(self) -> None:
        graph = """g (float[4, 4] x) => (float[4, 4] y) {
            [times] p = MatMul(x, x) [root] r = Sqrt(p) [again] y = MatMul(r, x)
        }"""
        x = np.abs(ramp(4, 4)) + 1
        with self.engine(graph).open() as session:
            rows = session.profile({"x": x}, 3)
            y = session.run({"x": x})["y"]
        np.testing.assert_allclose(y, np.sqrt(x @ x) @ x, rtol=1e-5)
        assert rows
        for row in rows:
            assert {"name", "onnx", "kind", "precision", "tactic", "median_us", "share"} <= {*row}
            assert row["name"]
            assert row["median_us"] >= 0
            assert {*row["onnx"]} <= {"times", "root", "again"}
        assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-3)
        named = any(row["onnx"] for row in rows)
        assert named is self.names_nodes, "some layer must say which node it came from, or none"

    # Save and load

    def test_an_engine_is_its_bytes_and_runs_again_from_them(self, tmp_path) -> None:
        engine = self.engine(SUB)
        for name, content in engine.files.items():
            (tmp_path / name).write_bytes(content)
        again = Engine(
            target=Target.parse(str(engine.target)),
            signature=Signature.from_json(engine.signature.to_json()),
            files={name: (tmp_path / name).read_bytes() for name in engine.files},
            options=engine.options,
            fingerprint=dict(engine.fingerprint),
        )
        with again.open() as session:
            y = session.run({"a": ramp(3), "b": ramp(3) * 2})["y"]
        np.testing.assert_array_equal(y, -ramp(3))

    def test_damaged_bytes_are_refused_in_our_words(self) -> None:
        engine = self.engine(SUB)
        name, content = next(iter(engine.files.items()))
        damaged = Engine(
            engine.target,
            engine.signature,
            {**engine.files, name: content[: len(content) // 2]},
            engine.options,
            engine.fingerprint,
        )
        with pytest.raises(RoadworthyError):
            damaged.open()
