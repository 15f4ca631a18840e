"""One conformance test of a backend, run and described: a line of the record.

`name` is an ONNX case, or `contract:TEST`, which stands for all of that test's parameters and gives
one outcome for each. An outcome is plain JSON:

kind        "onnx" or "contract"
name        as the lists of exceptions have it: `test_abs`, `test_strides_do_not_matter[odd]`
outcome     "passed", "refused", "crashed" (its worker died), "wrong", or "defect" (an error that
            isn't one of a refusal: ours to mend)
error       what was said, where it didn't pass
seconds     how long it took
again       the first outcome's error, where it was another one in a worker that had done other work
operator, relative_l2, caught, rounding     of a wrong answer; `caught`: verification fails it
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roadworthy.backends.registry import find
from roadworthy.core.errors import RoadworthyError, RunError, UnavailableError
from roadworthy.core.target import Target
from tests.conformance.contract import SessionContract
from tests.conformance.onnx_cases import Disagreement, cases, run_case
from tests.conformance.wrong_cases import judge
from tests.device.place import conformance_options

CONTRACT = "contract:"
DIED = re.compile(r"the worker of \w+ died: [^;]*")
# More than this is no rounding of FP32.
ROUNDING = 1e-3

Outcome = dict[str, Any]


def names() -> list[str]:
    """Return every test: the contract, ONNX's cases, then the same operators written out.

    In this order, because a run that is cut off has then seen every operator.
    """
    contract = sorted(name for name in dir(SessionContract) if name.startswith("test_"))
    onnx = sorted((case.name for case in cases()), key=lambda name: ("_expanded" in name, name))
    return [CONTRACT + name for name in contract] + onnx


class Recorder:
    """Runs tests on one target, in one worker where the backend has such."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.options = conformance_options(target)
        self._cases = {case.name: case for case in cases()}
        self._stack = contextlib.ExitStack()
        backend: Any = find(target.backend)
        self._kept = None
        if hasattr(backend, "one_worker"):
            self._kept = self._stack.enter_context(backend.one_worker())
        self._fresh = True

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, name: str) -> Iterator[Outcome]:
        """Run one test and describe it."""
        if name.startswith(CONTRACT):
            yield from self._contract(name.removeprefix(CONTRACT))
            self._done(fresh=False)
            return
        found = self._onnx(name)
        doubtful = found["outcome"] not in ("passed", "refused") or "CUDA" in found.get("error", "")
        if doubtful and self._kept is not None and not self._fresh:
            # What this worker did before isn't this case's fault: again, in a new one.
            self._done(fresh=True)
            again = self._onnx(name)
            if again["outcome"] != found["outcome"]:
                again["again"] = f"{found['outcome']}: {found.get('error', '')}"
            found = again
        self._done(fresh=False)
        if doubtful and found["outcome"] != "wrong":
            self._done(fresh=True)
        yield found

    def _done(self, *, fresh: bool) -> None:
        if fresh and self._kept is not None:
            self._kept.renew()
        self._fresh = fresh

    def _onnx(self, name: str) -> Outcome:
        started = time.monotonic()
        try:
            outcome = run_case(self._cases[name], self.target, self.options)
        except Exception as error:
            outcome = error
        found: Outcome = {"kind": "onnx", "name": name}
        if outcome is None:
            found |= {"outcome": "passed"}
        elif isinstance(outcome, Disagreement):
            found |= {"outcome": "wrong", "error": outcome.difference, **_judged(outcome)}
        else:
            found |= _told(outcome)
        return {**found, "seconds": round(time.monotonic() - started, 3)}

    def _contract(self, name: str) -> Iterator[Outcome]:
        """Run a test of the contract through pytest, which knows its parameters and fixtures."""
        heard = _Heard()
        file = Path(__file__).with_name("contract_of_target.py")
        words = [f"{file}::TestContract::{name}", "-p", "no:terminal", "-p", "no:cacheprovider"]
        code = pytest.main([*words, "-o", "addopts=", "-o", "markers=device"], plugins=[heard])
        if not heard.outcomes:
            heard.outcomes.append(
                {"name": name, "outcome": "defect", "error": f"pytest ended with {code!r}"}
            )
        for found in heard.outcomes:
            yield {"kind": "contract", **found}


class _Heard:
    """A plugin of pytest that notes how tests end, and with which exception."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = (yield).get_result()
        if report.when != "call" and not report.failed:
            return
        found = {"name": item.name, "seconds": round(call.duration, 3)}
        if call.excinfo is None:
            found["outcome"] = "passed"
        elif isinstance(call.excinfo.value, AssertionError):
            # A plain assert says nothing by itself where pytest hasn't rewritten it.
            said = str(call.excinfo.value)[:1000] or str(call.excinfo.traceback[-1].statement)
            found |= {"outcome": "wrong", "error": said}
        else:
            found |= _told(call.excinfo.value)
        self.outcomes.append(found)


def _told(error: BaseException) -> Outcome:
    """Return an error as outcome and text."""
    text = str(error) if isinstance(error, RoadworthyError) else f"{type(error).__name__}: {error}"
    if isinstance(error, RunError) and DIED.search(text):
        return {"outcome": "crashed", "error": text}
    refused = isinstance(error, UnavailableError)
    return {"outcome": "refused" if refused else "defect", "error": text[:2000]}


def _judged(run: Disagreement) -> Outcome:
    """Return what a wrong answer is, and what verification says to it."""
    nodes = [node.op_type for node in run.model.graph]
    difference = _relative_l2(run)
    found: Outcome = {
        "operator": nodes[0] if nodes else "",
        "relative_l2": None if difference is None else float(f"{difference:.3g}"),
        "rounding": difference is not None and difference < ROUNDING,
    }
    try:
        verdict = judge(run)
    except Exception as error:
        return {**found, "caught": None, "unjudged": f"{type(error).__name__}: {error}"}
    return {**found, "caught": not verdict.passed, "failures": list(verdict.failures[:2])}


def _relative_l2(run: Disagreement) -> float | None:
    """Return the worst floating output's; None where names, dtypes, shapes or integers differ."""
    worst = 0.0
    if list(run.ours) != list(run.expected):
        return None
    for name, want in run.expected.items():
        ours = run.ours[name]
        if (ours.dtype, ours.shape) != (want.dtype, want.shape) or want.dtype.kind == "O":
            return None
        if want.dtype.kind in "biu":
            if not np.array_equal(ours, want):
                return None
            continue
        ours, want = ours.astype(np.complex128), want.astype(np.complex128)
        same = (ours == want) | (np.isnan(ours) & np.isnan(want))
        gap, size = np.where(same, 0, ours - want), np.where(np.isfinite(want), want, 0)
        found = float(np.linalg.norm(gap) / max(float(np.linalg.norm(size)), 1e-30))
        worst = max(worst, found if np.isfinite(found) else float("inf"))
    return worst
