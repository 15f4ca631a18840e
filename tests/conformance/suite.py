"""The suite that every backend passes: ONNX's own test data, and the contract of a `Session`.

    class TestMyBackend(BackendConformance):
        target = "mybackend"
        claims = frozenset({"float32", "int64"})

Beside it stand `mybackend_refused.json` and `mybackend_wrong.json` (see `exceptions.py`), which may
only shrink: a listed test that passes fails the suite, as does an unlisted one that doesn't. A test
of the contract is refused by its name, and then it must end in an `UnavailableError`.
"""

from __future__ import annotations

import functools

import pytest

from roadworthy.core.errors import UnavailableError
from roadworthy.core.target import Target
from tests.conformance.contract import SessionContract
from tests.conformance.exceptions import listed, refusals, wrongs
from tests.conformance.onnx_cases import Case, Disagreement, cases, run_case


class BackendConformance(SessionContract):
    """All of it; a subclass says which target, and which dtypes it claims."""

    def __init_subclass__(cls) -> None:
        for name, refusal in refusals(Target.parse(cls.target).backend).items():
            if hasattr(cls, name):
                setattr(cls, name, _must_refuse(getattr(cls, name), refusal.says))

    @pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
    def test_onnx_data(self, case: Case) -> None:
        target = Target.parse(self.target)
        refusal = refusals(target.backend).get(case.name)
        wrong = wrongs(target.backend).get(case.name)
        outcome = run_case(case, target)
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
        assert set(names) <= {case.name for case in cases()} | contract


def _must_refuse(test, says: str):
    """Return a test that passes when the given one ends in an `UnavailableError` saying `says`."""

    @functools.wraps(test)
    def refused(*args, **kwargs) -> None:
        with pytest.raises(UnavailableError) as caught:
            test(*args, **kwargs)
        assert says in str(caught.value)

    return refused
