"""The suite that every backend passes: ONNX's own test data, and the contract of a `Session`.

    class TestMyBackend(BackendConformance):
        target = "mybackend"
        claims = frozenset({"float32", "int64"})

Beside it stand `mybackend_refused.json` and `mybackend_wrong.json` (see `exceptions.py`), which may
only shrink: a listed test that passes fails the suite, as does an unlisted one that doesn't. A test
of the contract is refused by its name, or by its name and parameters (`test_strides[odd]`), and
then it must end in an `UnavailableError`.
"""

from __future__ import annotations

import functools
import os

import pytest

from roadworthy.core.errors import RoadworthyError, UnavailableError
from roadworthy.core.target import Target
from tests.conformance.contract import SessionContract
from tests.conformance.exceptions import Refusal, listed, refusals, wrongs
from tests.conformance.onnx_cases import Case, Disagreement, cases, run_case


class BackendConformance(SessionContract):
    """All of it; a subclass says which target, and which dtypes it claims."""

    def __init_subclass__(cls) -> None:
        refused = refusals(Target.parse(cls.target).backend)
        for name in {test.partition("[")[0] for test in refused}:
            if hasattr(cls, name):
                setattr(cls, name, _must_refuse(getattr(cls, name), refused))

    def outcome(self, case: Case) -> Disagreement | RoadworthyError | None:
        """Run one case of ONNX's data; see `run_case`."""
        return run_case(case, Target.parse(self.target), self.options)

    @pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
    def test_onnx_data(self, case: Case) -> None:
        backend = Target.parse(self.target).backend
        refusal = refusals(backend).get(case.name)
        wrong = wrongs(backend).get(case.name)
        outcome = self.outcome(case)
        if isinstance(outcome, Disagreement):
            assert wrong, f"another answer, and it isn't listed: {outcome.difference}"
        elif outcome is None:
            assert not refusal, "it passes now: take it off the list of refused tests"
            assert not wrong, "it passes now: take it off the list of wrong answers"
        else:
            assert refusal, f"refused, and it isn't listed: {outcome}"
            assert isinstance(outcome, UnavailableError), f"refused as another error: {outcome!r}"
            assert refusal.says in str(outcome), f"refused for another reason: {outcome}"

    def test_every_listed_test_exists_and_is_listed_once(self) -> None:
        names = listed(Target.parse(self.target).backend)
        assert len(names) == len(set(names))
        contract = {name for name in dir(SessionContract) if name.startswith("test_")}
        tests = {name.partition("[")[0] for name in names}
        assert tests <= {case.name for case in cases()} | contract


def _must_refuse(test, refused: dict[str, Refusal]):
    """Return a test that, where it is listed, must end in an `UnavailableError` with its words."""

    @functools.wraps(test)
    def run(*args, **kwargs) -> None:
        refusal = refused.get(test.__name__) or refused.get(_running())
        if refusal is None:
            test(*args, **kwargs)
            return
        with pytest.raises(UnavailableError) as caught:
            test(*args, **kwargs)
        assert refusal.says in str(caught.value)

    return run


def _running() -> str:
    """Return the running test's name with its parameters, as pytest tells everybody."""
    node = os.environ["PYTEST_CURRENT_TEST"].split("::", 2)[-1]
    return node.rpartition(" (")[0]
