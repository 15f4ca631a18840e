"""The manifest is read strictly: anything missing, extra, bent or dangling is an error."""

import copy
import json
import tempfile
from functools import cache
from pathlib import Path

import pytest

from roadworthy.bundle.parse import parse_manifest
from roadworthy.bundle.writer import write_bundle
from roadworthy.core.errors import BundleError
from tests.unit.bundle import made


@cache
def written() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder) / "b", made.content())
        return (Path(folder) / "b" / "manifest.json").read_bytes()


def parsed(data):
    return parse_manifest(json.dumps(data).encode(), "manifest.json")


def test_what_was_written_is_read():
    manifest = parse_manifest(written(), "manifest.json")
    assert manifest.signature == made.SIGNATURE
    assert manifest.to_json() == json.loads(written())


def places(value, path=()):
    """Every object and field in the document, by its path."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def at(data, path):
    for key in path:
        data = data[key]
    return data


# Objects whose keys are free: an entry more or less there is caught by other means, or is fine.
FREE = {"fingerprint", "sizes"}


def test_every_field_is_needed_and_typed_and_no_other_is_taken():
    original = json.loads(written())
    for path in places(original):
        value = at(original, path)
        if not path or (path[-2:-1] and path[-2] in FREE):
            continue
        for changed in (None, [], {}, "", 1.5, True, -1, "\0", "../x"):
            if changed == value or (changed is None and path[-1] == "raw"):
                continue
            if path[-1] in FREE and changed == {}:
                continue
            if path[-1] in {"sample", "name", "roadworthy"} and isinstance(changed, str):
                continue  # free text, though an axis needs a name
            if path[-1] in {"verified", "derived", "optimise", "spinning"} and changed is True:
                continue
            if path[-1] == "precision" and isinstance(changed, str):
                continue
            if path[-1] in {"threads", "high", "shape"} and changed is None:
                continue
            if path[-1] in {"shape", "inputs"} and changed == []:
                continue
            data = copy.deepcopy(original)
            at(data, path[:-1])[path[-1]] = changed
            with pytest.raises(BundleError):
                parsed(data)
                pytest.fail(f"{path} took {changed!r}")


def test_no_field_may_be_missing_or_unknown():
    original = json.loads(written())
    for path in places(original):
        if not isinstance(at(original, path), dict) or (path and path[-1] in FREE):
            continue
        for key in at(original, path):
            data = copy.deepcopy(original)
            del at(data, path)[key]
            with pytest.raises(BundleError):
                parsed(data)
        data = copy.deepcopy(original)
        at(data, path)["unheard-of"] = 1
        with pytest.raises(BundleError):
            parsed(data)


@pytest.mark.parametrize("schema", [None, "roadworthy/bundle/2", "roadworthy/bundle/1 ", 1])
def test_another_schema_says_which_version_to_use(schema):
    data = json.loads(written()) | {"schema": schema}
    with pytest.raises(BundleError, match="this version reads 'roadworthy/bundle/1'") as caught:
        parsed(data)
    assert "version that wrote it" in caught.value.remedy


def change(path, value):
    def apply(data):
        at(data, path[:-1])[path[-1]] = value

    return apply


def list_file(name):
    return lambda data: data["files"].update({name: {"sha256": "0" * 64, "bytes": 1}})


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (list_file("../x"), "climbs out with '..'"),
        (list_file("/abs"), "is an absolute path"),
        (list_file("C:\\x"), "names a drive"),
        (list_file("MODEL.onnx"), "differ only by case"),
        (list_file("model.onnx/x"), "is a file, and the folder of"),
        (list_file("manifest.json"), "can't vouch for itself"),
        (list_file("more"), "nothing in the manifest refers to"),
        (change(("model",), ["other.onnx"]), "which files doesn't list"),
        (change(("model",), ["preprocess.json"]), "isn't where a bundle keeps it"),
        (change(("engines", 0, "files"), ["preprocess.json"]), "isn't where a bundle keeps it"),
        (change(("engines", 0, "files"), ["model.onnx"] * 2), "two of them have the same name"),
        (change(("engines", 0, "target"), "ONNX"), "which is no target"),
        (change(("engines", 0, "target"), " onnxruntime"), "should be written 'onnxruntime'"),
        (change(("engines", 0, "options", "threads"), 0), "threads is the number 0"),
        (change(("default_engine",), "openvino"), "which isn't in engines"),
        (change(("created",), "yesterday"), "not a date and time"),
        (change(("files", "model.onnx", "sha256"), "A" * 64), "64 lower-case hexadecimal"),
        (change(("signature", "inputs", 0, "dtype"), "object"), "no known dtype"),
        (change(("signature", "inputs", 0, "shape"), [True]), "neither a size nor an object"),
        (change(("signature", "inputs", 0, "shape", 1, "high"), 0), "empty range"),
        (lambda d: d["engines"].append(d["engines"][0]), "engines holds 'onnxruntime' twice"),
        (lambda d: d["cases"].append(d["cases"][0]), "cases holds 'samples' twice"),
        (
            lambda d: d["signature"]["inputs"].append(d["signature"]["inputs"][0]),
            "signature holds 'image' twice",
        ),
    ],
)
def test_what_makes_no_sense_is_named(apply, message):
    data = json.loads(written())
    apply(data)
    with pytest.raises(BundleError) as caught:
        parsed(data)
    assert message in caught.value.what
