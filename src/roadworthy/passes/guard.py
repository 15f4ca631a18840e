"""The guarded runner: a pass stays only if signature and answers stay.

After every pass the signature (names, order, dtypes, shapes) must be the same, and the answers on
real inputs within the noise floor, both computed by ONNX Runtime with its own optimisations off.
Otherwise the pass is rolled back and named in the certificate.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from roadworthy.backends.base import CompileOptions
from roadworthy.backends.registry import find
from roadworthy.core.certificate import PassRecord
from roadworthy.core.errors import RoadworthyError
from roadworthy.core.signature import Answers, Feed, Signature, TensorSpec
from roadworthy.core.target import Target
from roadworthy.core.verdict import Tolerance
from roadworthy.graph.checker import check_model
from roadworthy.graph.signature import signature_of
from roadworthy.passes.base import Pass, PassRefused
from roadworthy.verify.judge import OutputJudge, judge_answers

_JUDGE = Target("onnxruntime")
_PLAIN = CompileOptions(optimise=False, spinning=False)


def run_guarded(
    model: ir.Model,
    passes: Sequence[Pass],
    probes: Sequence[tuple[str, Feed]],
    limits: Mapping[str, Tolerance],
    progress: Callable[[str, float], None],
) -> tuple[ir.Model, tuple[PassRecord, ...]]:
    """Run every pass in order; return the model after those that were kept, and the account.

    Args:
        model: left as it is.
        passes: what to try.
        probes: (name, real input) to compare the answers on; at least one.
        limits: per output name, how far the answers may move.
        progress: called with the pass's name and the share done.
    """
    if not probes:
        raise ValueError("guarding passes needs at least one probe")
    signature = signature_of(model)
    # Not before a pass changed something: a large model takes long to open.
    expected = functools.cache(functools.partial(_answers, model, signature, probes))
    records = []
    for index, item in enumerate(passes):
        progress(item.name, index / len(passes))
        started = time.perf_counter()
        before = _nodes(model)
        candidate, outcome, detail = _try(item, model, signature, probes, expected, limits)
        records.append(
            PassRecord(
                item.name,
                outcome,
                detail,
                before,
                _nodes(candidate),
                time.perf_counter() - started,
            )
        )
        model = candidate
    return model, tuple(records)


def _try(
    item: Pass,
    model: ir.Model,
    signature: Signature,
    probes: Sequence[tuple[str, Feed]],
    expected: Callable[[], Sequence[Answers]],
    limits: Mapping[str, Tolerance],
) -> tuple[ir.Model, str, str]:
    """Return (the model to go on with, outcome, why)."""
    try:
        # A copy, so that not even a pass that changes its input leaves a trace.
        result = item(model.clone())
    except PassRefused as error:
        return model, "not applied", str(error)
    except (ir.passes.PassError, ir.passes.InvariantError) as error:
        return model, "not applied", _first_line(error)
    # A pass with a defect is no reason to ship nothing: it is named, the model stays as it was.
    except Exception as error:
        return (
            model,
            "rolled back",
            f"the pass failed: {type(error).__name__}: {_first_line(error)}",
        )
    if not result.modified:
        return model, "kept", "nothing to change"
    candidate, wanted = result.model, expected()
    try:
        changed = _signature_change(signature, signature_of(candidate))
        if changed:
            return model, "rolled back", f"the signature changed: {changed}"
        _restore_interface(candidate, model)
        # Before version 4 every initialiser had to be an input too; passes drop those.
        candidate.ir_version = max(model.ir_version, 4)
        # ONNX Runtime alone forgives nodes out of order.
        check_model(candidate)
        actual = _answers(candidate, signature, probes)
    except RoadworthyError as error:
        return model, "rolled back", f"the new graph doesn't run: {error.what}"
    except Exception as error:  # the checker's refusals, and graphs that can't even be written
        return model, "rolled back", f"the new graph is not valid: {_first_line(error)}"
    failure = _answers_change(probes, wanted, actual, limits)
    if failure:
        return model, "rolled back", f"the answers changed: {failure}"
    return candidate, "kept", f"same answers on {len(probes)} inputs"


def _signature_change(old: Signature, new: Signature) -> str | None:
    """Say what differs; symbolic output axes may be renamed, nothing else."""
    for kind, ours, theirs in (
        ("inputs", old.inputs, new.inputs),
        ("outputs", old.outputs, new.outputs),
    ):
        if [spec.name for spec in ours] != [spec.name for spec in theirs]:
            return f"{kind} {[s.name for s in ours]} became {[s.name for s in theirs]}"
        for one, other in zip(ours, theirs, strict=True):
            if _shape_key(one, kind) != _shape_key(other, kind):
                return f"{one} became {other}"
    return None


def _shape_key(spec: TensorSpec, kind: str) -> object:
    anonymous = replace(
        spec,
        shape=None
        if spec.shape is None or kind == "outputs"
        else tuple(
            axis if isinstance(axis, int) else replace(axis, name="?") for axis in spec.shape
        ),
    )
    rank = None if spec.shape is None else len(spec.shape)
    return anonymous, rank if kind == "inputs" else None


def _restore_interface(candidate: ir.Model, original: ir.Model) -> None:
    """Give inputs and outputs the names of axes that they had."""
    for ours, theirs in zip(_interface(candidate), _interface(original), strict=True):
        ours.shape = None if theirs.shape is None else theirs.shape.copy()
        ours.type = theirs.type


def _interface(model: ir.Model) -> list[ir.Value]:
    """Return what the signature names; old models list initialisers as inputs too."""
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    return [*inputs, *model.graph.outputs]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _answers(
    model: ir.Model, signature: Signature, probes: Sequence[tuple[str, Feed]]
) -> list[Answers]:
    # The engine isn't kept: its files are as large as the weights, which the session has.
    with find(_JUDGE.backend).compile(model, signature, _JUDGE, _PLAIN).open() as session:
        return [session.run(feed) for _, feed in probes]


def _answers_change(
    probes: Sequence[tuple[str, Feed]],
    expected: Sequence[Answers],
    actual: Sequence[Answers],
    limits: Mapping[str, Tolerance],
) -> str | None:
    judges = {name: OutputJudge(name, limit) for name, limit in limits.items()}
    for (name, _), old, new in zip(probes, expected, actual, strict=True):
        judge_answers(judges, name, old, new)
    for judge in judges.values():
        failures = judge.verdict().failures
        if failures:
            return f"output {judge.name!r}: {failures[0]}"
    return None


def _nodes(model: ir.Model) -> int:
    return sum(1 for _ in model.graph.all_nodes())
