"""Open anything that the command line names and that can run: bundle, ONNX file, plan, network.

What a text is, is decided here for `bench`, `run`, `verify` and `profile`. Opening is cheap where
it can be: an ONNX file is compiled only when its `engine` is asked for. A plan is the exception:
only TensorRT, where the target is, can say what its inputs are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from roadworthy.backends import registry
from roadworthy.backends.base import CompileOptions, Engine
from roadworthy.backends.session import Session
from roadworthy.bundle.reader import Bundle, is_bundle, read_bundle
from roadworthy.core.errors import UnavailableError, UsageError
from roadworthy.core.inputspec import InputSpec
from roadworthy.core.signature import Dim, Signature
from roadworthy.core.target import Target
from roadworthy.pipeline.gather import Inputs
from roadworthy.pipeline.remedies import naming_remedy
from roadworthy.pipeline.request import DEFAULT_TARGET
from roadworthy.source.onnx.load import apply_input_specs
from roadworthy.source.onnx.source import OnnxSource
from roadworthy.source.opening import is_plan, open_source
from roadworthy.source.prepared import Source

PLAN_BACKEND = "tensorrt"

Kind = Literal["bundle", "model", "plan", "network"]


@dataclass(frozen=True)
class Runnable:
    """Something that can run, opened.

    Attributes:
        text: as the user named it.
        kind: "bundle", "model" (an ONNX file), "plan" (an engine file) or "network" (PyTorch code).
        inputs: what samples are gathered by.
        target: where it runs; None for a network, which runs in its own framework.
        source: the opened SOURCE of a model or network.
        bundle: the opened bundle.
        build: makes the engine; None for a network.
        asked: the `--target` that was given; None where there was none.
    """

    text: str
    kind: Kind
    inputs: Inputs
    target: Target | None = None
    source: Source | None = None
    bundle: Bundle | None = None
    build: Callable[[CompileOptions], Engine] | None = None
    asked: str | None = None

    @property
    def name(self) -> str:
        """The file's name and where it runs, for people: "model.onnx on openvino"."""
        name = Path(self.text).name
        return name if self.target is None else f"{name} on {self.target}"

    def engine(self, options: CompileOptions | None = None) -> Engine:
        """Return its engine: a model is compiled now, a bundle's and a plan's is there already.

        Args:
            options: of the compilation; of a built engine only `threads` can still be chosen.

        Raises:
            UsageError: a network has no engine.
            UnavailableError: its target isn't here; CompileError: it refuses the model.
        """
        if self.build is None:
            raise UsageError(
                "this is a network and no engine yet",
                where=self.text,
                remedy="deploy it first: roadworthy deploy SOURCE --samples PATH --out net.rw",
            )
        return self.build(options or CompileOptions())

    def open(self, engine: Engine) -> Session:
        """Open its engine.

        Raises:
            UnavailableError: its runtime or device isn't where it shall run, with the remedy.
        """
        with self.opening(engine):
            return engine.open()

    def opening(self, engine: Engine) -> contextlib.AbstractContextManager[None]:
        """Return what names the remedy where a bundle's engine can't be opened within its block."""
        if self.bundle is None:
            return contextlib.nullcontext()
        return naming_remedy(self.bundle, engine, self.asked)


def open_runnable(
    text: str,
    *,
    target: str | None = None,
    weights: Path | None = None,
    specs: Sequence[InputSpec] = (),
    trust: bool = False,
) -> Runnable:
    """Tell what a text is, and open it.

    Args:
        text: a bundle, `model.onnx`, `old.plan`, `module.py:factory`, `model.pt2`.
        target: where a model or plan shall run, which engine of a bundle and where.
        weights: for a factory.
        specs: `--inputs` specifications.
        trust: allow a file that brings code along to run it.

    Raises:
        UsageError: what can't run, options that don't go with it.
        InputError: the file is missing or damaged.
        UnavailableError: a plan's TensorRT isn't to be had.
    """
    path = Path(text)
    if is_bundle(path):
        return _open_bundle(text, read_bundle(path), target)
    if is_plan(text):
        return _open_plan(text, plan_target(text, target), specs)
    source = open_source(text, weights, trust=trust)
    if not isinstance(source, OnnxSource):
        return Runnable(text, "network", source, source=source)
    where = Target.parse(target or DEFAULT_TARGET)
    backend = registry.find(where.backend)
    return Runnable(
        text,
        "model",
        source,
        where,
        source,
        build=lambda options: backend.compile(source.model, source.declared(specs), where, options),
    )


@dataclass(frozen=True)
class KnownInputs:
    """The inputs of an engine that was built already; see `gather.Inputs`."""

    signature: Signature

    def input_ranks(self, specs: Sequence[InputSpec]) -> Mapping[str, int] | None:
        """See `gather.Inputs`."""
        return {s.name: len(s.shape) for s in self.signature.inputs if s.shape is not None}

    def default_input(self, specs: Sequence[InputSpec]) -> str | None:
        """See `gather.Inputs`."""
        inputs = self.signature.inputs
        return inputs[0].name if len(inputs) == 1 else None

    def declared(self, specs: Sequence[InputSpec]) -> Signature:
        """Return the engine's own signature; the specs were applied when it was opened."""
        return self.signature


def _open_bundle(text: str, bundle: Bundle, target: str | None) -> Runnable:
    engine = bundle.engine(target)
    return Runnable(
        text,
        "bundle",
        KnownInputs(engine.signature),
        engine.target,
        bundle=bundle,
        build=lambda options: _with_threads(engine, options),
        asked=target,
    )


def plan_target(text: str, target: str | None) -> Target:
    """Return where a plan shall run: TensorRT, here or where the target says.

    Raises:
        UsageError: another backend; nothing else reads a plan.
    """
    where = Target.parse(target or PLAN_BACKEND)
    registry.find(where.backend)
    if where.backend != PLAN_BACKEND:
        raise UsageError(
            f"a TensorRT plan can't run on {where}",
            where=text,
            remedy="leave --target out, or say where its TensorRT is: "
            "--target tensorrt@python=/path/to/python",
        )
    return where


def _open_plan(text: str, where: Target, specs: Sequence[InputSpec]) -> Runnable:
    from roadworthy.backends.tensorrt.plan import adopt, read_plan

    read_plan(Path(text))  # a missing file is said before a worker is started for it
    if where.version is not None:
        support = registry.find(where.backend).supports(where)
        if not support.ok:
            raise UnavailableError(support.reason, where=str(where), remedy=support.remedy)
    adopted = adopt(Path(text), where)
    engine = replace(adopted, signature=narrowed(adopted.signature, specs, text))
    return Runnable(
        text,
        "plan",
        KnownInputs(engine.signature),
        where,
        build=lambda options: _with_threads(engine, options),
    )


def narrowed(signature: Signature, specs: Sequence[InputSpec], where: str) -> Signature:
    """Give a plan's axes the names, and narrower ranges, that the user states.

    An axis that is named without a range keeps the plan's own.

    Raises:
        UsageError: a range beyond the plan's, or what `apply_input_specs` refuses.
    """
    built = {spec.name: spec for spec in signature.inputs}
    ranged = [_with_ranges(spec, built.get(spec.name)) for spec in specs]
    found = apply_input_specs(signature, ranged)
    for spec in found.inputs:
        for said, has in zip(spec.shape or (), built[spec.name].shape or (), strict=True):
            if isinstance(has, Dim) and not _within(said, has):
                raise UsageError(
                    f"--inputs allows {said} on an axis that the plan has as {has}",
                    where=f"{where}: {built[spec.name]}",
                    remedy="stay within the plan's range, or build it anew with a wider one",
                )
    return found


def _with_ranges(said: InputSpec, built: object) -> InputSpec:
    shape = getattr(built, "shape", None)
    if said.shape is None or shape is None or len(shape) != len(said.shape):
        return said  # `apply_input_specs` says what is wrong
    return replace(
        said,
        shape=tuple(
            replace(has, name=axis.name)
            if isinstance(axis, Dim) and axis.is_open and isinstance(has, Dim)
            else axis
            for axis, has in zip(said.shape, shape, strict=True)
        ),
    )


def _within(said: int | Dim, has: Dim) -> bool:
    low, high = (said, said) if isinstance(said, int) else (said.low, said.largest)
    return low >= has.low and (has.high is None or (high is not None and high <= has.high))


def _with_threads(engine: Engine, options: CompileOptions) -> Engine:
    if options.threads is None:
        return engine
    return replace(engine, options=replace(engine.options, threads=options.threads))
