"""What holds for every contract and every file."""

from __future__ import annotations

import io
import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from roadworthy.core.errors import InputError, SamplesError
from roadworthy.core.jsonable import dumps
from roadworthy.vision.decode import decode
from roadworthy.vision.geometry import UNSEEN
from roadworthy.vision.preprocess import Preprocess

SCHEMA = "roadworthy/preprocess/1"

finite = st.floats(-1e6, 1e6, allow_nan=False)
side = st.integers(1, 40)
method = st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos", "hamming", "area"])
byte = st.integers(0, 255)


def _fit(mode: str, **more: st.SearchStrategy) -> st.SearchStrategy:
    return st.fixed_dictionaries(
        {
            "op": st.just("fit"),
            "mode": st.just(mode),
            "size": st.lists(side, min_size=2, max_size=2),
        }
        | more
    )


fits = st.one_of(
    _fit("stretch", method=method),
    _fit("crop", method=method),
    _fit("shorter", method=method),
    _fit("letterbox", method=method, fill=byte, anchor=st.sampled_from(["centre", "top-left"])),
    _fit("centre", fill=byte),
)
arithmetic = st.one_of(
    st.fixed_dictionaries({"op": st.just("scale"), "by": st.floats(1e-3, 10)}),
    st.fixed_dictionaries(
        {
            "op": st.just("mean_std"),
            "mean": st.lists(finite, min_size=1, max_size=1) | finite,
            "std": st.floats(1e-3, 1e3),
        }
    ),
    st.just({"op": "instance_norm"}),
    st.fixed_dictionaries({"op": st.just("clip"), "low": st.just(-2.5), "high": st.floats(0, 9)}),
)


@st.composite
def contracts(draw: st.DrawFn) -> dict:
    """A contract in an order that is allowed."""
    colour = draw(st.sampled_from(["grey", "rgb", "bgr"]))
    return {
        "schema": SCHEMA,
        "inputs": {
            "image": [
                {"op": "decode"},
                {"op": "colour", "to": colour},
                *draw(st.lists(fits, max_size=2)),
                *draw(st.lists(arithmetic, max_size=3)),
                {"op": "layout", "to": draw(st.sampled_from(["CHW", "HWC"]))},
                {"op": "dtype", "to": "float32"},
            ]
        },
    }


@st.composite
def pictures(draw: st.DrawFn) -> np.ndarray:
    shape = (draw(side), draw(side), *draw(st.sampled_from([(), (3,)])))
    return np.random.default_rng(draw(byte)).integers(0, 256, shape, dtype=np.uint8)


def _encoded(image: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form)
    return buffer.getvalue()


@given(contracts())
def test_json_round_trips_exactly(data):
    first = Preprocess.from_json(data)
    assert first.to_json() == data
    assert dumps(Preprocess.from_json(first.to_json())) == dumps(first)


@settings(deadline=None)
@given(contracts(), pictures())
def test_every_valid_contract_gives_one_finite_float32_picture_of_the_size_it_states(data, image):
    preprocess = Preprocess.from_json(data)
    feed, geometry = preprocess.apply_bytes_with_geometry(_encoded(image), "p")
    out = feed["image"]
    hwc = data["inputs"]["image"][-2]["to"] == "HWC"
    size = out.shape[1:3] if hwc else out.shape[2:]
    assert out.dtype == np.float32
    assert out.ndim == 4
    assert np.isfinite(out).all()
    assert geometry.original == image.shape[:2]
    assert geometry.network == size
    fits = [step for step in data["inputs"]["image"] if step["op"] == "fit"]
    if fits and fits[-1]["mode"] != "shorter":
        assert list(size) == fits[-1]["size"]


@settings(deadline=None)
@given(pictures(), st.data())
def test_a_letterboxed_picture_comes_back_whole_and_the_padding_never(image, data):
    """Enlarged by nearest-neighbour, labelled by where the padding is, and restored."""
    size = [data.draw(st.integers(40, 90)), data.draw(st.integers(40, 90))]
    step = {"op": "fit", "mode": "letterbox", "size": size, "method": "nearest", "fill": 255}
    preprocess = Preprocess.from_json(
        {
            "schema": SCHEMA,
            "inputs": {
                "x": [
                    {"op": "decode"},
                    {"op": "colour", "to": "grey"},
                    step,
                    {"op": "layout", "to": "HWC"},
                    {"op": "dtype", "to": "uint8"},
                ]
            },
        }
    )
    grey = np.minimum(image if image.ndim == 2 else image[..., 0], 254)
    feed, geometry = preprocess.apply_bytes_with_geometry(_encoded(grey), "p")
    np.testing.assert_array_equal(geometry.restore(feed["x"][0, :, :, 0]), grey)


@settings(deadline=None)
@given(pictures(), contracts())
def test_restoring_gives_the_originals_size_and_only_labels_that_were_there(image, data):
    feed, geometry = Preprocess.from_json(data).apply_bytes_with_geometry(_encoded(image), "p")
    labels = np.arange(np.prod(geometry.network)).reshape(geometry.network)
    restored = geometry.restore(labels)
    assert restored.shape == image.shape[:2]
    assert set(np.unique(restored)) <= {UNSEEN, *labels.ravel().tolist()}
    assert feed


_DONORS = [
    _encoded(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), form)
    for form in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
    for shape in ((9, 7), (6, 8, 3))
]


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(_DONORS),
    st.lists(st.tuples(st.integers(0, 10_000), byte), max_size=6),
    st.integers(0, 400),
)
def test_a_damaged_file_is_a_picture_or_one_clear_refusal(donor, changes, cut):
    raw = bytearray(donor)
    for at, value in changes:
        raw[at % len(raw)] = value
    raw = raw[: max(0, len(raw) - cut)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            pixels = decode(bytes(raw), "p", alpha="drop")
        except SamplesError as error:
            assert error.where == "p"
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] in (1, 3)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(contracts(), st.data())
def test_a_contract_with_one_value_replaced_is_read_or_refused_with_its_place(data, draw):
    step = draw.draw(st.sampled_from(data["inputs"]["image"]))
    field = draw.draw(st.sampled_from([*step, "extra"]))
    changed = {**step, field: draw.draw(json_values)}
    steps = [changed if item is step else item for item in data["inputs"]["image"]]
    try:
        read = Preprocess.from_json({**data, "inputs": {"image": steps}}, "f.json")
    except InputError as error:
        assert error.where.startswith("f.json: inputs.image")
        assert error.remedy
    else:
        assert read.to_json()["inputs"]["image"] == steps
