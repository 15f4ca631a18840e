"""A bundle whose engine was deployed for a place that is no more, or is another one here."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from PIL import Image

import roadworthy
from roadworthy.bundle.content import BundleContent, ContentCase, ContentItem
from roadworthy.bundle.reader import read_bundle
from roadworthy.bundle.writer import write_bundle
from roadworthy.pipeline.deploy import deploy
from roadworthy.pipeline.request import make_request
from tests import models
from tests.unit.cli import made

SEGMENTS = """g (float[1, 1, 8, 8] image) => (float[1, 2, 8, 8] y) { y = Conv(image, w, b) }"""
CONTRACT = """{"schema": "roadworthy/preprocess/1",
"inputs": {"image": [{"op": "decode"}, {"op": "colour", "to": "grey"},
                     {"op": "layout", "to": "CHW"}, {"op": "dtype", "to": "float32"}]},
"task": {"kind": "segmentation", "output": "y", "classes": ["dark", "light"]}}"""


def interpreter(folder):
    """Write another way to this interpreter, one that can be renamed."""
    folder.mkdir()
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def segmenting(place, *targets):
    """Deploy a network that tells dark pixels from light ones."""
    weights = np.array([-1, 1], np.float32).reshape(2, 1, 1, 1)
    initializers = {"w": weights, "b": np.array([100, -100], np.float32)}
    onnx.save(models.proto(SEGMENTS, initializers), place / "net.onnx")
    (place / "images").mkdir()
    (place / "images" / "preprocess.json").write_text(CONTRACT)
    shades = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(shades).save(place / "images" / "a.png")
    out = place / "b.rw"
    roadworthy.deploy(
        place / "net.onnx", place / "images", targets=targets, out=out, measure_seconds=0.0
    )
    return out


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`b.rw` was deployed for `old/python`, which is called `new/python` since then."""
    place = tmp_path_factory.mktemp("place")
    python = interpreter(place / "old")
    segmenting(place, f"onnxruntime@python={python}")
    python.parent.rename(place / "new")
    return place


@pytest.fixture(scope="module")
def old(place):
    return f"onnxruntime@python={place}/old/python"


@pytest.fixture(params=["onnxruntime", "onnxruntime@python={}/new/python"])
def target(request, place):
    return request.param.format(place)


def words(command, place):
    """Return a command line for the bundle, without its target."""
    return {
        "run": ("run", place / "b.rw", "--samples", place / "images", "--out", place / "a.npz"),
        "verify": ("verify", place / "b.rw"),
        "rebuild": ("verify", place / "b.rw", "--rebuild"),
        "bench": ("bench", place / "b.rw", "--seconds", "0.1"),
        "predict": ("predict", place / "b.rw", place / "images"),
        "profile": ("profile", place / "b.rw", "--runs", "2"),
    }[command]


COMMANDS = ["run", "verify", "rebuild", "bench", "predict", "profile"]


@pytest.mark.parametrize("name", COMMANDS)
def test_it_runs_where_the_target_says(command, place, target, name):
    ended = command(*words(name, place), "--target", target, "--json")
    assert ended.code == 0, ended


def test_where_it_ran_is_said(command, place, old, target):
    ended = command(*words("run", place), "--target", target, "--json")
    assert ended.document["result"]["target"] == target
    ended = command(*words("verify", place), "--target", target, "--json")
    (judged,) = ended.document["result"]["targets"]
    assert judged["target"] == target
    assert judged["notes"] == [f"deployed for {old}"]
    assert (
        f"note    deployed for {old}" in command("verify", place / "b.rw", "--target", target).out
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_without_a_target_the_remedy_is_the_command_that_works(command, place, name):
    ended = command(*words(name, place), "--json")
    assert ended.code == 4
    assert "--target onnxruntime for here" in ended.error["remedy"]
    assert "--target onnxruntime@python=/path/to/python" in ended.error["remedy"]


def test_another_place_that_is_not_there_either_is_said_as_it_is(command, place):
    there = f"onnxruntime@python={place}/nowhere/python"
    ended = command(*words("run", place), "--target", there, "--json")
    assert ended.code == 4
    assert "nowhere/python" in ended.error["where"]
    assert "--target" not in ended.error["remedy"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_cannot_be_read(command, place, name):
    ended = command(*words(name, place), "--target", "onnxruntime@nowhere", "--json")
    assert ended.code == 2
    assert "@python=" in ended.error["remedy"]


@pytest.mark.parametrize("wanted", ["openvino", "onnxruntime:cuda", "onnxruntime==1.2"])
def test_another_backend_device_or_version_is_another_engine(command, place, old, wanted):
    ended = command(*words("run", place), "--target", wanted, "--json")
    assert ended.code == 2
    assert f"the bundle holds no engine for '{wanted}'" in ended.error["what"]
    assert old in ended.error["remedy"]


@pytest.mark.parametrize("rebuild", [False, True])
def test_loaded_it_runs_there_too_and_its_certificate_stays(place, old, target, rebuild):
    feed = {"image": np.full((1, 1, 8, 8), 200, np.float32)}
    with roadworthy.load(place / "b.rw", target, rebuild=rebuild) as model:
        (answers,) = model.run(feed).values()
        assert model.certificate["target"] == old
    assert answers[0, :, 0, 0].tolist() == [-100, 100]
    with pytest.raises(roadworthy.UnavailableError, match="--target onnxruntime for here"):
        roadworthy.load(place / "b.rw", rebuild=rebuild)
    assert roadworthy.verify_bundle(place / "b.rw", target).exit_code == 0


def test_an_exact_match_comes_first_and_several_others_are_refused_by_name(command, tmp_path):
    first, second = (interpreter(tmp_path / name) for name in ("first", "second"))
    there = [f"onnxruntime@python={python}" for python in (first, second)]
    bundle = segmenting(tmp_path, *there)
    assert [read_bundle(bundle).record(target).target.where for target in there] == [
        f"python={first}",
        f"python={second}",
    ]
    with roadworthy.load(bundle, there[1]) as model:
        assert model.certificate["target"] == there[1]
    for target in ("onnxruntime", f"onnxruntime@python={sys.executable}"):
        ended = command(*words("run", tmp_path), "--target", target, "--json")
        assert ended.code == 2
        assert all(each in ended.error["what"] for each in there)
    first.unlink()
    second.unlink()
    results = command("verify", bundle, "--json").document["result"]["targets"]
    for result, other in zip(results, reversed(there), strict=True):
        assert f"choose it at another place: --target {other}" in result["error"]["remedy"]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A network deployed for three runtimes, the second of which is gone since then."""
    folder = tmp_path_factory.mktemp("three")
    python = interpreter(folder / "old")
    model = made.write_net_onnx(folder / "net.onnx", made.weights())
    targets = ["onnxruntime", f"onnxruntime@python={python}", "openvino"]
    feed = {"image": made.images()[0]}
    request = make_request(model, feed, targets=targets, measure_seconds=0.0)
    results = deploy(request).require().results
    python.unlink()
    return model, feed, results


def several(place, three, *, wrong=False):
    """Bundle those engines; `wrong` spoils the first."""
    model, feed, (first, *others) = three
    if wrong:
        zero = made.write_net_onnx(place / "zero.onnx", made.weights(), zero=True).read_bytes()
        first = replace(first, engine=replace(first.engine, files={"model.onnx": zero}))
    answers = made.net_in_numpy(feed["image"], made.weights()).astype(np.float32)
    items = [ContentItem("s0", feed, {"output": answers})]
    content = BundleContent(
        signature=first.engine.signature,
        model={"model.onnx": model.read_bytes()},
        preprocess=None,
        engines=[(result.engine, result.certificate) for result in (first, *others)],
        cases=[ContentCase("samples", False, {}, items)],
    )
    write_bundle(place / "b.rw", content)
    return place / "b.rw", [str(result.target) for result in (first, *others)]


@pytest.mark.parametrize("anew", [(), ("--rebuild",)])
def test_engines_that_can_be_had_are_judged_though_one_cannot(command, three, tmp_path, anew):
    bundle, targets = several(tmp_path, three)
    ended = command("verify", bundle, *anew, "--json")
    assert ended.code == 4
    assert ended.error["code"] == "unavailable"
    result = ended.document["result"]
    assert result["passed"] is False
    first, lost, last = result["targets"]
    assert [item["target"] for item in (first, lost, last)] == targets
    assert [item["exit_code"] for item in (first, lost, last)] == [0, 4, 0]
    for item in (first, last):
        assert item["passed"] is True
        assert item["error"] is None
        assert item["verdict"]["cases"]
    assert lost["passed"] is False
    assert lost["verdict"] is None
    assert lost["error"] == ended.error
    assert "--target onnxruntime" in lost["error"]["remedy"]
    assert list(first) == list(lost)


def test_each_is_shown_and_the_one_of_the_exit_code_at_the_end(command, three, tmp_path):
    bundle, targets = several(tmp_path, three)
    ended = command("verify", bundle)
    assert ended.code == 4
    assert "verified  onnxruntime, here" in ended.out
    assert f"NOT judged  {targets[1]}\n" in ended.out
    assert "verified  openvino, here" in ended.out
    assert "No such file or directory" in ended.err
    assert "choose it at another place: --target onnxruntime" in ended.err
    with pytest.raises(roadworthy.UnavailableError, match="No such file or directory"):
        roadworthy.verify_bundle(bundle)


def test_wrong_answers_outrank_what_is_not_to_be_had(command, three, tmp_path):
    bundle, targets = several(tmp_path, three, wrong=True)
    ended = command("verify", bundle, "--json")
    assert ended.code == 3
    assert ended.error["code"] == "wrong-answers"
    found = [item["exit_code"] for item in ended.document["result"]["targets"]]
    assert found == [3, 4, 0]
    spoken = command("verify", bundle)
    assert "NOT verified  onnxruntime, here" in spoken.out
    (line,) = [line for line in spoken.out.splitlines() if line.startswith("NOT judged")]
    assert line.startswith(f"NOT judged  {targets[1]}: no worker can be started there: ")
    assert "remedy  choose it at another place: --target onnxruntime" in spoken.out
    with pytest.raises(roadworthy.WrongAnswersError):
        roadworthy.verify_bundle(bundle)


def test_one_that_was_named_stays_an_error(command, three, tmp_path):
    bundle, targets = several(tmp_path, three)
    ended = command("verify", bundle, "--target", targets[1], "--json")
    assert ended.code == 4
    assert ended.document["result"] is None
    assert command("verify", bundle, "--target", "openvino", "--json").code == 0
