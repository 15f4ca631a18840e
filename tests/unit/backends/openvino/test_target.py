"""Devices, versions, places, and options."""

import sys

import numpy as np
import pytest

from roadworthy.backends.openvino.compiler import BACKEND
from roadworthy.core.errors import UnavailableError, UsageError
from roadworthy.core.target import Target
from tests.models import convnet, convnet_weights, network, normal
from tests.unit.backends.openvino.made import compiled

IMAGE = {"image": normal(1, 1, 8, 8)}


def test_the_fingerprint_names_runtime_version_and_device():
    found = BACKEND.fingerprint(Target("openvino"))
    assert (found["runtime"], found["device"]) == ("openvino", "CPU")
    assert found["version"].startswith("20")
    assert found["device name"] and found["machine"] and found["system"]


@pytest.mark.parametrize("device", [None, "CPU", "cpu", "AUTO"])
def test_devices_that_are_there(device):
    assert BACKEND.supports(Target("openvino", device)).ok


@pytest.mark.parametrize("device", ["FPGA", "HETERO:CPU", "MULTI:CPU", "GPU.7"])
def test_a_device_that_is_not_there_names_those_that_are(device):
    support = BACKEND.supports(Target("openvino", device))
    assert not support.ok
    assert device.upper() in support.reason and "CPU" in support.reason.rpartition("only")[2]
    with pytest.raises(UnavailableError, match="only CPU"):
        compiled(convnet(), target=f"openvino:{device}")


def test_auto_says_which_device_it_took():
    engine = compiled(convnet(), target="openvino:AUTO")
    assert engine.proof["devices"] == ["CPU"]
    with engine.open() as session, compiled(convnet()).open() as cpu:
        np.testing.assert_array_equal(session.run(IMAGE)["y"], cpu.run(IMAGE)["y"])


def test_another_version_is_refused():
    support = BACKEND.supports(Target("openvino", version="2019.1"))
    assert not support.ok and "2019.1" in support.reason
    assert support.remedy == 'pip install "openvino==2019.1.*"'


def test_another_interpreter_gives_the_same_answers():
    where = f"openvino@python={sys.executable}"
    with compiled(convnet(), target=where).open() as there, compiled(convnet()).open() as here:
        np.testing.assert_array_equal(there.run(IMAGE)["y"], here.run(IMAGE)["y"])


@pytest.mark.parametrize("target", ["openvino", "openvino:AUTO"])
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_asked_for_and_unpinned(threads, target):
    proof = compiled(convnet(), threads=threads, target=target).proof
    assert (proof["threads"], proof["pinning"], proof["streams"]) == (threads, False, 1)


@pytest.mark.parametrize("target", ["openvino", "openvino:AUTO"])
def test_pinning_is_an_option(target):
    assert compiled(convnet(), pinning="on", target=target).proof["pinning"] is True


@pytest.mark.parametrize(
    "extra", [{"streams": "4"}, {"pinning": "perhaps"}, {"cache_dir": ""}], ids=str
)
def test_an_option_that_openvino_has_not_is_refused_with_those_it_has(extra):
    with pytest.raises(UsageError) as caught:
        compiled(convnet(), **extra)
    assert "cache_dir=FOLDER" in str(caught.value.remedy)


def test_the_cache_keeps_what_was_compiled_and_answers_for_no_other_model(tmp_path):
    folder = str(tmp_path / "cache")
    first = compiled(convnet(), cache_dir=folder)
    kept = {path.name for path in (tmp_path / "cache").iterdir()}
    assert kept
    with first.open() as session:
        want = session.run(IMAGE)["y"]
    with compiled(convnet(), cache_dir=folder).open() as session:
        np.testing.assert_array_equal(session.run(IMAGE)["y"], want)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == kept
    graph = """g (float[batch, 1, h, w] image) => (float[batch, 2, h, w] y) {
        c = Conv<pads = [1, 1, 1, 1]>(image, k1)  r = Relu(c)  y = Conv(r, k2)
    }"""
    weights = {**convnet_weights(), "k2": -convnet_weights()["k2"]}
    with compiled(network(graph, weights), cache_dir=folder).open() as session:
        np.testing.assert_allclose(session.run(IMAGE)["y"], -want, rtol=1e-5, atol=1e-6)
    assert {path.name for path in (tmp_path / "cache").iterdir()} > kept
