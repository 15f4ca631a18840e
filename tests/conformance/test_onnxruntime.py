"""ONNX Runtime on the CPU."""

from __future__ import annotations

import pytest

from roadworthy.core.errors import UnavailableError
from tests.conformance.exceptions import listed, wrongs
from tests.conformance.networks import NUMPY_DTYPES, SMALL_DTYPES
from tests.conformance.onnx_cases import cases
from tests.conformance.suite import BackendConformance
from tests.conformance.wrong_cases import wrong_cases

# What ONNX Runtime itself passes of the 1,818 when it is called by hand; we may not lose any.
AT_LEAST = 1565


class TestOnnxRuntime(BackendConformance):
    target = "onnxruntime"
    # ONNX Runtime has no complex numbers, and no CPU kernel at all for float4.
    claims = frozenset({*NUMPY_DTYPES, *SMALL_DTYPES} - {"complex64", "float4_e2m1fn"})

    def test_at_least_as_many_cases_pass_as_by_hand(self) -> None:
        assert len(cases()) == 1818
        assert len(cases()) - len(listed("onnxruntime")) >= AT_LEAST

    def test_wrong_cases_can_be_had_for_verification(self) -> None:
        found = list(wrong_cases())
        assert {case.name for case in found} == set(wrongs("onnxruntime"))
        assert all(case.run.ours.keys() == case.run.expected.keys() for case in found)

    def test_results_beside_those_of_a_small_dtype_are_the_callers_too(self) -> None:
        graph = "g (float[n] x) => (float[n] x, bfloat16[n] z) { z = Cast <to = 16> (x) }"
        self.test_results_are_the_callers_to_keep_and_to_change(graph)

    def test_text_in_and_a_small_dtype_out_is_refused_clearly(self) -> None:
        graph = (
            "g (string[n] t, float[n] x) => (string[n] u, bfloat16[n] y)"
            " { u = Identity(t) y = Cast <to = 16> (x) }"
        )
        with pytest.raises(UnavailableError, match=r"text and give y \(bfloat16\)"):
            self.engine(graph)
