"""Export a network to ONNX with each of torch's exporters in turn, for the caller to judge.

Three attempts, each made only when it is asked for:

1. `torch.export`, proven: the new exporter; torch proves that the program holds over the whole
   stated range of every symbolic axis, or says what it depends on. Good networks fail here too
   when the proof is beyond torch (rounding up to a multiple, for instance).
2. `torch.export`, unproven: the same without the proof: what couldn't be proven is assumed. A
   branch on a size is frozen at the example's side. Not tried for static shapes, where there is
   nothing to prove.
3. `torchscript`: the older exporter, which records one run. It freezes every branch, and sometimes
   sizes. Branches on sizes are told by other sizes; one on the values of an input by nothing that
   the samples need to hold, so that such a recording is refused.

None of them is trusted: which one agrees with the network is found out by running it, also at
other sizes than the example's.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import nn

from roadworthy.core.errors import UsageError
from roadworthy.core.signature import Array, Dim, Feed, Signature
from roadworthy.source.torch.calling import Convention, Flat, convention
from roadworthy.source.torch.finish import ExportFailure, finish
from roadworthy.source.torch.numerics import trusted_numerics
from roadworthy.source.torch.quiet import quietly
from roadworthy.source.torch.reads import read_of_values
from roadworthy.source.torch.shapes import example_feed
from roadworthy.source.torch.usercode import describe, user_line

OPSET = 18
"""The opset torch's new exporter is written for; read by ONNX Runtime 1.14 and TensorRT 8.6 on."""
PROVEN = "torch.export, proven"
UNPROVEN = "torch.export, unproven"
LEGACY = "torchscript"
_LINES = 12
_TWICE = re.compile(r"values of (\w+) = \1 in")  # "h = L['tensors'][0].size()[2]" by then
_ARGUMENT = re.compile(r"L\['tensors'\]\[(\d+)\]\.size\(\)\[(\d+)\]")


@dataclass(frozen=True)
class Candidate:
    """One exporter's work: a model to be judged, or the reason why there is none.

    Attributes:
        exporter: one of `PROVEN`, `UNPROVEN`, `LEGACY`.
        model: the ONNX model, None when the attempt failed.
        signature: the network's inputs and outputs; the model states the same.
        failure: empty, or what the exporter said, at most a dozen lines.
        seconds: how long the attempt took.
        log: what the exporter printed, logged and warned.
    """

    exporter: str
    model: ir.Model | None
    signature: Signature
    failure: str
    seconds: float
    log: tuple[str, ...] = ()


def candidates(
    module: nn.Module, signature: Signature, feed: Feed, opset: int = OPSET
) -> Iterator[Candidate]:
    """Yield one candidate per exporter, each made when it is asked for. Prints nothing.

    Args:
        module: float32, in eval mode, on the CPU.
        signature: from `shapes.signature_of`; its symbolic input axes become the ONNX model's.
        feed: one real sample; cropped or tiled to export with.
        opset: the highest ONNX opset allowed. Below 18 the new exporter's model is converted down.

    Raises:
        UsageError: `opset` isn't one that torch can export.
    """
    if not 9 <= opset <= 23:
        raise UsageError(f"torch can't export opset {opset}", remedy="use 9 to 23, best 18")
    how = convention(module, [spec.name for spec in signature.inputs])
    flat = Flat(module, how)
    example = example_feed(feed, signature.inputs)
    attempts: list[tuple[str, Callable[[], ir.Model]]] = [
        (PROVEN, lambda: _new(flat, how, signature, example, opset, proven=True)),
        (UNPROVEN, lambda: _new(flat, how, signature, example, opset, proven=False)),
        (LEGACY, lambda: _legacy(flat, how, signature, example, opset)),
    ]
    for name, attempt in attempts:
        if not (name == UNPROVEN and signature.is_static):
            made = _try(name, attempt, signature, opset)
            yield _not_frozen(made, flat, how, example) if name == LEGACY else made


def _not_frozen(
    made: Candidate, flat: Flat, how: Convention, example: dict[str, Array]
) -> Candidate:
    """Refuse a recording that has made constants of values that come from the inputs.

    The recorder warns of every Python value, also of sizes: only a run without it tells which.
    """
    if made.model is None or not any(line.startswith("TracerWarning") for line in made.log):
        return made
    with trusted_numerics():
        place = read_of_values(flat, how.tensors(example))
    if place is None:
        return made
    failure = (
        "forward() decides by values of its inputs, and a recording would decide for every input "
        "as it did for the sample: use torch.where or torch.cond there, and put mere checks behind "
        f"`if not torch.jit.is_tracing()`\n  at {place}"
    )
    return replace(made, model=None, failure=failure)


def _try(name: str, attempt: Callable[[], ir.Model], signature: Signature, opset: int) -> Candidate:
    started = time.monotonic()
    model: ir.Model | None = None
    failure = ""
    with quietly() as log:
        try:
            model = finish(attempt(), signature, opset)
        except ExportFailure as error:
            model, failure = None, str(error)
        except Exception as error:  # exporters raise any kind; it is a failed attempt, and is told
            model, failure = None, useful_lines(error, signature)
    return Candidate(name, model, signature, failure, time.monotonic() - started, tuple(log))


def _new(
    flat: Flat,
    how: Convention,
    signature: Signature,
    example: dict[str, Array],
    opset: int,
    *,
    proven: bool,
) -> ir.Model:
    with torch.no_grad():
        program = torch.export.export(
            flat,
            how.tensors(example),
            dynamic_shapes=None if signature.is_static else (_dynamic_shapes(signature, proven),),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=not proven,
        )
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            external_data=False,
            optimize=True,
            verbose=False,
            report=False,
            opset_version=opset,
            input_names=list(how.names),
            output_names=[spec.name for spec in signature.outputs],
        )
    if onnx_program is None:
        raise ExportFailure("torch.onnx.export returned nothing")
    return onnx_program.model


def _dynamic_shapes(signature: Signature, proven: bool) -> tuple[dict[int, Any] | None, ...]:
    """Return torch's form of the symbolic axes; one object per axis, so that equal ones stay so.

    Of an open axis nothing was stated: unless a proof is asked for, torch may find its range.
    """
    made = {
        name: torch.export.Dim.DYNAMIC if dim.is_open and not proven else _torch_dim(dim)
        for name, dim in signature.dims.items()
    }
    return tuple(
        {
            position: made[axis.name]
            for position, axis in enumerate(spec.shape or ())
            if isinstance(axis, Dim)
        }
        or None
        for spec in signature.inputs
    )


def _torch_dim(dim: Dim) -> Any:
    """Return a `torch.export.Dim`; an axis with a step is a multiple of another one, plus a rest.

    low, low + step, … equals step · k + low mod step for k from ⌊low / step⌋.
    """
    if dim.step == 1:
        return torch.export.Dim(dim.name, min=dim.low, max=dim.high)
    last = None if dim.largest is None else dim.largest // dim.step
    steps = torch.export.Dim(f"{dim.name}_steps", min=dim.low // dim.step, max=last)
    rest = dim.low % dim.step
    return dim.step * steps + rest if rest else dim.step * steps


def _legacy(
    flat: Flat, how: Convention, signature: Signature, example: dict[str, Array], opset: int
) -> ir.Model:
    axes = {
        spec.name: {
            position: axis.name
            for position, axis in enumerate(spec.shape or ())
            if isinstance(axis, Dim)
        }
        for spec in signature
    }
    written = io.BytesIO()
    with torch.no_grad():
        torch.onnx.export(
            flat,
            how.tensors(example),
            written,  # type: ignore[arg-type]  # this exporter does take a buffer
            dynamo=False,
            input_names=list(how.names),
            output_names=[spec.name for spec in signature.outputs],
            dynamic_axes={name: named for name, named in axes.items() if named},
            opset_version=min(opset, 20),  # the highest it knows
            do_constant_folding=True,
        )
    return ir.from_proto(onnx.load_model_from_string(written.getvalue()))


def useful_lines(error: BaseException, signature: Signature) -> str:
    """Return what torch says about the network, with our names for its axes, without advice on
    torch's own options.
    """
    cause: BaseException = error
    while cause.__cause__ is not None:  # the new exporter wraps the reason several times
        cause = cause.__cause__
    text = _ARGUMENT.sub(lambda match: _axis(match, signature), str(cause))
    text = _TWICE.sub(r"values of \1 in", text)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    kept = [line for line in lines if line.lstrip().startswith("- ")]
    if "Suggested fixes:" in lines:
        start = lines.index("Suggested fixes:")
        kept += [lines[start], *(item for item in lines[start + 1 :] if item.startswith("  "))]
    kept = list(dict.fromkeys(kept or lines[:3]))[:_LINES]
    where = user_line(error) or user_line(cause)
    first = describe(cause) if not kept or kept == lines[:3] else type(cause).__name__
    told = "\n".join([first, *[line for line in kept if line not in first]])
    return f"{told}\n  at {where}" if where else told


def _axis(match: re.Match[str], signature: Signature) -> str:
    spec = signature.inputs[int(match[1])]
    axis = (spec.shape or ())[int(match[2])]
    return axis.name if isinstance(axis, Dim) else f"{spec.name}.shape[{match[2]}]"
