"""Wrong answers end with exit 3, whoever gives them, and are named."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.cli import made


@pytest.fixture
def network(tmp_path):
    return made.write_network(tmp_path)


def verify(network, model, *words):
    samples = ("--samples", network / "samples")
    return ("verify", model, *samples, *words, "--json")


def by_network(network):
    return ("--reference", f"{network}/net.py:net", "--weights", network / "w.safetensors")


def test_the_right_weights_verify(command, network):
    model = made.write_net_onnx(network / "right.onnx", made.weights())
    ended = command(*verify(network, model, *by_network(network)))
    assert ended.code == 0, ended
    assert ended.document["result"]["passed"] is True
    assert "PyTorch" in ended.document["result"]["reference"]


@pytest.mark.parametrize("name", ["last.weight", "last.bias"])
def test_an_altered_last_layer(command, network, name):
    given = made.weights()
    given[name] = given[name] * np.float32(1.001)
    model = made.write_net_onnx(network / "altered.onnx", given)
    ended = command(*verify(network, model, *by_network(network)))
    assert ended.code == 3
    assert ended.error["code"] == "wrong-answers"
    assert "'output'" in ended.error["what"]
    spoken = command(*verify(network, model, *by_network(network))[:-1])
    assert spoken.code == 3
    assert "NOT verified" in spoken.out
    assert "output" in spoken.err


def test_an_engine_that_answers_zero(command, network):
    model = made.write_net_onnx(network / "zero.onnx", made.weights(), zero=True)
    ended = command(*verify(network, model, *by_network(network)))
    assert ended.code == 3
    assert "zero" in ended.error["what"]


def test_given_answers(command, network):
    model = made.write_net_onnx(network / "net.onnx", made.weights())
    right = np.stack([made.net_in_numpy(image, made.weights()) for image in made.images()])
    np.savez(network / "right.npz", output=right.astype(np.float32))
    ended = command(*verify(network, model, "--reference", network / "right.npz"))
    assert ended.code == 0, ended
    (target,) = ended.document["result"]["targets"]
    assert any("no other shape" in note for note in target["notes"])
    wrong = right.copy()
    wrong[2, 0, 1, 3, 3] += 0.5
    np.savez(network / "wrong.npz", output=wrong.astype(np.float32))
    ended = command(*verify(network, model, "--reference", network / "wrong.npz"))
    assert ended.code == 3
    assert "s2.npy" in ended.error["what"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"nosuch": np.zeros((4, 1, 2, 8, 8), np.float32)},
        {"output": np.zeros((3, 1, 2, 8, 8), np.float32)},
        {},
    ],
)
def test_given_answers_that_fit_nothing(command, network, arrays):
    model = made.write_net_onnx(network / "net.onnx", made.weights())
    np.savez(network / "odd.npz", **arrays)
    assert command(*verify(network, model, "--reference", network / "odd.npz")).code == 2


def test_given_answers_of_another_shape_are_wrong(command, network):
    model = made.write_net_onnx(network / "net.onnx", made.weights())
    np.savez(network / "odd.npz", output=np.zeros((4, 1, 2, 8, 7), np.float32))
    assert command(*verify(network, model, "--reference", network / "odd.npz")).code == 3


def test_a_model_alone_is_judged_by_independent_oracles(command, network):
    model = made.write_net_onnx(network / "net.onnx", made.weights())
    ended = command(*verify(network, model))
    assert ended.code == 0, ended
    other = made.write_net_onnx(network / "other.onnx", made.weights(seed=99))
    assert command(*verify(network, model, "--reference", other)).code == 3
    assert command(*verify(network, model, "--reference", model)).code == 0


def test_a_branch_on_the_parity_of_a_size_is_never_frozen_in_silence(command, network):
    """Tracing keeps one of the two branches; some size has to tell."""
    words = ("deploy", f"{network}/net.py:parity", "--samples", network / "samples", "--json")
    ranges = ("--inputs", "image[1,3,h=4..16,8]", "--measure-seconds", "0")
    before = made.listing(network)
    ended = command(*words, *ranges, "--out", network / "net.rw")
    if ended.code == 0:  # an exporter that keeps both branches would be right
        (target,) = ended.document["result"]["targets"]
        cases = {case["case"]: case["sizes"] for case in target["certificate"]["verdict"]["cases"]}
        assert cases["odd"]["h"] % 2 == 1
    else:
        assert ended.code == 3
        assert "no exported model agrees" in ended.error["what"]
        assert "'output'" in ended.error["what"]
        assert made.listing(network) == before
    # At sizes of one parity alone there is nothing to be wrong about.
    even = ("--inputs", "image[1,3,h=4..16:2,8]", "--measure-seconds", "0")
    assert command(*words, *even).code == 0


def test_a_network_that_answers_by_chance(command, network):
    words = ("deploy", f"{network}/net.py:dropping", "--samples", network / "samples", "--json")
    ended = command(*words)
    assert ended.code == 2
    assert "two runs" in ended.error["what"]
    model = made.write_net_onnx(network / "net.onnx", made.weights())
    judged = verify(network, model, "--reference", f"{network}/net.py:dropping")
    assert command(*judged).code == 2
