"""Plain files that other programs can use, with a contract that tells them how."""

import json
import subprocess
import sys
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from roadworthy.bundle.content import ContentCase, ContentItem
from roadworthy.bundle.reader import read_bundle
from roadworthy.bundle.writer import write_bundle
from roadworthy.core.errors import BundleError, UsageError
from roadworthy.core.signature import Signature, TensorSpec
from tests.unit.bundle import made
from tests.unit.bundle.made import forge


@pytest.fixture
def bundle(tmp_path):
    write_bundle(tmp_path / "b.rw", made.content())
    return read_bundle(tmp_path / "b.rw")


def test_plain_files_come_out(bundle, tmp_path):
    bundle.extract(tmp_path / "out")
    files = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert files == {
        "README.txt",
        "certificates/onnxruntime.json",
        "certificates/onnxruntime.log",
        "contract.json",
        "model.onnx",
        "preprocess.json",
        "sample/answers/y-0.npy",
        "sample/feed/image.npy",
        "sample/raw.png",
    }
    assert (tmp_path / "out/model.onnx").read_bytes() == made.model()
    assert (tmp_path / "out/sample/raw.png").read_bytes() == made.RAW


def test_the_contract_says_how_to_call_it_and_how_it_was_verified(bundle, tmp_path):
    bundle.extract(tmp_path / "out")
    contract = json.loads((tmp_path / "out/contract.json").read_text("utf-8"))
    assert contract["schema"] == "roadworthy/contract/1"
    assert Signature.from_json(contract["signature"]) == made.SIGNATURE
    assert contract["preprocess"] == made.PREPROCESS
    assert contract["classes"] == ["ground", "figure"]
    (verification,) = contract["verification"]
    assert verification["passed"] is True
    assert verification["reference"]["judge"] == "ONNX reference evaluator"
    (output,) = verification["outputs"]
    assert output["output"] == "y:0"
    assert output["tolerance"] == {
        "metric": "relative_l2",
        "limit": 1e-5,
        "origin": "8 × the noise of the reference",
        "parts": True,
    }


def test_the_readmes_program_runs_and_gives_the_samples_answers(bundle, tmp_path):
    bundle.extract(tmp_path / "out")
    text = (tmp_path / "out/README.txt").read_text("utf-8")
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    check = (
        'for name, file in contract["sample"]["answers"].items():\n'
        "    assert np.array_equal(answers[name], np.load(file))\n"
        'print("agrees", len(answers))\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, check])],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "agrees 1\n"


def test_any_tensor_name_and_dtype_gets_a_file(tmp_path):
    names = {"a/b": "float32", "a:b": "bfloat16", "../../x": "str", "日本": "int4", "A-b": "bool"}
    dtypes = {"bfloat16": ml_dtypes.bfloat16, "int4": ml_dtypes.int4, "str": object}
    feed = {
        name: np.array(["t"] if dtype == "str" else [1], dtype=dtypes.get(dtype, dtype))
        for name, dtype in names.items()
    }
    specs = tuple(TensorSpec(name, dtype, (1,)) for name, dtype in names.items())
    signature = Signature(specs, specs)
    case = ContentCase("samples", False, {}, [ContentItem("a", feed, feed)])
    engine = replace(made.engine(), signature=signature)
    changes = {"signature": signature, "cases": [case], "preprocess": None}
    content = made.content(engines=[(engine, made.certificate())], **changes)
    write_bundle(tmp_path / "b", content)
    read_bundle(tmp_path / "b").extract(tmp_path / "out")
    contract = json.loads((tmp_path / "out/contract.json").read_text("utf-8"))
    files = contract["sample"]["feed"]
    assert len({file.casefold() for file in files.values()}) == len(names)
    assert all(file.startswith("sample/feed/") for file in files.values())
    loaded = {name: np.load(tmp_path / "out" / file) for name, file in files.items()}
    assert loaded["a:b"].view(ml_dtypes.bfloat16).tolist() == [1]
    assert loaded["日本"].view(ml_dtypes.int4).tolist() == [1]
    assert loaded["../../x"].tolist() == ["t"]
    assert contract["preprocess"] is None and contract["classes"] is None
    assert "ml_dtypes" in (tmp_path / "out/README.txt").read_text("utf-8")


def test_nothing_is_overwritten(bundle, tmp_path):
    (tmp_path / "out").mkdir()
    bundle.extract(tmp_path / "out")
    with pytest.raises(UsageError, match="has something in it"):
        bundle.extract(tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError):
        bundle.extract(tmp_path / "file")
    with pytest.raises(UsageError, match="doesn't exist"):
        bundle.extract(tmp_path / "no/such/place")
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(UsageError):
        bundle.extract(tmp_path / "link")


def test_a_bundle_is_not_extracted_into_itself(tmp_path):
    write_bundle(tmp_path / "b", made.content())
    with pytest.raises(UsageError, match="within the bundle"):
        read_bundle(tmp_path / "b").extract(tmp_path / "b" / "out")
    read_bundle(tmp_path / "b")


def test_a_forged_certificate_is_named_and_leaves_nothing(tmp_path):
    write_bundle(tmp_path / "b", made.content())
    name = "certificates/onnxruntime.json"
    data = json.loads((tmp_path / "b" / name).read_bytes())
    data["verdict"]["cases"][0]["outputs"] = 3
    forge(tmp_path / "b", name, json.dumps(data).encode())
    with pytest.raises(BundleError, match="outputs"):
        read_bundle(tmp_path / "b").extract(tmp_path / "out")
    assert [item.name for item in tmp_path.iterdir()] == ["b"]
