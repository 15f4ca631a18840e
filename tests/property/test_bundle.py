"""Bundles hold what was put in, and no damage or malice gets past the reader."""

import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roadworthy.bundle import arrays
from roadworthy.bundle.names import fault
from roadworthy.bundle.reader import read_bundle
from roadworthy.bundle.writer import write_bundle
from roadworthy.bundle.zipform import ZipWriter
from roadworthy.core.errors import BundleError
from tests.unit.bundle import made

timeless = settings(deadline=None)  # other work on the machine is no failure

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
plain = st.sampled_from(sorted(arrays.DTYPES - arrays.EXTENDED - {"str"}))
strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


def of_bits(dtype):
    """Arrays of any bit pattern, in a dtype that NumPy doesn't know."""
    known = np.dtype(getattr(ml_dtypes, dtype))
    return hnp.arrays(f"u{known.itemsize}", shapes).map(lambda bits: bits.view(known))


any_array = st.one_of(
    plain.flatmap(lambda dtype: hnp.arrays(dtype, shapes)),
    st.sampled_from(sorted(arrays.EXTENDED)).flatmap(of_bits),
    hnp.arrays(object, shapes, elements=strings),
    # NumPy's own text has no NUL at its end.
    hnp.arrays("U5", shapes, elements=st.text(max_size=5).map(lambda text: text.rstrip("\0"))),
)


@timeless
@given(st.dictionaries(names, any_array, max_size=4))
def test_arrays_come_back_to_the_last_bit(given_arrays):
    back = arrays.unpack(arrays.pack(given_arrays), "x.npz")
    assert back.keys() == given_arrays.keys()
    for name, array in given_arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        if array.dtype == object:
            assert back[name].tolist() == array.tolist()
        else:
            assert back[name].tobytes() == array.tobytes()


@timeless
@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_arrays_or_an_error(data):
    for member in (data, b"\x93NUMPY\x01\x00" + data):
        with pytest.raises(BundleError):
            arrays.read_npy(member, "x")
    with pytest.raises(BundleError):
        arrays.unpack(data, "x")


@cache
def folder() -> Path:
    """A folder bundle that all tests share, and put back as it was."""
    path = Path(tempfile.mkdtemp(prefix="roadworthy-test-")) / "b"
    write_bundle(path, made.content())
    return path


@cache
def packed() -> bytes:
    path = folder().with_name("b.rw")
    write_bundle(path, made.content())
    return path.read_bytes()


@pytest.fixture(scope="module", autouse=True)
def _clean():
    yield
    shutil.rmtree(folder().parent)


def refused(data: bytes) -> BundleError:
    """Check that a zip of these bytes is refused, and that nothing appears beside it."""
    path = folder().with_name("damaged.rw")
    path.write_bytes(data)
    before = sorted(folder().parent.rglob("*"))
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    assert sorted(folder().parent.rglob("*")) == before
    assert caught.value.exit_code == 2
    assert caught.value.where and caught.value.remedy
    assert "\n" not in caught.value.what
    return caught.value


@timeless
@given(st.data())
def test_one_changed_byte_anywhere_in_a_zip_is_found(data):
    index = data.draw(st.integers(0, len(packed()) - 1))
    mask = data.draw(st.integers(1, 255))
    changed = bytearray(packed())
    changed[index] ^= mask
    refused(bytes(changed))


@timeless
@given(st.data())
def test_truncation_at_any_length_is_found(data):
    refused(packed()[: data.draw(st.integers(0, len(packed()) - 1))])


@timeless
@given(st.data(), st.binary(min_size=1, max_size=100))
def test_bytes_put_in_anywhere_are_found(data, extra):
    at = data.draw(st.sampled_from([0, len(packed()), *range(0, len(packed()), 97)]))
    refused(packed()[:at] + extra + packed()[at:])


@timeless
@given(st.data())
def test_one_part_in_the_place_of_another_is_found(data):
    """Copies of one stretch over another of the same zip: headers are plausible headers."""
    zipped = packed()
    size = data.draw(st.integers(1, 200))
    here = data.draw(st.integers(0, len(zipped) - size))
    there = data.draw(st.integers(0, len(zipped) - size))
    changed = zipped[:here] + zipped[there : there + size] + zipped[here + size :]
    if changed != zipped:
        refused(changed)


@contextmanager
def changed_file(path: Path, data: bytes):
    original = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(original)


@timeless
@given(st.data())
def test_one_changed_byte_or_a_cut_in_any_file_of_a_folder_is_found(data):
    files = sorted(path for path in folder().rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    index = data.draw(st.integers(0, len(content) - 1))
    mask = data.draw(st.integers(0, 255))
    if mask:
        content[index] ^= mask
    else:
        del content[index:]
    with changed_file(path, bytes(content)), pytest.raises(BundleError):
        read_bundle(folder())
    read_bundle(folder())


climbing = st.one_of(
    st.sampled_from(["../x", "/abs", "C:\\x", "c:x", "a/../../x", "\\\\h\\s", "a\\..\\x", "x\0y"]),
    names.filter(fault),
    names.map(lambda name: f"../{name}"),
    names.map(lambda name: f"/{name}"),
)


@timeless
@given(climbing)
def test_zips_that_climb_out_are_refused_whoever_made_them(name):
    ours = io.BytesIO()
    writer = ZipWriter(ours)
    for member, content in {name: b"x", **whole()}.items():
        writer.add(member, content)
    writer.close()
    error = refused(ours.getvalue())
    assert repr(name) in error.what
    assert str(fault(name)) in error.what or name.endswith("/")

    theirs = io.BytesIO()
    with zipfile.ZipFile(theirs, "w") as file:
        file.writestr(name or "/", b"x")
    refused(theirs.getvalue())


@timeless
@given(climbing, st.sampled_from(["files", "model", "certificate", "feed"]))
def test_manifests_that_climb_out_are_refused_though_their_digests_are_right(name, place):
    files = dict(whole())
    manifest = json.loads(files["manifest.json"])
    if place == "files":
        manifest["files"][name] = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
    elif place == "model":
        manifest["model"] = [name]
    elif place == "certificate":
        manifest["engines"][0]["certificate"] = name
    else:
        manifest["cases"][0]["items"][0]["feed"] = name
    files["manifest.json"] = json.dumps(manifest).encode()
    digest = hashlib.sha256(files["manifest.json"]).hexdigest()
    files["manifest.sha256"] = f"{digest}  manifest.json\n".encode()
    forged = io.BytesIO()
    writer = ZipWriter(forged)
    for member, content in files.items():
        writer.add(member, content)
    writer.close()
    refused(forged.getvalue())


@timeless
@given(st.sampled_from(sorted(["model.onnx", "manifest.json", "extra"])), names)
def test_links_in_a_zip_are_refused(name, target):
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        for member, content in whole().items():
            if member != name:
                file.writestr(member, content)
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = 0o120777 << 16
        file.writestr(info, target)
    assert "symbolic link" in refused(zipped.getvalue()).what


@cache
def whole() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(packed())) as file:
        return {name: file.read(name) for name in file.namelist()}
