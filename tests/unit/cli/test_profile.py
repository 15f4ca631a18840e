"""`roadworthy profile`: a table for people, all of it for programs, and honest refusals."""

from __future__ import annotations

import numpy as np
import pytest

from roadworthy.backends.onnxruntime import runtime
from roadworthy.cli.profile import _names, table
from roadworthy.pipeline.profile import Profile
from tests.unit.cli import made

NODES = ["/layer1/layer1.0/conv1/Conv", "/layer1/layer1.0/relu/Relu"]


def layers(count: int) -> tuple:
    return tuple(
        {
            "name": f"fused {i}", "onnx": [f"/net/node[{i}]"], "kind": "Conv", "precision": "fp32",
            "tactic": "", "median_us": float(i + 1), "share": (i + 1) / sum(range(count + 1)),
        }
        for i in range(count)
    )  # fmt: skip


def plain(found: Profile, top: int = 20, width: int = 100) -> list[str]:
    from rich.text import Text

    return [Text.from_markup(line).plain for line in table(found, top, width)]


def test_the_slowest_layers_come_first_and_the_others_are_summed_up():
    lines = plain(Profile("net", "here", "fp32", 9, 5.0, None, layers(6)), top=2)
    assert [line.split()[0] for line in lines[2:4]] == ["1", "2"]
    assert "/net/node[5]" in lines[2], "brackets in a name are no markup"
    assert "the other 4" in lines[4]
    assert lines[4].split()[0] == "10.000", "1 + 2 + 3 + 4 µs"
    assert any("whole run" in line and "5.0 µs" in line for line in lines)
    assert any("needn't agree" in line for line in lines)


def test_the_device_s_own_time_is_told_where_there_is_one():
    lines = plain(Profile("net", "here", "fp32", 9, 5000.0, 4000.0, layers(2)))
    assert any("5.000 ms" in line and "4.000 ms of it on the device" in line for line in lines)


@pytest.mark.parametrize("width", [72, 80, 120])
def test_no_line_of_the_table_is_wider_than_the_terminal(width):
    rows = [{**row, "onnx": NODES} for row in layers(30)]
    lines = plain(Profile("net", "here", "fp32", 9, 5.0, None, tuple(rows)), width=width)
    assert max(map(len, lines[2:23])) <= width


def test_a_long_word_for_a_kind_gives_way_to_the_names_of_the_nodes():
    nodes = ["node_Conv_318", "node_Relu_319"]
    rows = [{**row, "kind": "ConvolutionBackpropData", "onnx": nodes} for row in layers(3)]
    found = Profile("net", "here", "fp32", 9, 5.0, None, tuple(rows))
    assert "ConvolutionBackpropData" in plain(found, width=120)[2]
    narrow = plain(found, width=80)[2]
    assert "Convolution" in narrow
    assert "Conv_318 + 1 more" in narrow
    assert len(narrow) <= 80


@pytest.mark.parametrize(
    ("nodes", "width", "shown"),
    [
        ([], 40, "own name"),
        (NODES[:1], 40, "/layer1/layer1.0/conv1/Conv"),
        (NODES[:1], 24, "…/layer1.0/conv1/Conv"),
        (NODES[:1], 12, "…/conv1/Conv"),
        (["one_name_without_levels"], 12, "…hout_levels"),
        (NODES, 60, "/layer1/layer1.0/conv1/Conv + relu/Relu"),
        (NODES, 30, "…/conv1/Conv + relu/Relu"),
        (NODES, 22, "…/conv1/Conv + 1 more"),
        (["a", "b", "c"], 9, "a + b + c"),
        (["a", "b", "c"], 8, "a + 2 more"),
    ],
)
def test_names_are_shortened_where_they_say_least(nodes, width, shown):
    assert _names(nodes, "own name", width) == shown


def test_a_model_for_people(command, tmp_path):
    model, samples = made.write_perceptron(tmp_path)
    ended = command("profile", model, "--samples", samples, "--runs", 3, "--top", 2)
    assert ended.code == 0
    assert "MatMul" in ended.out
    assert "the other 2" in ended.out
    assert "kinds" in ended.out
    assert "precisions" in ended.out


def test_a_model_for_programs(command, tmp_path):
    model, samples = made.write_perceptron(tmp_path)
    ended = command(
        "profile", model, "--samples", samples, "--runs", 3, "--top", 1, "--threads", 1, "--json"
    )
    result = ended.document["result"]
    assert ended.code == 0
    assert [row["onnx"] for row in result["layers"]] == [["h"], ["r"], ["y"], ["label"]]
    assert result["layers_us"] == sum(row["median_us"] for row in result["layers"])
    assert result["run_us"] > 0
    assert {part["name"] for part in result["precisions"]} == {"fp32"}


def test_a_bundle_is_profiled_on_its_own_sample(command, tmp_path):
    model, samples = made.write_perceptron(tmp_path)
    out = tmp_path / "b.rw"
    deployed = command(
        "deploy", model, "--samples", samples, "--out", out, "--measure-seconds", 0, "--json"
    )
    assert deployed.code == 0
    result = command("profile", out, "--runs", 2, "--json").document["result"]
    assert [row["kind"] for row in result["layers"]] == ["MatMul", "Relu", "MatMul", "ArgMax"]
    assert all(len(row["onnx"]) == 1 for row in result["layers"])


def test_a_runtime_that_cannot_tell_is_exit_4_with_the_reason(command, tmp_path, monkeypatch):
    model, samples = made.write_perceptron(tmp_path)
    monkeypatch.delattr(runtime.Runner, "profile")
    ended = command("profile", model, "--samples", samples, "--json")
    assert ended.code == 4
    assert "no profile per layer" in ended.error["what"]


def test_without_samples_it_says_what_to_give(command, tmp_path):
    model, samples = made.write_perceptron(tmp_path)
    ended = command("profile", model, "--json")
    assert (ended.code, ended.error["where"]) == (2, "--samples")
    assert command("profile", model, "--samples", samples, "--runs", 0).code == 2
    assert command("profile", tmp_path / "none.onnx", "--json").code == 2


def test_samples_that_do_not_fit_are_refused(command, tmp_path):
    model, _ = made.write_perceptron(tmp_path)
    np.savez(tmp_path / "other.npz", wrong=np.zeros((2, 3), np.float32))
    assert command("profile", model, "--samples", tmp_path / "other.npz", "--json").code == 2
