"""Run every sample through anything that can run, and save the answers as one `.npz`.

The file has the form of `--reference` (see `source.given`): of one sample each array exactly as the
network gives it, of several every array with one more leading axis, along which they follow one
another. So what the source framework answers here can judge an engine elsewhere.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roadworthy.backends.base import CompileOptions
from roadworthy.bundle.arrays import EXTENDED
from roadworthy.core.certificate import SMOKE_TEST
from roadworthy.core.errors import SamplesError, UsageError
from roadworthy.core.files import replacing_file
from roadworthy.core.inputspec import InputSpec, parse_inputs
from roadworthy.core.progress import Progress
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Answers, Array, Feed, Signature, TensorSpec, dtype_name
from roadworthy.core.target import Target
from roadworthy.pipeline.gather import (
    fitting,
    gather_samples,
    output_names,
    require_samples,
)
from roadworthy.pipeline.subjects import Runnable, open_runnable
from roadworthy.vision.preprocess import Preprocess


@dataclass(frozen=True)
class RunResult:
    """What was run and saved.

    Attributes:
        out: the file.
        ran: what gave the answers, for people.
        target: where an engine ran; None for a network in its own framework.
        samples: how many.
        labels: what a reader must not miss, e.g. "smoke test".
        notes: what the network said of itself.
        outputs: every array in the file, by name, as (dtype, shape).
    """

    out: Path
    ran: str
    target: Target | None
    samples: int
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    outputs: Mapping[str, tuple[str, tuple[int, ...]]]

    def to_json(self) -> Mapping[str, Any]:
        """Return the `result` of the command line's JSON document."""
        return {
            "out": str(self.out),
            "ran": self.ran,
            "target": None if self.target is None else str(self.target),
            "samples": self.samples,
            "labels": self.labels,
            "notes": self.notes,
            "outputs": [
                {"name": name, "dtype": dtype, "shape": shape}
                for name, (dtype, shape) in self.outputs.items()
            ],
        }


@dataclass(frozen=True)
class _Runner:
    """One opened subject: how to ask it, and what it says of itself."""

    run: Callable[[Feed], Answers]
    ran: str
    labels: tuple[str, ...]
    notes: Callable[[], tuple[str, ...]]


def run_samples(
    text: str,
    samples: Any,
    out: Path,
    *,
    weights: Path | None,
    preprocess: Path | None,
    inputs: Sequence[str],
    outputs: Sequence[str],
    target: str | None,
    threads: int | None,
    trust: bool,
    progress: Progress,
) -> RunResult:
    """Run every sample, then write the answers in one step.

    Args:
        text: a bundle, `model.onnx`, `old.plan`, `module.py:factory` or `model.pt2`.
        samples: a path, or "random".
        out: the `.npz` to write.
        weights: for a factory.
        preprocess: contract for images; a bundle brings its own.
        inputs: `--inputs` specifications.
        outputs: names for a network's outputs, in order.
        target: where a model or plan runs, which engine of a bundle.
        threads: of one run of an engine.
        trust: allow files to run code.
        progress: told what is being done.

    Raises:
        UsageError: options that don't go together, answers that no `.npz` can hold.
        SamplesError: samples that don't fit, or whose answers have different shapes.
        UnavailableError: the target isn't here, or refuses the model.
    """
    _check_out(out, text, samples, weights, preprocess)
    require_samples(samples)
    specs = parse_inputs(inputs)
    # Refused before the work where there is no place for it; written only after all of it.
    with replacing_file(out) as partial:
        opened = open_runnable(text, target=target, weights=weights, specs=specs, trust=trust)
        _check_options(opened, target, outputs, weights)
        if opened.bundle is not None and (preprocess is not None or inputs):
            raise UsageError(
                "a bundle brings its own preprocess and inputs",
                where="--preprocess, --inputs",
                remedy="leave them out",
            )
        shipped = Preprocess.of(opened.bundle) if opened.bundle is not None else None
        found, contract = gather_samples(samples, opened.inputs, specs, preprocess, shipped)
        named = output_names(outputs, opened.source, contract) if opened.source else ()
        signature = _signature(opened, found, specs, named, contract)
        with _opened(opened, signature, found, threads, progress) as runner:
            answers = _run_all(runner.run, found, progress)
            notes = runner.notes()
        _write(partial, answers)
    return RunResult(
        out,
        runner.ran,
        opened.target,
        len(found),
        (*((SMOKE_TEST,) if found.is_random else ()), *runner.labels),
        notes,
        {name: (dtype_name(array.dtype), array.shape) for name, array in answers.items()},
    )


def _check_out(
    out: Path, text: str, samples: Any, weights: Path | None, preprocess: Path | None
) -> None:
    if out.suffix.lower() != ".npz":
        raise UsageError(
            f"answers aren't saved as {out.name!r}", where="--out", remedy="name it answers.npz"
        )
    read = [Path(text), *(Path(item) for item in (samples, weights, preprocess) if item)]
    if out.resolve() in {path.resolve() for path in read}:
        raise UsageError(
            f"this would overwrite {out}, which is read here",
            where=f"--out {out}",
            remedy="name another file",
        )


def _check_options(
    opened: Runnable, target: str | None, outputs: Sequence[str], weights: Path | None
) -> None:
    """Refuse options that would be ignored."""
    if opened.kind == "network" and target is not None:
        raise UsageError(
            "a network runs in its own framework, not on a target",
            where=f"--target {target}",
            remedy="leave it out; or deploy the network for that target and run the bundle",
        )
    if opened.kind != "network" and outputs:
        raise UsageError(
            "an engine's outputs have names already", where="--outputs", remedy="leave it out"
        )
    if opened.kind != "network" and weights is not None:
        raise UsageError(
            "an engine has its weights inside", where=f"--weights {weights}", remedy="leave it out"
        )


def _signature(
    opened: Runnable,
    samples: Samples,
    specs: Sequence[InputSpec],
    outputs: Sequence[str],
    contract: Preprocess | None,
) -> Signature:
    """Return what the samples are checked against, and check them.

    Of a network it holds what the user says, nothing else is known: no inputs and no outputs stand
    for the network's own.
    """
    if opened.kind == "network":
        first: Feed = samples[0]
        stated = tuple(
            TensorSpec(
                spec.name,
                spec.dtype or (dtype_name(first[spec.name].dtype) if spec.name in first else "?"),
                spec.shape,
            )
            for spec in specs
        )
        signature = Signature(stated, tuple(TensorSpec(name, "?", None) for name in outputs))
        if stated:
            samples.check(signature)
        return signature
    return fitting(samples, opened.inputs, specs, contract)


@contextmanager
def _opened(
    opened: Runnable,
    signature: Signature,
    samples: Samples,
    threads: int | None,
    progress: Progress,
) -> Iterator[_Runner]:
    """Open it for a `with` block: an engine as a session, a network as the reference that it is."""
    if opened.kind != "network":
        with opened.open(opened.engine(CompileOptions(threads=threads))) as session:
            yield _Runner(session.run, opened.name, (), lambda: session.notes)
        return
    assert opened.source is not None
    reference = opened.source.reference(signature, samples, progress)
    ran = f"{opened.name} in {reference.judge.name}"
    yield _Runner(reference.judge.run, ran, reference.labels, lambda: reference.notes)


def _run_all(
    run: Callable[[Feed], Answers], samples: Samples, progress: Progress
) -> dict[str, Array]:
    """Return every output of every sample, stacked where there are several."""
    found: dict[str, list[Array]] = {}
    for index, item in enumerate(samples.items):
        progress("run", index / len(samples))
        for name, array in run(item.load()).items():
            ready = _portable(name, array)
            same = found.setdefault(name, [ready])
            if index:
                same.append(ready)
            if ready.shape != same[0].shape:
                raise SamplesError(
                    f"output {name!r} is {list(ready.shape)} for sample {item.name}, but "
                    f"{list(same[0].shape)} for {samples.items[0].name}: they can't be stacked",
                    where=samples.source,
                    remedy="run samples of one size at a time, each into a file of its own",
                )
    if not found:
        raise UsageError("there are no outputs", where=samples.source)
    stacked = len(samples) > 1
    # One output after the other, so that only one of them is in memory twice.
    return {name: np.stack(found.pop(name)) if stacked else found[name][0] for name in list(found)}


def _portable(name: str, array: Array) -> Array:
    """Return an array as an `.npz` can hold it without pickling: text becomes NumPy's own.

    Raises:
        UsageError: a dtype that NumPy's files don't have.
    """
    if array.dtype.name in EXTENDED:
        raise UsageError(
            f"output {name!r} is {array.dtype.name}, which an .npz can't hold",
            where="--out",
            remedy="cast it to float32 in the model; or deploy it: a bundle can hold it",
        )
    return array.astype(np.str_) if array.dtype.kind in "OT" else array


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an `.npz`; not by `numpy.savez`, in which no output may be called `file`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
