"""ONNX's own operator tests in FP16: a valid graph with the right answers, or an honest refusal.

A sample of those that take FP32 and that ONNX Runtime answers; cheap nodes are left in half
(`keep_islands`), or most of these one-node models would stay as they are.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from roadworthy.core.errors import InputError, RoadworthyError, UnavailableError
from roadworthy.core.signature import Answers, Array
from roadworthy.graph.signature import signature_of
from roadworthy.precision.half import plan_half, to_half
from tests.conformance.onnx_cases import Case, cases
from tests.unit.precision.half_made import ranges_of, relative, run

# Every so many cases; the whole set (some 1,200 that run) is a run by hand: it takes 12 s.
EVERY = 6
# A test's inputs are near one, and a few roundings of at most 2^-11 lie between them and the end.
TOLERANCE = 2e-3
NAMED = frozenset(
    {
        "test_batchnorm_example_training_mode", "test_bitcast_float32_to_int32",
        "test_gemm_all_attributes", "test_gru_defaults", "test_if",
        "test_layer_normalization_2d_axis0",
        "test_loop11", "test_optional_get_element_tensor", "test_qlinearmatmul_2D_int8_float32",
        "test_resize_upsample_scales_linear", "test_scan_sum",
    }
)  # fmt: skip


@cache
def sample() -> tuple[Case, ...]:
    return tuple(
        case
        for index, case in enumerate(cases())
        if index % EVERY == 0 or case.name in NAMED
        if not case.name.startswith("test_image_decoder")
    )


def baseline(case: Case) -> tuple[dict[str, Array], Answers, dict[str, tuple[float, float]]] | None:
    """The feed, ONNX Runtime's answers in FP32 and the ranges; None for what it doesn't take."""
    try:
        model = case.model()
        signature = signature_of(model)
        if all(item.dtype != "float32" for item in signature.inputs):
            return None
        feed, _ = case.data_sets(signature)[0]
        return feed, run(model, feed), ranges_of(model, feed)
    except UnavailableError:
        return None  # no plain tensors
    except Exception as error:
        # ONNX Runtime derives its errors from Exception itself, one by one.
        if not type(error).__module__.startswith(("onnxruntime", "builtins")):
            raise
        return None


def test_a_sample_of_the_standard() -> None:
    halves = refused = 0
    for case in sample():
        found = baseline(case)
        if found is None:
            continue
        feed, wanted, ranges = found
        model = case.model()
        try:
            plan = plan_half(model, "fp16", ranges, keep_islands=True)
            result = to_half(model, plan)
        except RoadworthyError as error:
            assert isinstance(error, UnavailableError | InputError), f"{case.name}: {error}"
            refused += 1
            continue
        assert signature_of(result) == signature_of(model), case.name
        halves += any(item.dtype == "fp16" for item in plan.decisions)
        assert_alike(run(result, feed), wanted, case.name)
    assert halves > 80, "the sample no longer tests half"
    assert refused <= 3


def assert_alike(ours: Answers, wanted: Answers, where: str) -> None:
    assert list(ours) == list(wanted), where
    for name, array in wanted.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            continue
        assert (ours[name].dtype, ours[name].shape) == (array.dtype, array.shape), where
        truth = array.astype(np.float64)
        finite = np.isfinite(truth)
        np.testing.assert_array_equal(np.isfinite(ours[name].astype(np.float64)), finite, where)
        assert relative(ours[name][finite], truth[finite]) < TOLERANCE, f"{where}: {name}"


def test_the_named_ones_are_in_the_sample() -> None:
    assert {case.name for case in sample()} >= NAMED
