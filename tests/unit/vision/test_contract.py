"""Reading a preprocess: what is accepted round-trips, what is wrong is named with its place."""

from __future__ import annotations

import json
import re

import pytest

from roadworthy.core.errors import InputError, SamplesError
from roadworthy.core.jsonable import dumps
from roadworthy.vision.preprocess import STEPS, Preprocess
from tests.unit.vision.made import SCHEMA, TASK, contract, encoded, picture, steps

FULL = {
    "schema": SCHEMA,
    "inputs": {
        "image": [
            {"op": "decode", "alpha": "white", "depth": 8},
            {"op": "colour", "to": "bgr"},
            {
                "op": "fit",
                "size": [320, 576],
                "mode": "letterbox",
                "method": "bilinear",
                "fill": [114, 114, 114],
                "anchor": "top-left",
            },
            {"op": "fit", "size": 256, "mode": "shorter", "method": "area"},
            {"op": "scale", "by": 1 / 255},
            {"op": "mean_std", "mean": [0.485, 0.456, 0.406], "std": 0.225},
            {"op": "instance_norm"},
            {"op": "clip", "low": -1, "high": 1.5},
            {"op": "layout", "to": "CHW"},
            {"op": "dtype", "to": "float32"},
        ],
        "small": steps(colour="grey"),
    },
    "task": TASK,
}


def read(tmp_path, data, name="preprocess.json"):
    path = tmp_path / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return Preprocess.read(path)


def test_every_step_round_trips_exactly(tmp_path):
    first = read(tmp_path, FULL)
    assert first.to_json() == FULL
    assert {step["op"] for step in FULL["inputs"]["image"]} == set(STEPS)
    second = read(tmp_path, dumps(first), "again.json")
    assert second == first
    assert dumps(second) == dumps(first)


def test_contracts_differ_when_a_number_differs():
    assert contract({"op": "scale", "by": 1}) == contract({"op": "scale", "by": 1})
    assert contract({"op": "scale", "by": 1}) != contract({"op": "scale", "by": 2})


def test_a_task_may_be_left_out(tmp_path):
    assert read(tmp_path, {"schema": SCHEMA, "inputs": {"x": steps()}}).task is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "isn't JSON"),
        ("{", "isn't JSON"),
        ("[" * 100_000, "isn't JSON"),
        ('{"schema": "a", "schema": "b"}', "'schema' is written twice"),
        ('{"schema": NaN}', "NaN isn't a number"),
        ("[]", "not an object"),
        ('{"schema": "roadworthy/preprocess/2"}', "preprocess/2"),
        ("{}", "schema None"),
        (f'{{"schema": "{SCHEMA}"}}', "lacks the field 'inputs'"),
        (f'{{"schema": "{SCHEMA}", "inputs": []}}', "'inputs' isn't an object"),
        (f'{{"schema": "{SCHEMA}", "inputs": {{}}}}', "names no input"),
        (f'{{"schema": "{SCHEMA}", "inputs": {{}}, "tsk": 1}}', "no field 'tsk'"),
        (f'{{"schema": "{SCHEMA}", "inputs": {{"x": []}}}}', "aren't a list"),
    ],
)
def test_a_file_that_is_no_contract(tmp_path, text, what):
    with pytest.raises(InputError, match=what) as caught:
        read(tmp_path, text)
    assert caught.value.where.startswith(str(tmp_path / "preprocess.json"))
    assert caught.value.remedy


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="isn't JSON"):
        Preprocess.read(tmp_path / "bytes.json")
    with pytest.raises(InputError, match="can't be read"):
        Preprocess.read(tmp_path / "none.json")


FIT = {"op": "fit", "size": [4, 4], "mode": "stretch", "method": "area"}


@pytest.mark.parametrize(
    ("step", "what", "remedy"),
    [
        ({"op": "blur"}, "no step 'blur'", "decode, colour, fit"),
        ({"to": "grey"}, 'no "op"', "decode, colour, fit"),
        ("decode", 'no "op"', "decode, colour, fit"),
        ({"op": ["decode"]}, "no step", "decode, colour, fit"),
        ({"op": "scale"}, "lacks the field 'by'", "op, by"),
        ({"op": "scale", "by": 1, "to": 2}, "no field 'to'", "op, by"),
        ({"op": "scale", "by": "1"}, "'by' is '1'", "finite number"),
        ({"op": "scale", "by": True}, "'by' is True", "finite number"),
        ({"op": "scale", "by": 10**400}, "'by' is 1000", "finite number"),
        ({"op": "scale", "by": 0}, "'by' is 0", "erase"),
        ({"op": "scale", "by": None}, "null", "leave it out"),
        ({"op": "mean_std", "mean": [1, 2], "std": 1}, "2 numbers.*3 channel", "order"),
        ({"op": "mean_std", "mean": 0, "std": [1, 0, 1]}, "isn't above 0", "more"),
        ({"op": "mean_std", "mean": [], "std": 1}, r"'mean' is \[\]", "one per channel"),
        ({"op": "mean_std", "mean": [[1]], "std": 1}, "'mean' is", "one per channel"),
        ({"op": "clip", "low": 1, "high": 1}, "not below", "exchange"),
        ({**FIT, "size": [0, 4]}, r"'size' is \[0, 4\]", "whole pixels from 1"),
        ({**FIT, "size": [4.0, 4]}, "'size' is", "whole pixels"),
        ({**FIT, "size": 4}, "'size' is 4", r"\[height, width\]"),
        ({**FIT, "size": [4, 4, 3]}, "'size' is", r"\[height, width\]"),
        ({**FIT, "mode": "squash"}, "'mode' is 'squash'", "stretch.*letterbox.*crop"),
        ({**FIT, "method": "cubic"}, "'method' is 'cubic'", "nearest.*bilinear.*bicubic"),
        ({"op": "fit", "size": [4, 4], "mode": "crop"}, "'method' is None", "bilinear"),
        ({**FIT, "fill": 3}, "'fill' means nothing in mode 'stretch'", "letterbox"),
        ({**FIT, "anchor": "centre"}, "'anchor' means nothing", "letterbox"),
        ({**FIT, "mode": "centre"}, "'method' means nothing", "every other"),
        ({**FIT, "mode": "letterbox", "fill": 0.5}, "whole numbers from 0 to 255", "order"),
        ({**FIT, "mode": "letterbox", "fill": 300}, "whole numbers from 0 to 255", "order"),
        ({**FIT, "mode": "letterbox", "fill": [1, 2]}, "2 numbers.*3 channel", "order"),
        ({"op": "colour", "to": "grey"}, "colour was set already", "order"),
        ({"op": "decode"}, "only be the first", "order"),
        ({"op": "dtype", "to": "float16"}, "must be the last", "order"),
        ({"op": "dtype", "to": "int8"}, "'to' is 'int8'", "float32.*uint8"),
        ({"op": "layout", "to": "NCHW"}, "'to' is 'NCHW'", "CHW.*HWC"),
    ],
)
def test_a_wrong_step_is_named_with_file_input_and_index(tmp_path, step, what, remedy):
    with pytest.raises(InputError, match=what) as caught:
        read(tmp_path, {"schema": SCHEMA, "inputs": {"image": steps(step)}})
    assert caught.value.where.startswith(f"{tmp_path / 'preprocess.json'}: inputs.image[2]")
    assert re.search(remedy, caught.value.remedy)


@pytest.mark.parametrize("depth", [8.0, True, 12, "8"])
def test_a_depth_is_8_or_16_and_nothing_that_merely_equals_it(depth):
    step = {"op": "decode", "depth": depth}
    with pytest.raises(InputError, match="'depth' is"):
        Preprocess.from_json({"schema": SCHEMA, "inputs": {"x": [step, *steps()[1:]]}})


OPS = {
    "decode": {"op": "decode"},
    "colour": {"op": "colour", "to": "grey"},
    "scale": {"op": "scale", "by": 2},
    "fit": FIT,
    "layout": {"op": "layout", "to": "CHW"},
    "dtype": {"op": "dtype", "to": "float32"},
    "uint8": {"op": "dtype", "to": "uint8"},
}


@pytest.mark.parametrize(
    ("order", "what", "where"),
    [
        ("layout decode colour dtype", "first step must be decode", "x[0]"),
        ("decode layout colour dtype", "layout must come after colour", "x[1]"),
        ("decode colour layout fit dtype", "fit must come before layout", "x[3]"),
        ("decode colour layout layout dtype", "layout was set already", "x[3]"),
        ("decode colour layout dtype dtype", "dtype was set already", "x[4]"),
        ("decode colour scale layout uint8", "cut off fractions", "x[4]"),
        ("decode colour uint8 layout", "must be the last", "x[2]"),
        ("decode scale", "there is no colour step", "x"),
        ("decode colour dtype", "there is no layout step", "x"),
        ("decode colour layout", "there is no dtype step", "x"),
    ],
)
def test_an_order_that_cannot_work(order, what, where):
    with pytest.raises(InputError, match=what) as caught:
        Preprocess.from_json(
            {"schema": SCHEMA, "inputs": {"x": [OPS[op] for op in order.split()]}}, "f.json"
        )
    assert caught.value.where.split(" (")[0] == f"f.json: inputs.{where}"
    assert "order is decode, colour" in caught.value.remedy


def test_a_contract_made_in_python_is_checked_too():
    good = contract().inputs["image"]
    with pytest.raises(InputError, match="first step"):
        Preprocess({"image": good[1:]})


class TestApply:
    def test_every_input_is_made_from_the_picture(self, tmp_path):
        (tmp_path / "a.png").write_bytes(encoded(picture(6, 4)))
        pre = read(
            tmp_path,
            {"schema": SCHEMA, "inputs": {"a": steps(), "b": steps(FIT, colour="grey")}},
        )
        feed = pre.apply(tmp_path / "a.png")
        assert {name: array.shape for name, array in feed.items()} == {
            "a": (1, 3, 6, 4),
            "b": (1, 1, 4, 4),
        }

    def test_a_network_without_a_batch_axis_gets_none(self):
        raw = encoded(picture(6, 4))
        assert contract().apply_bytes(raw, "p", {"image": 3})["image"].shape == (3, 6, 4)
        assert contract().apply_bytes(raw, "p", {"image": 4})["image"].shape == (1, 3, 6, 4)

    def test_an_input_that_is_no_picture_is_refused(self):
        with pytest.raises(SamplesError, match="has 2 axes"):
            contract().apply_bytes(encoded(picture()), "p", {"image": 2})

    def test_the_message_names_the_file(self, tmp_path):
        path = tmp_path / "a.png"
        path.write_bytes(b"nonsense")
        with pytest.raises(SamplesError, match="isn't an image") as caught:
            contract().apply(path)
        assert caught.value.where == str(path)

    def test_results_are_the_callers_to_change(self):
        raw = encoded(picture())
        first = contract().apply_bytes(raw, "p")["image"]
        first[:] = -1
        assert (contract().apply_bytes(raw, "p")["image"] >= 0).all()
