"""An engine in another interpreter is timed in a process of ours, which it mustn't inherit from."""

from __future__ import annotations

import os
import sys

import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.core.target import Target
from roadworthy.graph.signature import signature_of
from roadworthy.measure.paired import measure
from roadworthy.measure.subject import EngineSubject
from tests import models


@pytest.mark.parametrize("users", [None, "/somewhere/of/the/user"])
def test_the_other_interpreter_sees_the_users_pythonpath_and_not_ours(tmp_path, monkeypatch, users):
    """Seen on a GPU host: Python 3.10 with TensorRT found the NumPy of Python 3.12."""
    if users is None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONPATH", users)
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$PYTHONPATH" = "{users or ""}" ] || exit 9\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    model = models.perceptron()
    target = Target.parse(f"onnxruntime@python={python}")
    engine = find("onnxruntime").compile(model, signature_of(model), target, CompileOptions())
    feed = {"x": models.normal(2, 3)}
    latency = measure(
        EngineSubject("there", engine, feed, 1), seconds=0.2, progress=lambda share: None
    )
    assert latency.runs > 0
    assert os.environ.get("PYTHONPATH") == users
