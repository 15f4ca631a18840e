"""The listed wrong answers, ready for verification to judge: model, feed, expected, ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from roadworthy.core.target import Target
from tests.conformance.exceptions import Wrong, wrongs
from tests.conformance.onnx_cases import Disagreement, cases, run_case


@dataclass(frozen=True)
class WrongCase:
    """One listed case: why its answer is another one, and the run that gave it."""

    name: str
    why: Wrong
    run: Disagreement


def wrong_cases(backend: str = "onnxruntime") -> Iterator[WrongCase]:
    """Yield every listed wrong case of a backend, run anew.

    `case.run` holds `model`, `signature`, `engine`, `feed`, `expected` and `ours`;
    `case.why.caught` tells whether verification must fail (false: the difference is rounding, and
    it must pass).
    """
    why = wrongs(backend)
    for case in cases():
        if case.name in why:
            run = run_case(case, Target.parse(backend))
            assert isinstance(run, Disagreement), f"{case.name} is no longer wrong: unlist it"
            yield WrongCase(case.name, why[case.name], run)
