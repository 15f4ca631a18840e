"""What the recorder of tests/device does on a bad day; here on ONNX Runtime, no GPU needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from roadworthy.core.target import Target
from tests.device.list_exceptions import joined, refused_groups, says, wrong_groups
from tests.device.record_conformance import Process, read

ROOT = Path(__file__).parents[2]
TARGET = Target("onnxruntime")


def record(out, *words):
    command = [sys.executable, "-m", "tests.device.record_conformance", "--target", "onnxruntime"]
    return subprocess.run(
        [*command, "--out", out, "--workers", "1", "--seconds", "60", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_record_that_was_cut_off_is_gone_on_with(tmp_path):
    out = tmp_path / "record.jsonl"
    ended = record(out, "--match", "test_abs")
    assert ended.returncode == 0, ended.stderr
    header, first = read(out)
    assert (first["name"], first["outcome"]) == ("test_abs", "passed")
    out.write_text(out.read_text() + '{"name": "test_ab')
    assert record(out, "--match", "test_a_scalar").returncode == 0
    assert [line.get("name") for line in read(out)] == [
        None,
        "test_abs",
        "test_a_scalar_stays_a_scalar",
    ]
    other = {**header, "target": "another"}
    out.write_text(json.dumps(other) + "\n")
    ended = record(out)
    assert ended.returncode == 1
    assert "is of something else" in ended.stderr


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
def test_a_process_that_dies_is_told_with_its_end(tmp_path, how):
    process = Process(TARGET, tmp_path, 0)
    try:
        (found,) = process.run("test_abs", 60.0)
        assert found["outcome"] == "passed"
        threading.Timer(0.1, os.kill, (process.pid, how)).start()
        with pytest.raises((EOFError, OSError)):
            for _ in range(10_000):
                process.run("test_abs", 60.0)
        assert f"ended with {-how}" in process.last_words()
    finally:
        process.kill()


def test_one_that_hangs_is_killed(tmp_path):
    process = Process(TARGET, tmp_path, 0)
    process.run("test_abs", 60.0)
    assert process.run("test_abs", 0.0) is None
    process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def outcome(name, error, **more):
    return {
        "test": name,
        "kind": "onnx",
        "name": name,
        "outcome": "refused",
        "error": error,
        **more,
    }


def test_a_group_keeps_the_reason_that_a_person_wrote_while_the_error_says_so():
    known = [{"reason": "well known", "says": "no Det", "tests": ["test_det", "test_gone"]}]
    found = [
        outcome("test_det", "there is no Det here"),
        outcome(
            "test_x", "TensorRT can't take this model: node 'a' (Pad): padding must be constant"
        ),
        outcome(
            "test_y", "TensorRT can't take this model: node 'b' (Pad): padding must be constant"
        ),
    ]
    assert refused_groups(found, known) == [
        {"reason": "well known", "says": "no Det", "tests": ["test_det"]},
        {
            "reason": "the runtime says: padding must be constant",
            "says": "padding must be constant",
            "tests": ["test_x", "test_y"],
        },
    ]


@pytest.mark.parametrize(
    "error",
    [
        "TensorRT can't take this model: node 'n' (Det): In node 0 (f): UNSUPPORTED_NODE: "
        'Assertion failed: creator && "Plugin not found, are the plugin name correct?"',
        "TensorRT 8.6.0 could not build this model: Error Code 4: Internal Error ((Unnamed Layer*"
        " 0) [Identity]: input tensor x has type UINT8)",
        "TensorRT 8.6.0 reads ONNX up to opset 17, and node '' (BitwiseAnd) can't be said in "
        "it: its meaning changed since",
        "TensorRT has no float64 inputs or outputs\n  where: x",
        "the worker of tensorrt died: killed by SIGSEGV; its last words: Fatal Python error",
        "short 1",
    ],
)
def test_the_words_of_a_group_are_in_the_error(error):
    words, reason = says(error)
    assert words in error
    assert reason


def test_a_contract_test_refused_whatever_its_parameters_is_one():
    def of(parameter, end, error=""):
        return {
            **outcome(f"test_t[{parameter}]", error, kind="contract", outcome=end),
            "test": "contract:test_t",
        }

    both = [
        of("a", "refused", "no 1 inputs here at all"),
        of("b", "refused", "no 2 inputs here at all"),
    ]
    assert [o["name"] for o in joined(both)] == ["test_t"]
    mixed = [of("a", "refused", "no text here at all"), of("b", "passed")]
    assert [o["name"] for o in joined(mixed)] == ["test_t[a]", "test_t[b]"]


def test_wrong_answers_that_verification_lets_pass_are_rounding():
    found = [
        outcome(
            "test_r",
            "y: 1 differs",
            outcome="wrong",
            operator="Mish",
            caught=False,
            relative_l2=1e-7,
        ),
        outcome(
            "test_w", "y: 9 differ", outcome="wrong", operator="Tile", caught=True, relative_l2=0.3
        ),
    ]
    groups = wrong_groups(found, [])
    assert [(g["kind"], g["caught"], g["tests"]) for g in groups] == [
        ("runtime", True, ["test_w"]),
        ("rounding", False, ["test_r"]),
    ]
