"""Calibration: any order, any interruption, the same result; odd samples named; files refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.samples import Samples, random_samples
from roadworthy.graph.signature import signature_of
from roadworthy.precision import calibrate as module
from roadworthy.precision.calibrate import Calibration, calibrate
from tests.models import network, normal, perceptron
from tests.unit.precision.int8_made import convnet8, images, quiet

TENSORS = ["x", "r1", "c2", "s", "y"]


def calibrated(samples: Samples, **options) -> Calibration:
    options = {"threads": 1, "progress": quiet, **options}
    return calibrate(options.pop("model", None) or convnet8(), samples, TENSORS, **options)


def reordered(samples: Samples, order) -> Samples:
    return Samples(samples.source, samples.kind, [samples.items[i] for i in order])


def assert_same(one: Calibration, other: Calibration) -> None:
    assert one.tensors.keys() == other.tensors.keys()
    for name, seen in one.tensors.items():
        ours, theirs = seen.to_arrays(), other.tensors[name].to_arrays()
        assert ours.keys() == theirs.keys()
        for key, array in ours.items():
            np.testing.assert_array_equal(array, theirs[key], err_msg=f"{name}: {key}")
    assert (one.count, one.skipped, one.model) == (other.count, other.skipped, other.model)


def without_time(calibration: Calibration) -> dict:
    return {key: value for key, value in calibration.account().items() if key != "seconds"}


def test_the_order_of_the_samples_doesnt_matter() -> None:
    samples = images(7)
    assert_same(calibrated(samples), calibrated(reordered(samples, [3, 0, 6, 5, 1, 2, 4])))


def test_tensors_are_told_in_the_order_of_the_network(tmp_path) -> None:
    as_computed = ["x", "first", "r1", "c2", "r2", "c3", "s", "r3", "c4", "y"]
    for _ in range(2):  # the second time read from the file
        found = calibrated(images(2), keep=tmp_path / "kept.npz")
        assert [name for name in found.account()["ranges"] if name in as_computed] == [
            name for name in as_computed if name in TENSORS
        ]
        assert found.tensors.keys() == set(TENSORS)


@pytest.mark.parametrize("seed", [0, 1])
def test_ranges_alone_are_those_of_whole_tensors(seed) -> None:
    """Without histograms nothing is looked at but extremes; ONNX Runtime takes them by itself."""
    samples = images(5, seed=seed)
    alone, whole = (calibrated(samples, histograms=wanted) for wanted in (False, True))
    for name, seen in whole.tensors.items():
        ours = alone.tensors[name]
        assert ours.histogram is None
        assert (ours.count, ours.samples) == (seen.count, seen.samples)
        assert ours.dead_channels == seen.dead_channels
        found = (ours.low, ours.high, *(item[0] for item in ours.largest))
        truth = (seen.low, seen.high, *(item[0] for item in seen.largest))
        np.testing.assert_allclose(found, truth, rtol=1e-5, err_msg=name)
        assert [item[1] for item in ours.largest] == [item[1] for item in seen.largest]
        for part in ("channel_low", "channel_high"):
            one, other = getattr(ours, part), getattr(seen, part)
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_order_does_not_matter_to_ranges_alone() -> None:
    # One with infinities inside, which is looked at in pieces.
    huge = {"x": np.full((1, 8, 6, 6), 3e38, np.float32)}
    samples = Samples.of_arrays([*images(4), huge])
    ordered, other = samples, reordered(samples, [4, 2, 0, 3, 1])
    assert_same(calibrated(ordered, histograms=False), calibrated(other, histograms=False))


def test_ranges_are_those_of_the_values() -> None:
    samples = images(3)
    found = calibrated(samples)
    everything = np.concatenate([feed["x"] for feed in samples])
    assert found.ranges["x"] == (everything.min(), everything.max())
    assert found.tensors["r1"].low == 0.0
    assert found.tensors["x"].count == everything.size
    assert found.count == 3


def stop_after(count: int):
    calls = iter(range(count))

    def progress(what: str, share: float) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    return progress


AXES = """g (float[2, 5, 8] x, float[1, 8, 6, 6] i) => (float[2, 5, 8] y, float[1, 8, 6, 6] j) {
    a = MatMul(x, w)  r = Relu(a)  b = MatMul(r, w)  t = Transpose<perm = [0, 2, 1]>(x)
    s = MatMul(a, t)  q = Softmax(s)  o = MatMul(q, b)  y = Identity(o)
    c = Conv(i, k)  f = Relu(c)  p = Add(f, i)  j = Identity(p) }"""


def test_the_axis_of_channels_is_that_of_what_reads_and_gives_a_tensor(tmp_path) -> None:
    model = network(AXES, {"w": normal(8, 8), "k": normal(8, 8, 1, 1)})
    samples = Samples.of_arrays([{"x": normal(2, 5, 8), "i": normal(1, 8, 6, 6)}] * 2)
    keep = tmp_path / "kept.npz"
    for _ in range(2):
        found = calibrate(
            model, samples, ["x", "a", "r", "b", "s", "o", "t", "i", "c", "f", "p"],
            threads=1, keep=keep, progress=quiet,
        )  # fmt: skip
        axes = {name: seen.axis for name, seen in found.tensors.items()}
        assert axes == {
            **dict.fromkeys(["x", "a", "r", "b"], -1), **dict.fromkeys(["i", "c", "f"], 1),
            **dict.fromkeys(["s", "o", "t", "p"], None),
        }  # fmt: skip


class TestInterrupted:
    @pytest.mark.parametrize("after", [1, 3, 5])
    def test_it_continues_where_it_was(self, tmp_path, monkeypatch, after) -> None:
        monkeypatch.setattr(module, "_SAVE_SECONDS", -1.0)
        samples, keep = images(6), tmp_path / "kept.npz"
        with pytest.raises(KeyboardInterrupt):
            calibrated(samples, keep=keep, progress=stop_after(after))
        seen: list[float] = []
        found = calibrated(samples, keep=keep, progress=lambda _, share: seen.append(share))
        assert seen[0] == pytest.approx(after / 6)
        whole = calibrated(samples)
        assert_same(found, whole)
        assert without_time(found) == without_time(whole)

    def test_a_finished_one_is_taken_as_it_is(self, tmp_path) -> None:
        samples, keep = images(4), tmp_path / "kept.npz"
        first = calibrated(samples, keep=keep)
        again = calibrated(samples, keep=keep, progress=stop_after(0))
        assert_same(first, again)

    def test_skipped_samples_are_remembered(self, tmp_path) -> None:
        samples, keep = with_nan(), tmp_path / "kept.npz"
        first = calibrated(samples, keep=keep)
        again = calibrated(samples, keep=keep, progress=stop_after(0))
        assert again.skipped == first.skipped
        assert again.skipped


class TestKeptFile:
    def refused(self, keep: Path, says: str, samples: Samples | None = None, **options) -> None:
        before = keep.read_bytes()
        with pytest.raises(InputError, match=says) as error:
            calibrated(samples or images(3), keep=keep, **options)
        assert error.value.where == str(keep)
        assert error.value.remedy
        assert keep.read_bytes() == before, "it must stay for a look"

    def kept(self, folder: Path) -> Path:
        calibrated(images(3), keep=folder / "kept.npz")
        return folder / "kept.npz"

    def test_of_another_network(self, tmp_path) -> None:
        other = convnet8()
        weights = other.graph.initializers["k2"]
        weights.const_value = ir.tensor(weights.const_value.numpy() * 2, name="k2")
        self.refused(self.kept(tmp_path), "another network", model=other)

    def test_of_other_samples(self, tmp_path) -> None:
        self.refused(self.kept(tmp_path), "other samples", images(3, seed=900))

    def test_of_the_same_samples_in_another_order(self, tmp_path) -> None:
        self.refused(self.kept(tmp_path), "other samples", reordered(images(3), [1, 0, 2]))

    def test_of_other_tensors(self, tmp_path) -> None:
        keep = self.kept(tmp_path)
        with pytest.raises(InputError, match="other tensors"):
            calibrate(convnet8(), images(3), ["r1"], threads=1, keep=keep, progress=quiet)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello", bytes(100), b"\x80\x04K."])
    def test_that_is_no_npz(self, tmp_path, content) -> None:
        (tmp_path / "kept.npz").write_bytes(content)
        self.refused(tmp_path / "kept.npz", "no calibration")

    def test_that_is_one_array(self, tmp_path) -> None:
        with (tmp_path / "kept.npz").open("wb") as file:
            np.save(file, np.zeros(3))
        self.refused(tmp_path / "kept.npz", "no calibration")

    @pytest.mark.parametrize(
        "arrays",
        [
            {"x": np.zeros(3)},
            {"head": np.array("[]")},
            {"head": np.array("no json")},
            {"head": np.array("{}")},
            {"head": np.array('{"tensors": [], "done": 0, "seconds": 0, "skipped": {}}')},
        ],
    )
    def test_of_other_content(self, tmp_path, arrays) -> None:
        np.savez(tmp_path / "kept.npz", **arrays)
        self.refused(tmp_path / "kept.npz", "calibration")

    @pytest.mark.parametrize("where", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
    def test_with_damaged_bytes(self, tmp_path, where) -> None:
        keep = self.kept(tmp_path)
        content = bytearray(keep.read_bytes())
        at = int(len(content) * where)
        content[at : at + 40] = bytes(value ^ 0xFF for value in content[at : at + 40])
        keep.write_bytes(content)
        self.refused(keep, "no calibration")

    def test_cut_short(self, tmp_path) -> None:
        keep = self.kept(tmp_path)
        keep.write_bytes(keep.read_bytes()[:-200])
        self.refused(keep, "no calibration")


def with_nan() -> Samples:
    feeds = [{"x": normal(1, 8, 6, 6, seed=i)} for i in range(5)]
    feeds[2]["x"][0, 3, 1] = np.nan
    return Samples.of_arrays(feeds)


class TestSamples:
    def test_random_ones_are_refused(self) -> None:
        model = perceptron()
        with pytest.raises(UsageError, match="random samples can't calibrate") as refused:
            calibrate(model, random_samples(signature_of(model)), ["h"], progress=quiet)
        assert refused.value.remedy

    def test_one_with_nan_is_left_out_and_named(self) -> None:
        found = calibrated(with_nan())
        assert list(found.skipped) == ["arrays#2"]
        assert "6 NaN" in found.skipped["arrays#2"]
        assert found.count == 4
        assert any("arrays#2: left out" in line for line in found.findings)
        good = reordered(with_nan(), [0, 1, 3, 4])
        np.testing.assert_array_equal(
            found.tensors["s"].histogram.counts, calibrated(good).tensors["s"].histogram.counts
        )

    def test_an_outlier_is_named_with_the_tensor(self) -> None:
        feeds = [{"x": normal(1, 8, 6, 6, seed=i)} for i in range(9)]
        feeds[4]["x"] *= 500
        lines = [
            line for line in calibrated(Samples.of_arrays(feeds)).findings if "outlier" in line
        ]
        assert len(lines) == 1
        assert "sample arrays#4" in lines[0]

    def test_all_bad_ones_are_an_error(self) -> None:
        bad = Samples.of_arrays([{"x": np.full((1, 8, 6, 6), np.inf, np.float32)}] * 2)
        with pytest.raises(InputError, match="no sample could be used") as refused:
            calibrated(bad)
        assert "arrays#0" in refused.value.what
        assert refused.value.remedy

    @pytest.mark.parametrize("histograms", [True, False])
    def test_infinities_inside_the_network_are_told(self, histograms) -> None:
        model = convnet8()
        huge = Samples.of_arrays([{"x": np.full((1, 8, 6, 6), 3e38, np.float32)}])
        found = calibrated(huge, model=model, histograms=histograms)
        assert any("NaN or infinite values inside the network" in line for line in found.findings)


MEASURE = """
import resource, sys
import numpy as np
from roadworthy.core.samples import Sample, Samples
from roadworthy.precision.calibrate import calibrate
from tests.unit.precision.int8_made import convnet8

def feed(index):
    return {"x": np.random.default_rng(index).standard_normal((1, 8, 256, 256)).astype(np.float32)}

count = int(sys.argv[1])
items = [Sample(f"s{i}", lambda i=i: feed(i)) for i in range(count)]
tensors = ["x", "first", "r1", "c2", "r2", "c3", "s", "r3", "c4", "y"]
calibrate(
    convnet8(), Samples("here", "npy", items), tensors,
    histograms=sys.argv[2] == "True", threads=1, progress=lambda *a: None,
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kib(samples: int, histograms: bool) -> int:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(samples), str(histograms)],
        cwd=root, capture_output=True, text=True, timeout=300, check=True,
        # glibc gives large arrays back at once then; otherwise it wavers by tens of MiB.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.parametrize("histograms", [True, False])
def test_memory_doesnt_grow_with_the_samples(histograms) -> None:
    # A sample is 2 MiB and its ten tensors 20: keeping one tensor of each would add over 70 MiB.
    assert peak_kib(40, histograms) - peak_kib(4, histograms) < 16 * 1024
