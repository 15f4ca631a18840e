"""All that a build said travels with its certificate; bundles from before that still open."""

import json
from dataclasses import replace

import pytest

from roadworthy.bundle.reader import read_bundle
from roadworthy.bundle.writer import write_bundle
from roadworthy.core.errors import BundleError
from tests.unit.bundle import made
from tests.unit.bundle.made import forge, sign

NAME = "certificates/onnxruntime.log"


def written(path, *lines):
    engine = replace(made.engine(), log=lines)
    write_bundle(path, made.content(engines=[(engine, made.certificate())]))
    return path


def manifest(folder):
    return json.loads((folder / "manifest.json").read_bytes())


@pytest.mark.parametrize("name", ["b.rw", "b"])
@pytest.mark.parametrize("lines", [("",), ("[W] ünusual", "", "  [I] done "), ("x",) * 5000])
def test_a_log_comes_back_line_by_line(tmp_path, name, lines):
    assert read_bundle(written(tmp_path / name, *lines)).engine().log == lines


def test_a_line_stays_one_line_and_any_text_can_be_stored(tmp_path):
    bundle = read_bundle(written(tmp_path / "b", "first\nof\r\ntwo", "\udcff\u2028end"))
    assert bundle.engine().log == ("first of two", "\\udcff end")


def test_it_is_a_file_of_text_with_a_digest(tmp_path):
    folder = written(tmp_path / "b", "[I] parsing", "[W] slow")
    assert (folder / NAME).read_text("utf-8") == "[I] parsing\n[W] slow\n"
    assert manifest(folder)["engines"][0]["log"] == NAME
    assert NAME in manifest(folder)["files"]
    (folder / NAME).write_text("[I] parsing\n[W] fast\n")
    with pytest.raises(BundleError, match=r"onnxruntime\.log' is damaged"):
        read_bundle(folder)


def test_an_extracted_bundle_has_it(tmp_path):
    read_bundle(written(tmp_path / "b.rw", "[W] slow")).extract(tmp_path / "out")
    assert (tmp_path / "out" / NAME).read_text("utf-8") == "[W] slow\n"
    assert ".log" in (tmp_path / "out/README.txt").read_text("utf-8")


def test_a_bundle_without_one_has_no_field_for_it_as_before_there_were_logs(tmp_path):
    folder = written(tmp_path / "b")
    assert set(manifest(folder)["engines"][0]) == {
        *("target", "files", "options", "fingerprint", "certificate", "verified")
    }
    assert read_bundle(folder).engine().log == ()


def test_what_is_no_text_is_refused(tmp_path):
    folder = written(tmp_path / "b", "x")
    forge(folder, NAME, b"\xff\xfe")
    with pytest.raises(BundleError, match="isn't UTF-8 text"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("value", "said"), [(None, "not text"), ("model.onnx", "isn't where a bundle keeps it")]
)
def test_what_is_no_path_of_a_log_is_refused(tmp_path, value, said):
    folder = written(tmp_path / "b", "x")
    data = manifest(folder)
    data["engines"][0]["log"] = value
    del data["files"][NAME]
    (folder / NAME).unlink()
    (folder / "manifest.json").write_text(json.dumps(data))
    sign(folder)
    with pytest.raises(BundleError, match=said):
        read_bundle(folder)


def test_a_log_that_no_engine_refers_to_is_refused(tmp_path):
    folder = written(tmp_path / "b", "x")
    data = manifest(folder)
    del data["engines"][0]["log"]
    (folder / "manifest.json").write_text(json.dumps(data))
    sign(folder)
    with pytest.raises(BundleError, match="nothing in the manifest refers to"):
        read_bundle(folder)
