"""`roadworthy deploy` of a tiny PyTorch network, and what its one document says."""

from __future__ import annotations

import numpy as np
import pytest

import roadworthy
from roadworthy.bundle.reader import read_bundle
from tests.unit.cli import made

METRICS = {
    "mvre",
    "max_abs",
    "relative_l2",
    "cosine",
    "sqnr_db",
    "mismatch_share",
    "bit_equal",
    "worst_sample",
}


@pytest.fixture
def network(tmp_path):
    return made.write_network(tmp_path)


def deploy(network, *words, factory="net"):
    source = f"{network}/net.py:{factory}"
    given = ("--weights", network / "w.safetensors", "--samples", network / "samples")
    return ("deploy", source, *given, *words, "--json")


def certificate(ended):
    assert ended.code == 0, ended
    (target,) = ended.document["result"]["targets"]
    assert target["ok"] is True
    assert target["error"] is None
    return target["certificate"]


def check_outputs(found):
    """MVRE per output, tolerance and its origin, in every case."""
    for case in found["verdict"]["cases"]:
        assert case["failures"] == []
        for output in case["outputs"]:
            assert set(output["metrics"]) == METRICS
            assert 0 <= output["metrics"]["mvre"] < 1e-4
            assert output["metrics"]["relative_l2"] <= output["tolerance"]["limit"]
            assert output["tolerance"]["origin"]
            assert output["failures"] == []


def test_static_with_timing(command, network):
    ended = command(
        *deploy(network, "--measure-seconds", "0.5", "--out", network / "net.rw", "--threads", "1")
    )
    assert ended.err == ""
    found = certificate(ended)
    assert found["labels"] == ["one shape only"]
    assert [case["case"] for case in found["verdict"]["cases"]] == ["samples"]
    check_outputs(found)
    assert found["reference"]["kind"] == "source framework"
    assert found["reference"]["noise"]["output"] > 0
    latency, comparison = found["latency"], found["comparison"]
    assert latency["p50_ms"] > 0
    assert latency["p90_ms"] >= latency["p50_ms"]
    assert latency["threads"] == 1
    assert "PyTorch" in comparison["baseline"]["subject"]
    assert 0 < comparison["ratio_low"] <= comparison["ratio"] <= comparison["ratio_high"]
    assert comparison["subject"] == latency
    assert ended.document["result"]["bundle"] == str(network / "net.rw")
    # What ships gives the network's answers.
    with roadworthy.load(network / "net.rw") as model:
        image = made.images()[1]
        expected = made.net_in_numpy(image, made.weights())
        (got,) = model.run({"image": image}).values()
    assert np.abs(got - expected).max() < 1e-5


def test_dynamic_in_batch_height_and_width_with_odd_sizes(command, network):
    ended = command(
        *deploy(network, "--inputs", "image[batch=1..5,3,h=5..12,w=6..14:2]"),
        *("--measure-seconds", "0", "--out", network / "net.rw"),
    )
    found = certificate(ended)
    check_outputs(found)
    assert found["labels"] == []
    sizes = {case["case"]: case["sizes"] for case in found["verdict"]["cases"]}
    assert sizes["samples"] == {"batch": 1, "h": 8, "w": 8}
    assert sizes["smallest"] == {"batch": 1, "h": 5, "w": 6}
    assert sizes["largest"] == {"batch": 5, "h": 12, "w": 14}
    assert sizes["batch"]["batch"] > 1
    assert sizes["odd"]["h"] % 2 == 1
    assert all(case["derived"] for case in found["verdict"]["cases"][1:])
    with roadworthy.load(network / "net.rw") as model:
        image = made.images(size=11, seed=4)[:3, 0, :, :, :8]
        (got,) = model.run({"image": np.ascontiguousarray(image)}).values()
        assert np.abs(got - made.net_in_numpy(image, made.weights())).max() < 1e-5
        with pytest.raises(roadworthy.InputError, match="shape"):
            model.run({"image": np.zeros((1, 3, 8, 7), np.float32)})


def test_a_folder_names_and_a_second_run_replaces_it(command, network):
    out = network / "bundle"
    words = deploy(network, "--outputs", "maps", "--measure-seconds", "0", "--out", out)
    for _ in range(2):
        found = certificate(command(*words))
        assert [o["name"] for o in found["model"]["signature"]["outputs"]] == ["maps"]
        assert read_bundle(out).kind == "folder"
    assert sorted(item.name for item in network.iterdir() if "partial" in item.name) == []


def test_many_samples_in_one_npz(command, network):
    """With --inputs the ranks are known: one more axis is many samples."""
    np.savez(network / "many.npz", image=made.images(3))
    words = ("deploy", f"{network}/net.py:net", "--samples", network / "many.npz")
    found = certificate(
        command(*words, "--inputs", "image[1,3,8,8]", "--measure-seconds", "0", "--json")
    )
    assert found["samples"]["count"] == 3


def test_random_samples_are_a_smoke_test(command, network):
    words = ("deploy", f"{network}/net.py:net", "--samples", "random", "--measure-seconds", "0")
    found = certificate(command(*words, "--inputs", "image[1,3,8,8]", "--json"))
    assert "smoke test" in found["labels"]
    spoken = command(*words, "--inputs", "image[1,3,8,8]")
    assert "smoke test" in spoken.out
    assert "no bundle was written" in spoken.out


def test_suspicious_samples_are_named(command, network):
    np.save(network / "samples" / "s9.npy", np.full((1, 3, 8, 8), 0.5, np.float32))
    words = deploy(network, "--measure-seconds", "0")
    found = certificate(command(*words))
    assert any("s9.npy" in finding for finding in found["samples"]["findings"])
    assert "s9.npy" in command(*words[:-1]).out


def test_a_budget_that_is_not_met(command, tmp_path):
    model = made.write_net_onnx(tmp_path / "net.onnx", made.weights())
    samples = made.write_arrays(tmp_path / "samples")
    words = ("deploy", model, "--samples", samples, "--measure-seconds", "0", "--json")
    before = made.listing(tmp_path)
    ended = command(*words, "--budget", "mvre=1e-12", "--out", tmp_path / "net.rw")
    (target,) = ended.document["result"]["targets"]
    measured = max(
        output["metrics"]["mvre"]
        for case in target["certificate"]["verdict"]["cases"]
        for output in case["outputs"]
    )
    assert measured > 1e-12, "else the budget is met, and rightly so"
    assert ended.code == 5
    assert ended.error["code"] == "budget"
    assert "'output'" in ended.error["what"]
    assert made.listing(tmp_path) == before
    assert command(*words, "--budget", "mvre=0.01").code == 0


def test_several_targets_keep_those_that_verified(command, tmp_path):
    model = made.write_net_onnx(tmp_path / "net.onnx", made.weights())
    samples = made.write_arrays(tmp_path / "samples")
    ended = command(
        *("deploy", model, "--samples", samples, "--out", tmp_path / "net.rw"),
        *("--target", "onnxruntime:cuda", "--target", "onnxruntime", "--measure-seconds", "0"),
        "--json",
    )
    assert ended.code == 4
    found = {item["target"]: item for item in ended.document["result"]["targets"]}
    assert found["onnxruntime:cuda"]["exit_code"] == 4
    assert found["onnxruntime"]["ok"] is True
    assert ended.document["result"]["chosen"] == "onnxruntime"
    bundle = read_bundle(tmp_path / "net.rw")
    assert [str(record.target) for record in bundle.manifest.engines] == ["onnxruntime"]
