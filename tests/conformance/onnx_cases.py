"""ONNX's own backend test data: models, inputs and the answers that the standard expects.

The data lies inside the `onnx` wheel. Kinds "node", "simple", "pytorch-converted" and
"pytorch-operator" are complete there; "real" wants downloads and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.registry import find
from roadworthy.core.errors import RoadworthyError
from roadworthy.core.signature import Answers, Array, Signature
from roadworthy.core.target import Target
from roadworthy.graph.signature import check_tensors_only, signature_of
from tests.conformance.networks import OPTIONS

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")


@dataclass(frozen=True)
class Case:
    """One test of the standard, with the tolerances that it states itself."""

    name: str
    folder: Path
    rtol: float
    atol: float

    def model(self) -> ir.Model:
        """Read the model.

        Raises:
            UnavailableError: it takes or gives something other than tensors.
        """
        proto = onnx.load(self.folder / "model.onnx")
        check_tensors_only(proto)
        return ir.from_proto(proto)

    def data_sets(self, signature: Signature) -> list[tuple[dict[str, Array], Answers]]:
        """Return every data set: inputs by name, expected outputs by name."""
        graph = onnx.load(self.folder / "model.onnx", load_external_data=False).graph
        return [
            (
                _read(folder, "input", signature.inputs, graph.input),
                _read(folder, "output", signature.outputs, graph.output),
            )
            for folder in sorted(self.folder.glob("test_data_set_*"))
        ]


@dataclass(frozen=True)
class Disagreement:
    """A case that ran and gave another answer than the standard's."""

    case: Case
    model: ir.Model
    signature: Signature
    engine: Engine
    feed: dict[str, Array]
    expected: Answers
    ours: Answers
    difference: str


@cache
def cases() -> tuple[Case, ...]:
    """Return all cases by name; names are unique over the kinds."""
    found = [
        Case(test.name, Path(str(test.model_dir)), test.rtol, test.atol)
        for kind in KINDS
        for test in load_model_tests(kind=kind)
    ]
    return tuple(sorted(found, key=lambda case: case.name))


def run_case(
    case: Case, target: Target, options: CompileOptions = OPTIONS
) -> Disagreement | RoadworthyError | None:
    """Run one case the whole way through a backend.

    Returns:
        None when every answer is the expected one, the error with which we or the runtime refused
        it, or the first answer that is another one.
    """
    try:
        model = case.model()
        signature = signature_of(model)
        data_sets = case.data_sets(signature)
        engine = find(target.backend).compile(model, signature, target, options)
        with engine.open() as session:
            for feed, expected in data_sets:
                ours = session.run(feed)
                difference = differ(ours, expected, case.rtol, case.atol)
                if difference:
                    return Disagreement(
                        case, model, signature, engine, feed, expected, ours, difference
                    )
    except RoadworthyError as error:
        return error
    return None


def differ(ours: Answers, expected: Answers, rtol: float, atol: float) -> str:
    """Return how the answers differ in name, dtype, shape or value; empty when they don't.

    Values as ONNX's own runner judges them: |ours - expected| ≤ atol + rtol · |expected|, NaN where
    NaN is expected; text must be equal.
    """
    if list(ours) != list(expected):
        return f"outputs are named {list(ours)}, expected {list(expected)}"
    for name, array in ours.items():
        want = expected[name]
        if (array.dtype, array.shape) != (want.dtype, want.shape):
            return (
                f"{name}: {array.dtype}{list(array.shape)}, expected {want.dtype}{list(want.shape)}"
            )
        if array.dtype.kind == "O":
            same = array == want
        else:
            same = np.isclose(_wide(array), _wide(want), rtol=rtol, atol=atol, equal_nan=True)
        if not np.all(same):
            bad = np.argwhere(~np.asarray(same))
            first = tuple(int(i) for i in bad[0])
            return (
                f"{name}: {len(bad)} of {array.size} differ, "
                f"{first}: {array[first]}, expected {want[first]}"
            )
    return ""


def _wide(array: Array) -> Array:
    """Widen what NumPy can't compare closely by itself: float8, int4, …"""
    return array if array.dtype.kind in "biufc" else array.astype(np.float32)


def _read(folder: Path, role, specs, values):
    """Read the arrays of one data set, in the order of the graph's inputs or outputs."""
    wanted = {spec.name for spec in specs}
    found = {}
    for position, value in enumerate(values):
        path = folder / f"{role}_{position}.pb"
        if value.name in wanted and path.exists():
            found[value.name] = numpy_helper.to_array(onnx.load_tensor(path))
    return found
