"""Everything is checked before it is used, and again when it is read."""

import hashlib
import json
import os

import numpy as np
import onnx
import pytest

from roadworthy.bundle import arrays
from roadworthy.bundle.reader import is_bundle, read_bundle
from roadworthy.bundle.writer import write_bundle
from roadworthy.core.errors import BundleError, UsageError
from roadworthy.core.target import Target
from tests.unit.bundle import made


@pytest.fixture(params=["b.rw", "b"])
def path(request, tmp_path):
    write_bundle(tmp_path / request.param, made.content())
    return tmp_path / request.param


@pytest.fixture
def folder(tmp_path):
    write_bundle(tmp_path / "f", made.content())
    return tmp_path / "f"


def test_what_went_in_comes_out(path):
    bundle = read_bundle(path)
    assert bundle.signature == made.SIGNATURE
    assert bundle.preprocess == made.PREPROCESS
    assert bundle.model() == {"model.onnx": made.model()}
    assert bundle.certificate("onnxruntime")["verdict"]["cases"][0]["case"] == "samples"
    cases = list(bundle.cases())
    assert [(case.name, case.derived, case.sizes) for case, _ in cases] == [
        ("samples", False, {"h": 3}),
        ("largest", True, {"h": 8}),
    ]
    first, second = cases[0][1]
    assert (first.sample, first.raw) == ("a", made.RAW)
    assert (second.sample, second.raw) == ("ünï/b", None)
    assert first.feed["image"].tolist() == [[0, 1, 2]]
    assert first.answers["y:0"].tolist() == [[1, 3, 5]]


def test_the_engine_runs_and_its_answers_are_the_bundles(path):
    bundle = read_bundle(path)
    with bundle.engine().open() as session:
        for _, items in bundle.cases():
            for item in items:
                got = session.run(item.feed)
                assert np.array_equal(got["y:0"], item.answers["y:0"])


def test_an_engine_is_named_as_on_the_command_line(path):
    bundle = read_bundle(path)
    assert bundle.engine("onnxruntime").target == Target("onnxruntime")
    with pytest.raises(UsageError, match="no engine for 'openvino'") as caught:
        bundle.engine("openvino")
    assert "onnxruntime" in caught.value.remedy
    with pytest.raises(UsageError):
        bundle.certificate("NO TARGET")
    with pytest.raises(UsageError):
        bundle.read("../../etc/passwd")
    with pytest.raises(UsageError):
        bundle.read("manifest.json")


def test_a_change_after_opening_is_caught(path):
    bundle = read_bundle(path)
    file = path if path.is_file() else path / "model.onnx"
    data = file.read_bytes()
    file.write_bytes(data.replace(made.model(), made.model()[:-1] + b"\xff"))
    with pytest.raises(BundleError):
        bundle.read("model.onnx")
    file.write_bytes(data[:100])
    with pytest.raises(BundleError):
        bundle.read("model.onnx")
    file.unlink()
    with pytest.raises(BundleError):
        bundle.engine()


def test_a_link_that_comes_after_opening_is_not_followed(folder, tmp_path):
    bundle = read_bundle(folder)
    for name in ("model.onnx", "cases"):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    for name in ("model.onnx", "cases/samples/000.png"):
        with pytest.raises(BundleError):
            bundle.read(name)


@pytest.mark.parametrize("where", ["model.onnx", "extra", "cases/extra", "cases"])
def test_links_in_a_folder_are_refused_wherever_they_lead(folder, tmp_path, where):
    target = folder / where
    if target.exists():
        target.rename(tmp_path / "moved")
    target.symlink_to(tmp_path / "moved")
    with pytest.raises(BundleError, match="is a symbolic link"):
        read_bundle(folder)


def test_special_files_are_refused_and_not_opened(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(BundleError, match="special file"):
        read_bundle(folder)
    (folder / "pipe").rename(folder / "model.onnx")
    with pytest.raises(BundleError, match="special file"):
        read_bundle(folder)


def test_the_bundle_itself_may_be_named_by_a_link(path, tmp_path):
    (tmp_path / "latest").symlink_to(path)
    assert read_bundle(tmp_path / "latest").manifest == read_bundle(path).manifest


def test_what_is_no_bundle(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.rw").write_text("hello")
    (tmp_path / "nothing.rw").touch()
    (tmp_path / "dangling.rw").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.rw")
    for name in ("empty", "text.rw", "nothing.rw", "dangling.rw", "pipe.rw", "absent", "a/b\0"):
        with pytest.raises(BundleError):
            read_bundle(tmp_path / name)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "model.onnx"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError) as caught:
        read_bundle(folder)
    assert name in caught.value.what


def test_an_unlisted_file_is_named(folder):
    (folder / "cases/.DS_Store").touch()
    with pytest.raises(BundleError, match=r"'cases/\.DS_Store' is in the bundle"):
        read_bundle(folder)


def test_sizes_and_digests_are_told_apart(folder):
    model = folder / "model.onnx"
    model.write_bytes(made.model() + b"\0")
    with pytest.raises(BundleError, match=r"has \d+ bytes, the manifest says"):
        read_bundle(folder)
    model.write_bytes(b"\0" * len(made.model()))
    with pytest.raises(BundleError, match="its SHA-256 isn't the manifest's"):
        read_bundle(folder)


@pytest.mark.parametrize("line", [b"", b"x", b"0" * 64 + b"  manifest.json\n"])
def test_the_manifests_own_digest(folder, line):
    (folder / "manifest.sha256").write_bytes(line)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        read_bundle(folder)
    true = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    for text in (f"{true.upper()}  manifest.json\n", f"{true}  manifest.json", f"{true} *m\n"):
        (folder / "manifest.sha256").write_text(text)
        with pytest.raises(BundleError):
            read_bundle(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "roadworthy/certificate/2"},
        {"passed": False},
        {"passed": 1},
        {"target": "openvino"},
        {"labels": "smoke test"},
        {"verdict": []},
        {"precision": None},
    ],
)
def test_a_forged_certificate(folder, changes):
    name = "certificates/onnxruntime.json"
    data = json.loads((folder / name).read_bytes()) | changes
    made.forge(folder, name, json.dumps(data).encode())
    with pytest.raises(BundleError):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["preprocess.json", "certificates/onnxruntime.json"])
@pytest.mark.parametrize("data", [b"", b"[]", b"\x80\x04.", b'{"a": 1, "a": 2}'])
def test_forged_json_is_still_parsed_strictly(folder, name, data):
    made.forge(folder, name, data)
    with pytest.raises(BundleError):
        read_bundle(folder)


def pickled() -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, image=np.array([object], dtype=object))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04cos\nsystem\n.",
        pickled(),
        arrays.pack({}),
        arrays.pack({"other": np.zeros((1, 3), np.float32)}),
        arrays.pack({"image": np.zeros((1, 3))}),
        arrays.pack({"image": np.zeros((1, 9), np.float32)}),
    ],
)
def test_forged_arrays_must_fit_the_signature_and_are_never_unpickled(folder, data):
    made.forge(folder, "cases/samples/000.feed.npz", data)
    with pytest.raises(BundleError):
        list(read_bundle(folder).cases())


def test_forged_answers_must_be_the_networks_outputs(folder):
    made.forge(folder, "cases/samples/000.answers.npz", arrays.pack({"z": np.zeros(1)}))
    with pytest.raises(BundleError, match="outputs"):
        list(read_bundle(folder).cases())


def test_a_bundle_is_told_from_a_model(path, tmp_path):
    assert is_bundle(path)
    assert is_bundle(path.rename(tmp_path / "renamed"))
    onnx.save(onnx.load_model_from_string(made.model()), tmp_path / "m.onnx")
    np.savez(tmp_path / "weights.npz", a=np.zeros(3))
    (tmp_path / "saved_model").mkdir()
    for other in ("m.onnx", "weights.npz", "saved_model", "absent", "absent.rw"):
        assert not is_bundle(tmp_path / other)


def test_a_damaged_bundle_is_a_bundle_still(path, tmp_path):
    if path.is_file():
        path.write_bytes(path.read_bytes()[:100])
    else:
        (path / "manifest.json").write_text("{")
    assert is_bundle(path)
    with pytest.raises(BundleError):
        read_bundle(path)
