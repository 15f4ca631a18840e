"""INT8 from the command line: what is said, what is written, how it ends."""

from __future__ import annotations

import numpy as np
import pytest

import roadworthy
from roadworthy.pipeline import deploy as deploy_module
from tests.unit.pipeline import int8_nets as nets

QUICK = ("--threads", "1", "--method", "minmax")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    nets.write(folder / "u.onnx", nets.UNET, nets.unet_weights())
    nets.write_folder(folder / "samples", nets.feeds(5, 1, 8, 16, 16))
    np.savez(folder / "wide.npz", x=np.ones((1, 3, 16, 16), np.float32))
    return folder


@pytest.fixture(scope="module")
def bundle(place):
    """One deploy for two runtimes."""
    from roadworthy.cli.main import run

    words = ("deploy", place / "u.onnx", "--samples", place / "samples", "--precision", "int8")
    targets = ("--target", "onnxruntime", "--target", "openvino", "--measure-seconds", "0.1")
    assert run([*map(str, (*words, *targets, *QUICK, "--out", place / "u.rw"))]) == 0
    return place / "u.rw"


def deployed(command, place, *words):
    return command(
        "deploy", place / "u.onnx", "--samples", place / "samples", "--threads", "1",
        "--measure-seconds", "0", "--json", *words,
    )  # fmt: skip


class TestQuantize:
    def test_it_says_what_was_done_and_writes_it(self, command, place, tmp_path):
        out = tmp_path / "q.onnx"
        words = ("quantize", place / "u.onnx", "--samples", place / "samples", "--out", out)
        ended = command(*words)
        assert ended.code == 0, ended
        assert "8 nodes in int8, 3 nodes in fp32 (for onnxruntime)" in ended.out
        assert "up (ConvTranspose): fp32, onnxruntime has no INT8 kernel for it" in ended.out
        assert sorted(item.name for item in tmp_path.iterdir()) == ["q.onnx", "q.plan.json"]
        document = command(*words, "--json").document
        assert document["result"]["files"] == [str(out), str(tmp_path / "q.plan.json")]
        assert document["result"]["nodes"]["int8"] > 2

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (("--samples", "random"), 2),
            (("--samples", "nowhere"), 2),
            ((), 2),
            (("--target", "tvm"), 4),
            (("--emit", "x"), 2),
        ],
    )
    def test_refusals(self, command, place, tmp_path, words, code):
        given = words if "--samples" in words or not words else (
            *words, "--samples", place / "samples"
        )  # fmt: skip
        ended = command("quantize", place / "u.onnx", *given, "--out", tmp_path / "q", "--json")
        assert ended.code == code, ended
        assert all(ended.error[key] for key in ("what", "where"))
        assert list(tmp_path.iterdir()) == []


class TestDeploy:
    def test_the_bundle_verifies_and_answers(self, command, place, bundle):
        ended = command("verify", bundle, "--json")
        assert ended.code == 0, ended
        assert len(ended.document["result"]["targets"]) == 2
        [feed] = nets.feeds(1, 1, 8, 16, 16)
        with roadworthy.load(bundle) as model:
            assert model.run(feed)["y"].shape == (1, 8, 16, 16)
        assert command("verify", bundle, "--rebuild", "--json").code == 0
        page = bundle.with_name("page.html")
        assert command("report", bundle, "--out", page).code == 0
        assert "computed literally" in page.read_text()

    def test_the_certificate_says_how_it_was_lowered(self, command, place):
        ended = deployed(command, place, "--precision", "int8", "--target", "openvino")
        assert ended.code == 0, ended
        [target] = ended.document["result"]["targets"]
        certificate = target["certificate"]
        assert certificate["precision"] == "int8"
        lowering = certificate["lowering"]
        assert lowering["dialect"] == "openvino"
        assert {item["node"] for item in lowering["exceptions"]} == {"first", "last"}
        assert lowering["calibration"]["method"] in {item["method"] for item in lowering["scores"]}
        assert lowering["calibration"]["count"] + lowering["held_back"] == 5
        [output] = certificate["verdict"]["cases"][0]["outputs"]
        assert "computed literally" in output["tolerance"]["origin"]

    @pytest.mark.parametrize(
        ("words", "code", "says"),
        [
            (("--precision", "int8", "--calibration", "random"), 2, "can't calibrate"),
            (("--precision", "int8", "--calibration", "nowhere"), 2, "don't exist"),
            (("--precision", "int8", "--calibration", "wide.npz"), 2, "[1, 3, 16, 16]"),
            (("--precision", "fp32", "--method", "mse"), 2, "int8 alone"),
            (("--precision", "int8", "--target", "tvm"), 4, "tvm"),
            (("--precision", "int8", "--budget", "mvre=1e-6"), 5, "the budget is 1e-06"),
        ],
    )
    def test_refusals(self, command, place, monkeypatch, words, code, says):
        monkeypatch.chdir(place)
        ended = deployed(command, place, *words, "--out", place / "no.rw")
        assert ended.code == code, ended
        assert says in ended.error["what"]
        assert not (place / "no.rw").exists()

    @pytest.mark.parametrize(
        ("ratio", "says"),
        [(2.0, "is faster"), (1.0, "can't be told apart"), (0.5, "is slower")],
    )
    def test_auto_takes_the_fastest_that_keeps_the_budget(
        self, command, place, monkeypatch, ratio, says
    ):
        """The ratio is what it would be on another machine; all else is real."""
        from dataclasses import replace

        really = deploy_module.time_side_by_side

        def timed(*given):
            both = really(*given)
            assert (both.subject.subject, both.baseline.subject) == (
                "int8 on onnxruntime",
                "fp32 on onnxruntime",
            )
            return replace(both, ratio=ratio, ratio_low=ratio - 0.1, ratio_high=ratio + 0.1)

        monkeypatch.setattr(deploy_module, "time_side_by_side", timed)
        ended = deployed(
            command, place, "--measure-seconds", "0.05", "--budget", "mvre=0.9",
            "--method", "minmax", "--out", place / f"{ratio}.rw",
        )  # fmt: skip
        assert ended.code == 0, ended
        [target] = ended.document["result"]["targets"]
        kept, lost = ("int8", "fp32") if ratio > 1 else ("fp32", "int8")
        assert target["certificate"]["precision"] == kept
        [other] = target["others"]
        assert other.startswith(f"{lost}: ")
        assert f"int8 on onnxruntime {says}" in other
        assert f"{ratio:.3f} times as fast (95 % interval {ratio - 0.1:.3f} to" in other
        assert [each["ratio"] for each in target["certificate"]["choice"]] == [ratio]
        page = place / "chosen.html"
        assert command("report", place / f"{ratio}.rw", "--out", page).code == 0
        assert "Several engines could have shipped." in page.read_text()

    def test_what_misses_the_budget_is_named(self, command, place):
        ended = deployed(command, place, "--budget", "mvre=0.001")
        assert ended.code == 0, ended
        [target] = ended.document["result"]["targets"]
        assert target["certificate"]["precision"] == "fp32"
        [other] = target["others"]
        assert other.startswith("int8: output 'y' has mvre")

    def test_what_can_t_be_had_is_named_too(self, command, place):
        """No node of it would run in INT8: that precision is never built."""
        nets.write(place / "plain.onnx", nets.PLAIN)
        np.savez(place / "plain.npz", x=np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8))
        ended = command(
            "deploy", place / "plain.onnx", "--samples", place / "plain.npz", "--threads", "1",
            "--measure-seconds", "0", "--budget", "mvre=0.5",
        )  # fmt: skip
        assert ended.code == 0, ended
        assert "instead int8: nothing in this network would run in INT8" in ended.out
