"""The whole road on a real GPU: TensorRT and ONNX Runtime from one ONNX file into one bundle."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import roadworthy
from roadworthy.backends.gateway import Worker
from roadworthy.backends.registry import find
from roadworthy.backends.tensorrt.plan import RUNTIME
from roadworthy.bundle.reader import read_bundle
from roadworthy.cli.main import run
from roadworthy.core.errors import UnavailableError
from tests import models
from tests.device import networks
from tests.device.place import TARGET
from tests.unit.cli.made import Ended
from tests.unit.cli.made import roadworthy as fresh_process

pytestmark = [pytest.mark.device, pytest.mark.usefixtures("own_cache")]

TENSORRT, RANGES = str(TARGET), "image[batch=1..4,3,h=32..64:8,w=32..64:8]"
QUICK = ("--option", "tensorrt.level=0", "--json")
# The oracles compute every case in FP64 on the CPU, which takes its time.
NARROW = 8
LEVEL = ("--option", "tensorrt.level=3")


@pytest.fixture
def command(capfd):
    def go(*words) -> Ended:
        capfd.readouterr()
        code = run([str(word) for word in words])
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return go


@pytest.fixture
def network(tmp_path):
    """A real ONNX file with open axes, and two samples of different sizes."""
    onnx.save(networks.wide_convnet_proto(width=NARROW), tmp_path / "net.onnx")
    (tmp_path / "samples").mkdir()
    for index, (n, h, w) in enumerate([(1, 64, 64), (2, 40, 48)]):
        np.save(tmp_path / "samples" / f"s{index}.npy", models.normal(n, 3, h, w, seed=index))
    return tmp_path


def deploy(network, *words, targets=(TENSORRT, "onnxruntime"), seconds="0", out=None):
    named = [word for target in targets for word in ("--target", target)]
    given = ("--samples", network / "samples", "--inputs", RANGES, "--measure-seconds", seconds)
    return (
        "deploy",
        network / "net.onnx",
        *given,
        *named,
        "--out",
        out or network / "net.rw",
        *words,
    )


def targets_of(ended):
    return {item["target"]: item for item in ended.document["result"]["targets"]}


def test_fp32_on_both_is_verified_bundled_and_verified_again_elsewhere(command, network):
    ended = command(*deploy(network, *LEVEL, "--json", seconds="1"))
    assert ended.code == 0, ended
    found, result = targets_of(ended), ended.document["result"]
    assert set(found) == {TENSORRT, "onnxruntime"}
    for item in found.values():
        assert item["ok"] is True
        cases = {case["case"]: case for case in item["certificate"]["verdict"]["cases"]}
        assert {"samples", "smallest", "largest"} <= set(cases)
        assert all(case["failures"] == [] for case in cases.values())
        assert item["certificate"]["latency"]["p50_ms"] > 0
    # Small networks are about equally fast on both: the second has to be shown to be faster.
    (both,) = found[result["chosen"]]["certificate"]["choice"]
    second = both["ratio_low"] > 1
    assert result["chosen"] == list(found)[int(second)], both
    said = result["why"].split("; ")
    assert said[0].startswith(f"{result['chosen']}: ")
    (loser,) = set(found) - {result["chosen"]}
    assert any(part.startswith(f"{loser}: ") and "ms" in part for part in said[1:])

    bundle = network / "net.rw"
    again = command("verify", bundle, "--json")
    assert again.code == 0, again
    assert {item["target"] for item in again.document["result"]["targets"]} == set(found)
    other = fresh_process("verify", bundle, "--target", TENSORRT, "--json")
    assert other.code == 0, other
    assert other.document["result"]["passed"] is True
    judge = models.engine(ir.from_proto(networks.wide_convnet_proto(width=NARROW)))
    with roadworthy.load(bundle) as model, judge.open() as session:
        feed = {"image": models.normal(3, 3, 56, 32, seed=9)}
        ours, theirs = model.run(feed)["y"], session.run(feed)["y"]
        assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)


def test_fp16_is_verified_within_its_own_tolerance(command, network):
    onnx.save(networks.wide_convnet_proto(), network / "net.onnx")
    # Timed at its largest: of small ones the builder took TF32 where other builds shared the GPU.
    largest = ("--option", "tensorrt.profile=batch=1..4@4,h=32..64@64,w=32..64@64")
    words = ("--precision", "fp16", *LEVEL, *largest, "--json")
    ended = command(*deploy(network, *words, targets=(TENSORRT,)))
    assert ended.code == 0, ended
    certificate = targets_of(ended)[TENSORRT]["certificate"]
    assert certificate["precision"] == "fp16"
    for case in certificate["verdict"]["cases"]:
        (output,) = case["outputs"]
        assert 1e-6 < output["metrics"]["relative_l2"] <= output["tolerance"]["limit"] < 0.05
        assert "fp16" in output["tolerance"]["origin"]
    assert fresh_process("verify", network / "net.rw", "--json").code == 0


def test_people_are_told_which_one_is_chosen_and_why_not_the_other(command, network):
    ended = command(*deploy(network, *LEVEL, seconds="0.5"))
    assert ended.code == 0, ended
    said = ended.out + ended.err
    assert "chosen" in said
    assert said.count("verified") >= 2
    assert "onnxruntime: " in said


def edit_fingerprint(folder, key, value):
    """Write another fingerprint into a folder bundle, with its digest, as if built elsewhere."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (record,) = (item for item in manifest["engines"] if item["target"] == TENSORRT)
    assert key in record["fingerprint"]
    record["fingerprint"][key] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


@pytest.mark.parametrize(
    ("key", "value"), [("version", "99.9.9"), ("compute_capability", "1.0"), ("machine", "abacus")]
)
def test_an_engine_made_for_elsewhere_is_refused_before_it_is_loaded(
    command, network, key, value, monkeypatch
):
    folder = network / "folder"
    assert command(*deploy(network, *QUICK, targets=(TENSORRT,), out=folder)).code == 0
    assert command("verify", folder, "--json").code == 0
    edit_fingerprint(folder, key, value)
    monkeypatch.setattr(Worker, "open", lambda *_: pytest.fail("it was about to be loaded"))
    ended = command("verify", folder, "--json")
    assert ended.code == 4, ended
    assert value in ended.error["what"]
    assert "expected" in ended.error["what"]


def test_an_engine_with_other_weights_is_exit_3_and_the_right_one_ships(
    command, network, monkeypatch
):
    backend, build = find("tensorrt"), find("tensorrt").compile

    def spoiled(model, signature, target, *rest, **more):
        assert target == TARGET
        model = model.clone()
        value = model.graph.initializers["head"]
        value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.01), name="head")
        return build(model, signature, target, *rest, **more)

    monkeypatch.setattr(backend, "compile", spoiled, raising=False)
    ended = command(*deploy(network, *QUICK))
    assert ended.code == 3, ended
    found = targets_of(ended)
    assert found[TENSORRT]["error"]["code"] == "wrong-answers"
    assert "'y'" in found[TENSORRT]["error"]["what"]
    assert found["onnxruntime"]["ok"] is True
    assert ended.document["result"]["chosen"] == "onnxruntime"
    records = read_bundle(network / "net.rw").manifest.engines
    assert [str(record.target) for record in records] == ["onnxruntime"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
@pytest.mark.parametrize("when", ["build", "run"])
def test_a_worker_that_is_killed_takes_nothing_along(command, network, monkeypatch, how, when):
    killed = []
    kill_at_work(when, how, killed, monkeypatch)
    ended = command(*deploy(network, *QUICK))
    assert killed, "nothing was killed: the test saw nothing"
    found = targets_of(ended)
    assert found["onnxruntime"]["ok"] is True
    assert found[TENSORRT]["ok"] is False
    assert how.name in json.dumps(found[TENSORRT])
    assert ended.code == found[TENSORRT]["exit_code"] != 0
    records = read_bundle(network / "net.rw").manifest.engines
    assert [str(record.target) for record in records] == ["onnxruntime"]
    assert command("verify", network / "net.rw", "--json").code == 0


def kill_at_work(when, how, killed, monkeypatch):
    """Kill the worker while it was told to build, or to run for the third time.

    It is stopped first, so that it can't be done before it dies.
    """
    verb, asked = Worker.ask, []

    def die(pid):
        os.kill(pid, how)
        os.kill(pid, signal.SIGCONT)

    def ask(self, name, *rest, **more):
        if name == when and self._runtime == RUNTIME:
            asked.append(name)
            if len(asked) == (1 if when == "build" else 3):
                killed.append(self.pid)
                os.kill(self.pid, signal.SIGSTOP)
                threading.Timer(0.3, die, (self.pid,)).start()
        return verb(self, name, *rest, **more)

    monkeypatch.setattr(Worker, "ask", ask)


def test_a_damaged_engine_in_a_bundle_is_refused_unread(command, network):
    folder = network / "folder"
    assert command(*deploy(network, *QUICK, targets=(TENSORRT,), out=folder)).code == 0
    (plan,) = folder.rglob("engine.plan")
    content = bytearray(plan.read_bytes())
    content[len(content) // 2] ^= 1
    plan.write_bytes(bytes(content))
    ended = command("verify", folder, "--json")
    assert ended.code == 2, ended
    assert "engine.plan" in json.dumps(ended.error)


def test_a_target_that_is_not_there_leaves_the_other_one(command, network):
    absent = f"tensorrt==99.9@{TARGET.where}" if TARGET.where else "tensorrt==99.9"
    ended = command(*deploy(network, "--json", targets=(absent, "onnxruntime")))
    assert ended.code == UnavailableError.exit_code
    assert "99.9 was asked for" in targets_of(ended)[absent]["error"]["what"]
    assert targets_of(ended)["onnxruntime"]["ok"] is True
