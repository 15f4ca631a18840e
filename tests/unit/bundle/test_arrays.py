"""Arrays come back as they were: every dtype, every shape; and strangers' files do no harm."""

import io
import zipfile

import ml_dtypes
import numpy as np
import pytest

from roadworthy.bundle import arrays
from roadworthy.bundle.zipform import ZipWriter
from roadworthy.core.errors import BundleError, UsageError


def the_same(one, two):
    return (
        one.dtype == two.dtype
        and one.shape == two.shape
        and (one.tolist() if one.dtype == object else one.tobytes())
        == (two.tolist() if two.dtype == object else two.tobytes())
    )


@pytest.mark.parametrize("dtype", sorted(arrays.DTYPES - {"str"}))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_every_dtype_and_shape_comes_back(dtype, shape):
    known = getattr(ml_dtypes, dtype) if dtype in arrays.EXTENDED else dtype
    array = np.ones(shape, dtype=known)
    back = arrays.unpack(arrays.pack({"x": array}), "x.npz")["x"]
    assert the_same(array, back)
    assert back.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", "longer", ""]),
        np.array("alone"),
        np.empty((0, 2), dtype="<U3"),
        np.array([["ünï", "日本"]], dtype=object),
        np.array("nul at the end\0", dtype=object),
        np.array(["a\0", "b" * 10_000], dtype=object),
        np.empty((2, 0), dtype=object),
    ],
)
def test_text_comes_back(array):
    assert the_same(array, arrays.unpack(arrays.pack({"t": array}), "x")["t"])


def test_text_of_any_length_comes_back_as_onnx_runtime_gives_it():
    given = np.array(["a", "bb"], dtype=np.dtypes.StringDType())
    back = arrays.unpack(arrays.pack({"t": given}), "x")["t"]
    assert back.dtype == object
    assert back.tolist() == ["a", "bb"]


def test_bits_are_kept_nan_payloads_and_minus_zero_too():
    bits = np.array([0x7FC01234, 0xFF812345, 0x80000000], dtype=np.uint32)
    back = arrays.unpack(arrays.pack({"x": bits.view(np.float32)}), "x")["x"]
    assert back.view(np.uint32).tolist() == bits.tolist()


def test_strides_and_byte_order_do_not_matter():
    array = np.arange(12, dtype=">i4").reshape(3, 4).T[::2]
    back = arrays.unpack(arrays.pack({"x": array}), "x")["x"]
    assert back.flags.c_contiguous
    assert back.dtype == np.dtype("<i4")
    assert back.tolist() == array.tolist()


def test_the_same_arrays_give_the_same_bytes_in_any_order():
    one = {"b": np.zeros(3), "a": np.ones((2, 2), order="F")}
    two = {"a": np.ones((2, 2)), "b": np.zeros(3)}
    assert arrays.pack(one) == arrays.pack(two)


def test_numpy_reads_the_file_without_pickle():
    data = arrays.pack(
        {
            "a/b:0": np.arange(6.0).reshape(2, 3),
            "half": np.array([1.5, -2], dtype=ml_dtypes.bfloat16),
            "scalar": np.array(7),
        }
    )
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        assert file["a/b:0"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert file["half"].view(ml_dtypes.bfloat16).tolist() == [1.5, -2]
        assert file["scalar"].shape == ()


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}], dtype=object),
        np.array([b"bytes"], dtype=object),
        np.array([None], dtype=object),
        np.array([1, "a"], dtype=object),
        np.array(["\ud800"], dtype=object),
        np.zeros(2, dtype=[("a", "f4")]),
        np.array(["2026-01-01"], dtype="datetime64[D]"),
        np.array([b"abc"]),
        np.zeros(2, dtype=np.longdouble),
    ],
)
def test_what_has_no_portable_form_is_refused(array):
    with pytest.raises(UsageError):
        arrays.pack({"x": array})


@pytest.mark.parametrize("name", ["\udc80", "x" * 70_000])
def test_impossible_names_are_refused(name):
    with pytest.raises(UsageError):
        arrays.pack({name: np.zeros(1)})


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    file = ZipWriter(buffer)
    for name, data in members.items():
        file.add(name.replace("__", "."), data)
    file.close()
    return buffer.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"\x93NUMPY",
        npy(GOOD),
        npy(GOOD, b"\0" * 5),
        npy(GOOD.replace("(1,)", "(99999999999,)"), b"\0" * 4),
        npy(GOOD.replace("(1,)", "(0, 9999999999999999999)")),
        npy(GOOD.replace("(1,)", "(0, 4611686018427387904, 4611686018427387904)")),
        npy(GOOD.replace("(1,)", "(-1,)"), b"\0" * 4),
        npy(GOOD.replace("(1,)", "(1," + "1," * 70 + ")"), b"\0" * 4),
        npy(GOOD.replace("(1,)", "(" + "9" * 5_000 + ",)"), b"\0" * 4),
        npy(GOOD.replace("False", "True"), b"\0" * 4),
        npy(GOOD.replace("<f4", "|O8"), b"\0" * 8),
        npy(GOOD.replace("<f4", ">f4"), b"\0" * 4),
        npy(GOOD.replace("<f4", "|V4"), b"\0" * 4),
        npy(GOOD.replace("<f4", "<U0")),
        npy(GOOD.replace("'<f4'", "[('a', '<f4')]"), b"\0" * 4),
        npy(GOOD.replace("'<f4'", "__import__('os')"), b"\0" * 4),
        npy(GOOD.replace("<f4", "|b1"), b"\2"),
        npy(GOOD.replace("<f4", "<U1"), b"\xff\xff\xff\xff"),
        npy("(" * 9_000, b"\0" * 4),
    ],
)
def test_a_strangers_npy_is_refused(member):
    with pytest.raises(BundleError) as caught:
        arrays.unpack(npz(x__npy=member), "feed.npz")
    assert "feed.npz" in caught.value.where


@pytest.mark.parametrize(
    "special",
    [
        b"{}",
        b'{"bits": {"x": "float99"}, "text": {}}',
        b'{"bits": {"y": "bfloat16"}, "text": {}}',
        b'{"bits": {"x": "bfloat16"}, "text": {}}',
        b'{"bits": {"x": "finfo"}, "text": {}}',
        b'{"bits": {}, "text": {"x": {"shape": [], "values": ["a"]}}}',
        b'{"bits": {}, "text": {"t": {"shape": [2], "values": ["a"]}}}',
        b'{"bits": {}, "text": {"t": {"shape": [true], "values": ["a"]}}}',
        b'{"bits": {}, "text": {"t": {"shape": [-1, -1], "values": ["a"]}}}',
        b'{"bits": {}, "text": {"t": {"shape": [0, 99999999999999999999], "values": []}}}',
        b'{"bits": {}, "text": {"t": {"shape": ["1"], "values": ["a"]}}}',
        b'{"bits": {}, "text": {"t": {"shape": [1], "values": [1]}}}',
        b'{"bits": {}, "text": {}, "more": 1}',
    ],
)
def test_a_strangers_special_json_is_refused(special):
    with pytest.raises(BundleError):
        arrays.unpack(npz(x__npy=npy(GOOD, b"\0" * 4), special__json=special), "feed.npz")


def test_other_members_and_compressed_files_are_refused():
    with pytest.raises(BundleError, match="isn't an array"):
        arrays.unpack(npz(notes__txt=b"hi"), "x")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros(1000))
    with pytest.raises(BundleError, match="compressed"):
        arrays.unpack(buffer.getvalue(), "x")
    with pytest.raises(BundleError, match="isn't a zip"):
        arrays.unpack(b"\x80\x04.", "x")


def test_the_file_is_a_zip_for_everyone():
    with zipfile.ZipFile(io.BytesIO(arrays.pack({"ünï": np.zeros(2)}))) as file:
        assert file.testzip() is None
        assert file.namelist() == ["ünï.npy"]
