"""TensorRT 8.6 on a real GPU: the suite that every backend passes, with all of ONNX's data.

The lists of what it refuses and where it is wrong were recorded on such a GPU:

    python -m tests.device.record_conformance --out record.jsonl --workers 12 --seconds 540
    python -m tests.device.list_exceptions record.jsonl

They hold for one version of TensorRT. A build takes a second or more: run this with `-n 12` (or
record again, and `list_exceptions record.jsonl --check`).
"""

from __future__ import annotations

import pytest

from roadworthy.backends.registry import find
from roadworthy.backends.tensorrt.compiler import BACKEND
from roadworthy.core.errors import EXIT_WRONG, RoadworthyError, RunError
from roadworthy.verify.engine import wrong_answers
from tests.conformance.exceptions import wrongs
from tests.conformance.onnx_cases import Case, Disagreement, cases, run_case
from tests.conformance.suite import BackendConformance
from tests.conformance.wrong_cases import judge
from tests.device.place import TARGET, conformance_options

pytestmark = pytest.mark.device

# The version that the lists beside the suite were recorded on.
RECORDED = "8.6."
OPTIONS = conformance_options(TARGET)


@pytest.fixture(scope="module", autouse=True)
def one_worker():
    """One worker for all: TensorRT and CUDA take seconds to load."""
    with BACKEND.one_worker() as kept:
        yield kept


def test_the_lists_are_of_this_version():
    found = find("tensorrt").fingerprint(TARGET)["version"]
    assert found.startswith(RECORDED), f"this is TensorRT {found}: record its own lists first"


class TestTensorRT(BackendConformance):
    target = str(TARGET)
    claims = frozenset({"bool", "float16", "float32", "int32", "int64", "uint8"})
    options = OPTIONS

    @pytest.fixture(autouse=True)
    def _worker(self, one_worker) -> None:
        self.kept = one_worker

    def outcome(self, case: Case) -> Disagreement | RoadworthyError | None:
        """Run a case; one that fails to run again in a new worker, and the next one in another.

        What a worker did before isn't the case's fault: a bad access loses its GPU context.
        """
        found = super().outcome(case)
        if isinstance(found, RunError | Disagreement) or "CUDA" in str(found or ""):
            self.kept.renew()
            found = super().outcome(case)
        if isinstance(found, RunError):
            self.kept.renew()
        return found

    def test_all_of_the_standards_data_is_run(self) -> None:
        assert len(cases()) == 1818


@pytest.mark.parametrize("name", sorted(wrongs("tensorrt")))
def test_a_wrong_answer_fails_verification_and_rounding_passes(name):
    why = wrongs("tensorrt")[name]
    (case,) = (case for case in cases() if case.name == name)
    run = run_case(case, TARGET, OPTIONS)
    assert isinstance(run, Disagreement), f"{name} is no longer wrong: unlist it"
    verdict = judge(run)
    assert verdict.passed != why.caught, verdict.failures
    if why.caught:
        assert wrong_answers(verdict, name).exit_code == EXIT_WRONG
