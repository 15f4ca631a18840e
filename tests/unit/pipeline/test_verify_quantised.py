"""A Q/DQ file is judged against the same graph computed literally, and by its reference."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from roadworthy.core.errors import OraclesDisagreeError, WrongAnswersError
from roadworthy.pipeline.quantizing import run_quantize
from roadworthy.pipeline.verify import verify_model
from tests.unit.precision.int8_made import convnet8, images

SPEC = ("x[b=1..2,8,h=6..12,w=6..12]",)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised")
    ir.save(convnet8(), folder / "model.onnx")
    np.savez(folder / "samples.npz", x=np.stack([feed["x"] for feed in images(24)]))
    run_quantize(
        str(folder / "model.onnx"), folder / "samples.npz", folder / "int8.onnx", inputs=SPEC
    )
    return folder


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_its_reference_says_what_quantisation_costs(place, target):
    outcome = verify_model(
        str(place / "int8.onnx"),
        place / "samples.npz",
        reference=str(place / "model.onnx"),
        inputs=SPEC,
        target=target,
    )
    assert outcome.exit_code == 0, outcome.error
    (case, *_) = outcome.judged[0].verdict.cases
    (output,) = case.outputs
    assert "computed literally" in output.tolerance.origin
    assert 1e-4 < output.metrics.relative_l2 <= output.tolerance.limit < 0.25


def test_without_a_reference_it_judges_itself_within_its_rounding(place):
    outcome = verify_model(
        str(place / "int8.onnx"), place / "samples.npz", inputs=SPEC, target="openvino"
    )
    assert outcome.exit_code == 0, outcome.error
    (output,) = outcome.judged[0].verdict.cases[0].outputs
    assert "known error of int8" in output.tolerance.origin


def test_a_file_with_a_wrong_scale_is_refused_though_the_runtime_computes_it_rightly(place):
    model = ir.load(place / "int8.onnx")
    scale = next(
        value
        for name, value in model.graph.initializers.items()
        if name.endswith("_scale") and value.const_value.size == 1
    )
    scale.const_value = ir.tensor(scale.const_value.numpy() / 8, name=scale.name)
    ir.save(model, place / "wrong.onnx")
    with pytest.raises((WrongAnswersError, OraclesDisagreeError)) as caught:
        verify_model(
            str(place / "wrong.onnx"),
            place / "samples.npz",
            reference=str(place / "model.onnx"),
            inputs=SPEC,
        )
    assert caught.value.exit_code == 3
