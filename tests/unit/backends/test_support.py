"""A version that is asked for is compared part by part."""

from __future__ import annotations

import pytest

from roadworthy.backends.base import Support
from roadworthy.core.target import Target


@pytest.mark.parametrize(
    ("asked", "found", "ok"),
    [
        ("8.6", "8.6.0", True),
        ("8.6", "8.6", True),
        ("8", "8.6.1", True),
        ("8.6", "8.60.1", False),
        ("1.3", "1.31.1", False),
        ("8.6.1", "8.6", False),
    ],
)
def test_part_by_part(asked, found, ok):
    support = Support.of_version(Target.parse(f"tensorrt=={asked}"), found, "TensorRT", "tensorrt")
    assert support.ok is ok
    if not ok:
        assert support.reason == f"TensorRT {asked} was asked for, {found} is installed"
        assert f'pip install "tensorrt=={asked}.*"' in str(support.remedy)


def test_no_version_takes_any():
    support = Support.of_version(Target.parse("openvino"), "2026.4", "OpenVINO", "openvino")
    assert (support.ok, support.version) == (True, "2026.4")
