"""Engines for the target, judged by ONNX Runtime on the CPU."""

from __future__ import annotations

import numpy as np

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.graph.signature import signature_of
from tests import models
from tests.device.place import QUICK, TARGET

FP32 = 1e-5
"""Relative L2 against ONNX Runtime: both FP32, other orders of summation."""


def build(model, signature=None, precision="fp32", extra=QUICK):
    options = CompileOptions(precision=precision, extra=tuple(sorted(extra)))
    signature = signature or signature_of(model)
    return find("tensorrt").compile(model, signature, TARGET, options)


def difference(one, other):
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return np.linalg.norm(one - other) / max(np.linalg.norm(other), 1e-30)


def both(model, feeds, signature=None, limit=FP32, **how):
    """Run every feed on TensorRT and on ONNX Runtime; return TensorRT's engine and answers."""
    engine = build(model, signature, **how)
    answers = []
    with engine.open() as session, models.engine(model, signature).open() as judge:
        for feed in feeds:
            found, expected = session.run(feed), judge.run(feed)
            assert list(found) == list(expected)
            for name in expected:
                assert found[name].dtype == expected[name].dtype
                assert found[name].shape == expected[name].shape
                if expected[name].dtype.kind == "f":
                    assert difference(found[name], expected[name]) < limit
                else:
                    np.testing.assert_array_equal(found[name], expected[name])
            answers.append(found)
    return engine, answers
