"""`deploy --keep`: an interrupted calibration is continued, and no other is taken for it."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.core.errors import InputError, UsageError
from roadworthy.pipeline.deploy import deploy
from roadworthy.pipeline.quantizing import run_quantize
from roadworthy.pipeline.request import make_request
from roadworthy.precision import calibrate as calibrate_module
from tests.unit.pipeline import int8_nets as nets

_SAMPLES = 5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate_module, "_SAVE_SECONDS", -1.0)
    nets.write(tmp_path / "m.onnx", nets.MATMUL, nets.matmul_weights())
    nets.write_folder(tmp_path / "samples", nets.feeds(_SAMPLES))
    return tmp_path


def deployed(folder, progress=lambda *_: None, **options):
    options = {"precision": "int8", "threads": 1, "measure_seconds": 0.0, **options}
    source, samples = options.pop("source", "m.onnx"), options.pop("samples", "samples")
    request = make_request(str(folder / source), folder / samples, **options)
    return deploy(request, progress)


def interrupted(folder, after, **options):
    """Stop a deploy once so many samples have calibrated it."""
    left = after

    def progress(what, _):
        nonlocal left
        if what == "calibrate":
            if left == 0:
                raise KeyboardInterrupt
            left -= 1

    with pytest.raises(KeyboardInterrupt):
        deployed(folder, progress, **options)


class Calibrated:
    """Listens for how far calibration is, each time that it says so."""

    def __init__(self):
        self.shares = []

    def __call__(self, what, share):
        if what == "calibrate":
            self.shares.append(share)


def made(deployment):
    """Return what came of it, without the time it took."""
    [result] = deployment.require().results
    lowering = dict(result.certificate.lowering)
    lowering["calibration"] = {k: v for k, v in lowering["calibration"].items() if k != "seconds"}
    return result.engine.files, lowering


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "minmax", "targets": ["openvino"]},
        # Without timing the first that keeps the budget would be the fastest: FP32.
        {"precision": "auto", "budget": "mvre=0.9", "objective": "size"},
    ],
)
def test_it_continues_where_it_was_and_gives_the_same_to_the_last_bit(folder, options):
    whole, told = Calibrated(), Calibrated()
    wanted = made(deployed(folder, whole, **options))
    keep = folder / "kept"
    interrupted(folder, 2, keep=keep, **options)
    assert keep.exists()
    found = made(deployed(folder, told, keep=keep, **options))
    assert told.shares == whole.shares[2:]
    assert told.shares
    assert found == wanted
    assert found[1]["nodes"]["int8"] > 0


def test_a_finished_one_is_taken_as_it_is_and_stays(folder):
    keep, told = folder / "kept.npz", Calibrated()
    first = made(deployed(folder, keep=keep))
    assert made(deployed(folder, told, keep=str(keep))) == first
    assert told.shares == []
    assert keep.exists()


def test_samples_of_their_own_calibrate_and_are_those_that_count(folder):
    nets.write_folder(folder / "own", nets.feeds(4, seed=700))
    keep, told = folder / "kept.npz", Calibrated()
    interrupted(folder, 2, keep=keep, calibration=folder / "own")
    with pytest.raises(InputError, match="other samples"):
        deployed(folder, keep=keep)
    deployed(folder, told, keep=keep, calibration=folder / "own").require()
    assert told.shares[0] > 0


@pytest.mark.parametrize("precision", ["int8", "auto"])
@pytest.mark.parametrize("of", ["network", "samples", "tensors"])
def test_one_of_something_else_is_refused_before_any_target_is_built(folder, precision, of):
    """Not as one target's failure either, which `auto` would answer with FP32."""
    keep, said = folder / "kept.npz", nets.Told()
    interrupted(folder, 2, keep=keep)
    before = keep.read_bytes()
    nets.write(folder / "n.onnx", nets.MATMUL, {**nets.matmul_weights(), "w": np.eye(8, dtype="f")})
    nets.write_folder(folder / "others", nets.feeds(_SAMPLES, seed=500))
    others = {
        "network": {"source": "n.onnx"},
        "samples": {"samples": "others"},
        "tensors": {"targets": ["openvino"]},
    }
    with pytest.raises(InputError, match=f"(an)?other {of}") as caught:
        deployed(
            folder, said, keep=keep, out=folder / "m.rw", budget="mvre=0.9", precision=precision,
            **others[of],
        )  # fmt: skip
    assert caught.value.where == str(keep)
    assert not any("build" in what or "calibrate" in what for what in said.said), said.said
    assert keep.read_bytes() == before
    assert not (folder / "m.rw").exists()


PLACES = {
    "out.rw": "written",
    "out/kept.npz": "written",
    "m.onnx": "read",
    "samples/kept.npz": "read",
    "nowhere/kept.npz": "doesn't exist",
    "taken": "is a folder",
    "text": "no calibration",
}


@pytest.mark.parametrize("name", PLACES)
def test_what_cannot_be_kept_is_refused_before_the_work(folder, name):
    (folder / "taken").mkdir()
    (folder / "text").write_text("hello")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said = nets.Told()
    out = folder / ("out" if name.startswith("out/") else "out.rw")
    with pytest.raises(UsageError, match=PLACES[name]) as caught:
        deployed(folder, said, keep=folder / name, out=out)
    assert str(folder / name) in str(caught.value.where)
    assert caught.value.exit_code == 2
    assert said.said == ["open the source"]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["samples/kept.npz", "nowhere/kept.npz", "taken", "text"])
def test_quantize_refuses_the_same(folder, name):
    (folder / "taken").mkdir()
    (folder / "text").write_text("hello")
    with pytest.raises(UsageError, match=PLACES[name]):
        run_quantize(
            str(folder / "m.onnx"), folder / "samples", folder / "q.onnx", keep=folder / name
        )
    assert not (folder / "q.onnx").exists()


def test_where_nothing_runs_in_int8_each_target_says_why(folder):
    nets.write(folder / "plain.onnx", nets.PLAIN)
    np.savez(folder / "plain.npz", x=np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8))
    found = deployed(folder, source="plain.onnx", samples="plain.npz", keep=folder / "kept.npz")
    assert found.exit_code == 4
    assert "nothing in this network" in found.error.what
    assert not (folder / "kept.npz").exists()
