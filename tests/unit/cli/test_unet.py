"""The example network, from its checkpoint through the command line to pictures and a page."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

import roadworthy
from tests.unit.cli import made

UNET = made.ROOT / "examples" / "unet"
SCENES = ("scene-03.png", "scene-08.png")
SIDE = 128


def middle(path):
    """A quarter of a picture: four times as quick, and as telling."""
    with Image.open(path) as whole:
        left, top = ((side - SIDE) // 2 for side in whole.size)
        return whole.crop((left, top, left + SIDE, top + SIDE))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two scenes with their contract, and the bundle that was made with them."""
    folder = tmp_path_factory.mktemp("unet")
    scenes = folder / "scenes"
    scenes.mkdir()
    shutil.copy(UNET / "scenes" / "preprocess.json", scenes)
    for name in SCENES:
        middle(UNET / "scenes" / name).save(scenes / name)
    ended = made.roadworthy(
        *("deploy", f"{UNET}/model.py:unet", "--weights", UNET / "unet.safetensors"),
        *("--samples", scenes, "--measure-seconds", "1", "--out", folder / "unet.rw", "--json"),
    )
    assert ended.code == 0, ended
    (target,) = ended.document["result"]["targets"]
    found = target["certificate"]
    assert found["labels"] == ["one shape only"]
    assert found["comparison"]["ratio"] > 0
    assert found["samples"]["kind"] == "images"
    (case,) = found["verdict"]["cases"]
    assert [output["name"] for output in case["outputs"]] == ["logits"]
    assert ended.document["result"]["bundle"] == str(folder / "unet.rw")
    return folder


def test_verify_repeats_it_from_the_image_files(command, place):
    ended = command("verify", place / "unet.rw", "--json")
    assert ended.code == 0, ended
    (target,) = ended.document["result"]["targets"]
    checks = {check["name"]: check["passed"] for check in target["verdict"]["self_checks"]}
    assert checks["preprocess"] is True
    assert target["notes"] == []


def test_the_bundle_answers_as_the_exact_masks_do(place):
    """Foreground IoU of what a user of the bundle gets, over the scenes' pixels."""
    both = either = 0
    with roadworthy.load(place / "unet.rw") as model:
        assert model.contract is not None
        task = model.contract.task
        assert task is not None
        for name in SCENES:
            labels = task.labels(model.run(model.preprocess(place / "scenes" / name)))
            truth = np.asarray(middle(UNET / "masks" / name).convert("L")) > 0
            got = np.squeeze(labels) > 0
            assert got.shape == truth.shape
            both += int((got & truth).sum())
            either += int((got | truth).sum())
    assert both / either >= 0.90


def test_predict_writes_a_picture(command, place):
    picture = place / "one.png"
    ended = command(
        *("predict", place / "unet.rw", place / "scenes" / SCENES[0], "--save", picture, "--json")
    )
    assert ended.code == 0, ended
    (seen,) = ended.document["result"]["images"]
    assert seen["saved"] == str(picture)
    assert sum(seen["shares"].values()) == pytest.approx(1.0)
    assert 0.01 < seen["shares"]["object"] < 0.9
    with Image.open(picture) as file, Image.open(place / "scenes" / SCENES[0]) as scene:
        drawn = np.asarray(file.convert("RGB")).astype(int)
        assert drawn.shape[0] >= scene.height
        assert drawn.shape[1] >= scene.width
    # A grey scene came in; the mask is orange.
    coloured = np.abs(drawn[..., 0] - drawn[..., 2]) > 20
    assert 0.005 < coloured.mean() < 0.9


def test_predict_of_a_folder(command, place):
    ended = command("predict", place / "unet.rw", place / "scenes", "--save", place / "pictures")
    assert ended.code == 0, ended
    assert sorted(item.name for item in (place / "pictures").iterdir()) == sorted(SCENES)
    assert all(name in ended.out for name in SCENES)
    ended = command("predict", place / "unet.rw", place / "scenes", "--save", place / "sheet.png")
    assert ended.code == 0
    with Image.open(place / "sheet.png") as sheet:
        assert sheet.width > 2 * 64


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tif", ".webp", ".ppm"])
def test_predict_writes_every_kind_of_picture_that_it_takes(command, place, suffix):
    picture = place / f"kind{suffix}"
    scene = place / "scenes" / SCENES[0]
    assert command("predict", place / "unet.rw", scene, "--save", picture).code == 0
    with Image.open(picture) as file:
        file.load()


def test_predict_never_writes_over_what_it_reads(command, place):
    before = made.listing(place / "scenes")
    scene = place / "scenes" / SCENES[0]
    for images, save in [
        (scene, scene),
        (place / "scenes", place / "scenes"),
        (place / "scenes", scene),
        (scene, place / "scenes" / ".." / "scenes" / SCENES[0]),
    ]:
        ended = command("predict", place / "unet.rw", images, "--save", save, "--json")
        assert ended.code == 2
        assert "overwrite" in ended.error["what"]
    assert made.listing(place / "scenes") == before


def test_predict_keeps_pictures_of_equal_stems_apart(command, place):
    images = place / "equal stems"
    images.mkdir()
    with Image.open(place / "scenes" / SCENES[0]) as scene:
        scene.save(images / "a.png")
        scene.save(images / "a.bmp")
    ended = command("predict", place / "unet.rw", images, "--save", place / "apart", "--json")
    assert ended.code == 0
    assert len(list((place / "apart").iterdir())) == 2
    assert len({item["saved"] for item in ended.document["result"]["images"]}) == 2


def test_predict_refuses_before_it_works(command, place):
    scene = place / "scenes" / SCENES[0]
    (place / "notes.txt").write_text("mine")
    (place / "no images").mkdir(exist_ok=True)
    before = made.listing(place)
    for images, save in [
        (scene, place / "no" / "picture.png"),
        (scene, place / "picture.doc"),
        (place / "scenes", place / "no" / "pictures"),
        (place / "scenes", place / "notes.txt"),
        (place / "notes.txt", place / "picture.png"),
        (place / "no images", place / "pictures of nothing"),
        (place / "nowhere", place / "pictures of nothing"),
    ]:
        ended = command("predict", place / "unet.rw", images, "--save", save, "--json")
        assert ended.code == 2, (images, save)
        assert ended.error["what"]
    assert made.listing(place) == before


def test_an_image_of_another_size_is_refused_with_what_to_do(command, place):
    Image.new("L", (50, 50), 90).save(place / "small.png")
    ended = command("predict", place / "unet.rw", place / "small.png", "--json")
    assert ended.code == 2
    assert "small.png" in ended.error["where"]
    assert "--inputs" in ended.error["remedy"]


def test_report(command, place):
    ended = command("report", place / "unet.rw", "--out", place / "page.html")
    assert ended.code == 0, ended
    page = (place / "page.html").read_text()
    assert "logits" in page
    assert "data:image/png" in page
    assert "<script src" not in page


def test_bundle_show_and_extract(command, place):
    shown = command("bundle", "show", place / "unet.rw")
    assert shown.code == 0
    assert "onnxruntime, fp32: verified" in shown.out
    ended = command(*("bundle", "extract", place / "unet.rw", "--out", place / "plain", "--json"))
    assert ended.code == 0
    assert {"model.onnx", "contract.json", "preprocess.json"} <= set(
        ended.document["result"]["files"]
    )
    for name in ended.document["result"]["files"]:
        assert (place / "plain" / name).is_file()


def test_bench_of_the_bundle_alone_and_beside_its_model(command, place):
    ended = command("bench", place / "unet.rw", "--seconds", "0.5", "--json")
    assert ended.code == 0, ended
    assert ended.document["result"]["latency"]["p50_ms"] > 0
    assert ended.document["result"]["comparisons"] == []
    assert command("bundle", "extract", place / "unet.rw", "--out", place / "parts").code == 0
    beside = command(
        *("bench", place / "unet.rw", place / "parts" / "model.onnx"),
        *("--seconds", "0.5", "--threads", "1"),
    )
    assert beside.code == 0, beside
    assert "than" in beside.out
