"""The same content gives the same bytes, and nobody's data is overwritten."""

import hashlib
import json
import os
import subprocess
import zipfile
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.bundle.content import ContentCase, ContentItem
from roadworthy.bundle.reader import read_bundle
from roadworthy.bundle.writer import write_bundle
from roadworthy.core.errors import InputError, UsageError
from roadworthy.core.target import Target
from tests.unit.bundle import made


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("one.rw", "two.rw", "one", "two"):
        write_bundle(tmp_path / name, made.content())
    assert (tmp_path / "one.rw").read_bytes() == (tmp_path / "two.rw").read_bytes()
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_zip_and_folder_hold_the_same(tmp_path):
    write_bundle(tmp_path / "a.rw", made.content())
    write_bundle(tmp_path / "a", made.content())
    with zipfile.ZipFile(tmp_path / "a.rw") as file:
        assert {name: file.read(name) for name in file.namelist()} == tree(tmp_path / "a")


def test_an_unpacked_zip_is_a_folder_bundle(tmp_path):
    write_bundle(tmp_path / "a.rw", made.content())
    with zipfile.ZipFile(tmp_path / "a.rw") as file:
        file.extractall(tmp_path / "unpacked")
    assert read_bundle(tmp_path / "unpacked").manifest == read_bundle(tmp_path / "a.rw").manifest


def test_sha256sum_checks_the_manifest(tmp_path):
    write_bundle(tmp_path / "a", made.content())
    subprocess.run(
        ["sha256sum", "--strict", "-c", "manifest.sha256"], cwd=tmp_path / "a", check=True
    )
    manifest = json.loads((tmp_path / "a/manifest.json").read_bytes())
    for name, data in tree(tmp_path / "a").items():
        if not name.startswith("manifest."):
            digest = hashlib.sha256(data).hexdigest()
            assert manifest["files"].pop(name) == {"sha256": digest, "bytes": len(data)}
    assert manifest["files"] == {}


def test_a_model_that_is_the_engine_too_is_stored_once(tmp_path):
    graph = ir.from_proto(onnx.load_model_from_string(made.model()))
    engine = find("onnxruntime").compile(
        graph, made.SIGNATURE, Target("onnxruntime"), CompileOptions(threads=1)
    )
    pairs = [(engine, made.certificate())]
    write_bundle(tmp_path / "a", made.content(model=engine.files, engines=pairs))
    (data,) = engine.files.values()
    assert [name for name, found in tree(tmp_path / "a").items() if found == data] == ["model.onnx"]
    assert read_bundle(tmp_path / "a").engine() == engine


def test_an_engine_of_its_own_keeps_its_file_names(tmp_path):
    files = {"model.onnx": b"compiled", "model.onnx.data": b"weights"}
    other = replace(made.engine(), target=Target.parse("tensorrt==8.6"), files=files)
    pairs = [(made.engine(), made.certificate()), (other, made.certificate("tensorrt==8.6"))]
    write_bundle(tmp_path / "a.rw", made.content(engines=pairs))
    bundle = read_bundle(tmp_path / "a.rw")
    assert bundle.engine("tensorrt==8.6").files == files
    assert bundle.engine().target == Target("onnxruntime")
    assert "engines/tensorrt-8.6/model.onnx.data" in bundle.manifest.files


def test_the_default_engine_is_the_first_that_is_verified(tmp_path):
    other = replace(made.engine(), target=Target.parse("openvino"))
    pairs = [(made.engine(), made.certificate(passed=False)), (other, made.certificate("openvino"))]
    write_bundle(tmp_path / "a.rw", made.content(engines=pairs))
    assert read_bundle(tmp_path / "a.rw").manifest.default_engine == "openvino"


@pytest.mark.parametrize("name", ["b.rw", "b"])
def test_an_earlier_bundle_is_replaced_whole(tmp_path, name):
    big = ContentCase("more", True, {"h": 1}, [made.item(str(i), 1) for i in range(9)])
    write_bundle(tmp_path / name, made.content(cases=[big]))
    write_bundle(tmp_path / name, made.content())
    assert [case.name for case in read_bundle(tmp_path / name).manifest.cases] == [
        "samples",
        "largest",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def user_folder(path):
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")


def bundle_with_a_users_file(path):
    write_bundle(path, made.content())
    (path / "notes.txt").write_text("mine")


def another_manifest(path):
    path.mkdir()
    (path / "manifest.json").write_text('{"schema": "someone/else", "files": {}}')


def folder_of_folders(path):
    (path / "inner").mkdir(parents=True)


def link_to_a_folder(path):
    user_folder(path.with_name("real"))
    path.symlink_to("real")


@pytest.mark.parametrize("name", ["b.rw", "b"])
@pytest.mark.parametrize(
    "make",
    [user_folder, bundle_with_a_users_file, another_manifest, folder_of_folders, link_to_a_folder],
)
def test_a_users_folder_is_kept(tmp_path, name, make):
    if name == "b.rw" and make is bundle_with_a_users_file:
        write_bundle(tmp_path / "b", made.content())
        (tmp_path / "b" / "notes.txt").write_text("mine")
        (tmp_path / "b").rename(tmp_path / name)
    else:
        make(tmp_path / name)
    before = tree(tmp_path)
    with pytest.raises(UsageError):
        write_bundle(tmp_path / name, made.content())
    assert tree(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["b.rw", "b"])
@pytest.mark.parametrize("data", [b"years of work", b"PK\3\4 not ours", None])
def test_a_users_file_is_kept(tmp_path, name, data):
    path = tmp_path / name
    if data is None:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("manifest.json", '{"schema": "roadworthy/bundle/1", "files": {}}')
            file.writestr("thesis.tex", "years of work")
        data = path.read_bytes()
    path.write_bytes(data)
    with pytest.raises(UsageError, match="not overwritten"):
        write_bundle(path, made.content())
    assert path.read_bytes() == data
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "b.rw")
    with pytest.raises(UsageError):
        write_bundle(tmp_path / "b.rw", made.content())


@pytest.mark.parametrize("name", ["b.rw", "b"])
def test_empty_places_are_taken(tmp_path, name):
    if name == "b":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).touch()
    write_bundle(tmp_path / name, made.content())
    read_bundle(tmp_path / name)


def bad_answers():
    given = made.feed(3)
    return [ContentCase("samples", False, {}, [ContentItem("a", given, {"z": given["image"]})])]


def bad_feed():
    given = {"image": np.zeros((1, 9), np.float32)}
    return [ContentCase("samples", False, {}, [ContentItem("a", given, made.answers(given))])]


@pytest.mark.parametrize(
    "changes",
    [
        {"engines": []},
        {"cases": []},
        {"cases": [ContentCase("samples", False, {}, [])]},
        {"cases": [ContentCase("../up", False, {}, [made.item("a", 1)])]},
        {"cases": bad_answers()},
        {"cases": bad_feed()},
        {
            "cases": [
                ContentCase(
                    "samples",
                    False,
                    {},
                    [ContentItem("a", made.feed(1), made.answers(made.feed(1)), b"x", "/../x")],
                )
            ]
        },
        {"model": {}},
        {"model": {"../model.onnx": b""}},
        {"model": {"manifest.json": b""}},
        {"engines": [(made.engine(), made.certificate("openvino"))]},
        {"engines": [(made.engine(), made.certificate())] * 2},
        {"default_engine": "openvino"},
        {"created": "today"},
    ],
)
def test_content_that_no_reader_would_take_is_refused_and_nothing_is_left(tmp_path, changes):
    write_bundle(tmp_path / "b.rw", made.content())
    before = (tmp_path / "b.rw").read_bytes()
    with pytest.raises((UsageError, InputError)):
        write_bundle(tmp_path / "b.rw", made.content(**changes))
    assert (tmp_path / "b.rw").read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["b.rw"]


def test_a_sample_whose_file_name_is_no_unicode_is_kept_by_a_readable_name(tmp_path):
    case = ContentCase("samples", False, {}, [made.item("scene\udcff.png", 1)])
    write_bundle(tmp_path / "b.rw", made.content(cases=[case]))
    ((_, (item,)),) = read_bundle(tmp_path / "b.rw").cases()
    assert item.sample == "scene\\udcff.png"
