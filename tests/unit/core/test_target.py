"""Targets: `backend[:device][==version][@where]`."""

from __future__ import annotations

import pytest

from roadworthy.core.errors import UsageError
from roadworthy.core.target import Target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("onnxruntime", Target("onnxruntime")),
        ("onnxruntime:cuda", Target("onnxruntime", "cuda")),
        ("tensorrt==8.6", Target("tensorrt", version="8.6")),
        ("torch:compile", Target("torch", "compile")),
        ("x:gpu.1:0==1.2rc1", Target("x", "gpu.1:0", "1.2rc1")),
        (
            "tensorrt@python=/opt/trt/bin/python3.10",
            Target("tensorrt", where="python=/opt/trt/bin/python3.10"),
        ),
        ("tensorrt@ssh=user@jetson", Target("tensorrt", where="ssh=user@jetson")),
    ],
)
def test_every_form_of_the_contract_reads_and_prints(text: str, target: Target) -> None:
    assert Target.parse(text) == target
    assert str(target) == text
    assert Target.parse(f"  {text} ") == target


@pytest.mark.parametrize(
    "text", ["", "@", "onnxruntime@", ":cuda", "ort:", "ort==", "Ort", "ort cuda", "ort==x", "1ort"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Target.parse(text)
    assert caught.value.exit_code == 2


def test_the_slug_is_a_file_name() -> None:
    slugs = {
        Target.parse(text).slug
        for text in ("onnxruntime", "onnxruntime:cuda", "tensorrt==8.6@ssh=user@jetson")
    }
    assert slugs == {"onnxruntime", "onnxruntime-cuda", "tensorrt-8.6-ssh-user-jetson"}
