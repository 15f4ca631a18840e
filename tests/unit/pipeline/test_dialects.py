"""INT8 as a target wants it."""

from __future__ import annotations

import pytest

from roadworthy.backends import registry
from roadworthy.core.errors import UnavailableError
from roadworthy.core.target import Target
from roadworthy.pipeline.dialects import dialect_of


def test_weights_of_eight_bits_where_no_x86_cpu_reads_them():
    assert dialect_of(Target.parse("onnxruntime:cuda")).weight_limit == 127
    assert dialect_of(Target("tensorrt")).weight_limit == 127


@pytest.mark.parametrize(
    ("machine", "limit"),
    [("x86_64", 63), ("AMD64", 63), ("", 63), (None, 63), ("aarch64", 127)],
)
def test_another_hosts_cpu_is_taken_to_be_without_vnni(monkeypatch, machine, limit):
    """What it can do isn't known; weights of eight bits would saturate there in silence."""

    def fingerprint(*_):
        if machine is None:
            raise UnavailableError("no route to host")
        return {"machine": machine}

    for name in ("onnxruntime", "openvino"):
        monkeypatch.setattr(type(registry.find(name)), "fingerprint", fingerprint)
        found = dialect_of(Target.parse(f"{name}@ssh=pi"))
        assert found.weight_limit == limit
        assert ("weights have 7 bits" in found.note) is (limit == 63)
    assert dialect_of(Target.parse("onnxruntime:cuda@ssh=pi")).weight_limit == 127
