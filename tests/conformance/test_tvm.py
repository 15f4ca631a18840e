"""TVM on the CPU, on a fixed part of ONNX's data: it compiles and links for each case.

All 1,818 cases take eight to nine minutes in one process. The lists of exceptions are of all of
them, and are made and checked so:

    python -m tests.device.record_conformance --target tvm --out tvm.jsonl --workers 2
    python -m tests.device.list_exceptions tvm.jsonl --check

Run here are, by rule and not by what passes: every "simple" model, and of the node tests the first
by name of each operator (of the model's first node), "_expanded" ones left out; and every case that
is listed as wrong, or that our own rule refuses since TVM would misread it (`runtime/quirks.py`).
The whole contract of a session is run.
"""

from __future__ import annotations

from functools import cache

import onnx
import pytest

from roadworthy.backends.tvm.compiler import BACKEND
from roadworthy.core.errors import EXIT_WRONG
from roadworthy.verify.engine import wrong_answers
from tests.conformance.exceptions import Refusal, refusals, wrongs
from tests.conformance.onnx_cases import Case, cases
from tests.conformance.suite import BackendConformance
from tests.conformance.wrong_cases import judge, wrong_cases

MISREAD = "TVM would misread "


@cache
def chosen() -> tuple[Case, ...]:
    """Return the cases of this module's docstring, in order of name."""
    found: dict[str, Case] = {}
    for case in cases():
        kind = case.folder.parent.name
        if kind == "simple":
            found[case.name] = case
        elif kind == "node" and "_expanded" not in case.name:
            graph = onnx.load(case.folder / "model.onnx", load_external_data=False).graph
            found.setdefault(graph.node[0].op_type, case)
    found |= {case.name: case for case in cases() if case.name in wrongs("tvm") | misread()}
    return tuple(sorted(set(found.values()), key=lambda case: case.name))


def misread() -> dict[str, Refusal]:
    """Return what is listed as refused by our own rule."""
    return {name: why for name, why in refusals("tvm").items() if why.says.startswith(MISREAD)}


@pytest.fixture(scope="class", autouse=True)
def one_worker():
    """One worker for the whole class: TVM takes seconds to import."""
    with BACKEND.one_worker():
        yield


class TestTvm(BackendConformance):
    target = "tvm"
    claims = frozenset(
        {"bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64"}
        | {"uint8", "uint16", "uint32", "uint64"}
    )
    names_nodes = False  # it fuses nodes into functions and keeps no account of which

    @pytest.mark.parametrize("case", chosen(), ids=lambda case: case.name)
    def test_onnx_data(self, case: Case) -> None:
        super().test_onnx_data(case)

    def test_what_is_wrong_or_would_be_is_run(self) -> None:
        assert misread()
        assert wrongs("tvm").keys() | misread().keys() <= {case.name for case in chosen()}


@pytest.fixture(scope="module")
def listed_wrong():
    """Every listed wrong answer, given anew, with the verdict on it."""
    with BACKEND.one_worker():
        return {case.name: (case, judge(case.run)) for case in wrong_cases("tvm")}


@pytest.mark.parametrize("name", sorted(wrongs("tvm")))
def test_a_wrong_answer_fails_verification_and_rounding_passes(name, listed_wrong) -> None:
    case, verdict = listed_wrong[name]
    assert verdict.passed != case.why.caught, verdict.failures
    if case.why.caught:
        assert wrong_answers(verdict, name).exit_code == EXIT_WRONG
