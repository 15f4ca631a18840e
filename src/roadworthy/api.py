"""The Python face: `deploy`, `compile`, `load`, `verify_bundle`. What they refuse, they raise."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Unpack

from roadworthy.backends.base import Engine
from roadworthy.bundle.reader import Bundle, read_bundle
from roadworthy.core.closing import Closing
from roadworthy.core.errors import InputError, MissingExtraError, UsageError
from roadworthy.core.progress import Progress, silent
from roadworthy.core.signature import Answers, Feed, Signature
from roadworthy.pipeline.deploy import deploy as _deploy
from roadworthy.pipeline.deployment import Deployment
from roadworthy.pipeline.remedies import naming_remedy
from roadworthy.pipeline.request import DEFAULT_TARGET, RequestOptions, make_request
from roadworthy.pipeline.verify import VerifyOutcome
from roadworthy.pipeline.verify_bundle import rebuilt_engine
from roadworthy.pipeline.verify_bundle import verify_bundle as _verify_bundle
from roadworthy.vision.preprocess import Preprocess

if TYPE_CHECKING:
    from roadworthy.torch_module import EngineModule


def deploy(
    source: Any,
    samples: Any,
    progress: Progress = silent,
    **options: Unpack[RequestOptions],
) -> Deployment:
    """Take a trained network to verified engines; see `pipeline.request.Request` for the options.

    Args:
        source: a SOURCE as on the command line (`"model.onnx"`, `"unet.py:unet"`), or a
            `torch.nn.Module`, which is copied and left as it was.
        samples: a path, `"random"` (a smoke test), one feed `{name: array}`, or several.
        progress: called with (what is being done, share of it that is done).
        **options: weights, inputs, outputs, preprocess, targets, precision, options, budget,
            objective, out, threads, trust, measure_seconds, method, calibration, keep,
            strict_precision; as texts or paths, like those of the command line.

    Returns:
        The deployment; every target verified.

    Raises:
        WrongAnswersError: an engine, or every export, disagrees with the source.
        BudgetError: an engine is right, but not within the budget.
        UnavailableError: a target or package isn't here.
        InputError: unreadable or unfitting files.
    """
    return _deploy(make_request(source, samples, **options), progress).require()


def compile(
    module: Any,
    example: Any,
    *,
    target: str = DEFAULT_TARGET,
    precision: str = "auto",
    inputs: str | Sequence[str] = (),
    outputs: str | Sequence[str] = (),
    samples: Iterable[Any] = (),
    calibration: Iterable[Any] = (),
    keep: str | Path | None = None,
    method: str = "auto",
    strict_precision: bool = False,
    options: str | Sequence[str] = (),
    budget: str | None = None,
    threads: int | None = None,
    measure_seconds: float = 0.0,
    progress: Progress = silent,
) -> EngineModule:
    """Turn a module into an engine that takes its place, verified like every other (`deploy`).

    Args:
        module: a `torch.nn.Module`; it is copied and left as it was.
        example: its inputs: a tuple or list of tensors by position, a dict by keyword, or a tensor.
            They are what the engine is verified with, so give real ones.
        target: where it shall run.
        precision: auto, fp32, tf32, fp16, bf16 or int8, as far as the target has it.
        inputs: specifications, "image[batch=1..8,3,224,224]", for axes that may vary. They name the
            network's inputs, or each of them anew, in order. Others keep the example's shape.
        outputs: names for the outputs, in order; None keeps the network's own.
        samples: more examples to verify with, each of the example's form.
        calibration: more examples to choose INT8's ranges with, instead of example and samples.
        keep: a file for INT8's unfinished calibration, to continue it.
        method: how those ranges are chosen, see `roadworthy quantize`.
        strict_precision: less of the precision than was planned, or than is proven, is an error.
        options: the backend's own, "tensorrt.level=2".
        budget: "mvre=0.01".
        threads: of one inference; None takes what this process may use.
        measure_seconds: spent on timing; the times are in the certificate.
        progress: called with (what is being done, share of it that is done).

    Returns:
        The engine; called as the module is, it returns what the module does.

    Raises:
        WrongAnswersError, BudgetError, UnavailableError, InputError: as `deploy`.
        UsageError: the module isn't called so, or what it returns can't be put together again.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "torch", "roadworthy.compile")
    from roadworthy.source.torch.example import read_examples
    from roadworthy.torch_module import EngineModule

    specs = [inputs] if isinstance(inputs, str) else list(inputs)
    examples = read_examples(module, example, samples, specs)
    own = list(calibration)
    ranges = read_examples(module, own[0], own[1:], specs).feeds if own else None
    with TemporaryDirectory(prefix="roadworthy-") as folder:
        path = Path(folder, "engine.rw")
        request = make_request(
            module,
            examples.feeds,
            inputs=examples.inputs,
            outputs=outputs,
            targets=target,
            precision=precision,
            calibration=ranges,
            keep=keep,
            method=method,
            strict_precision=strict_precision,
            options=options,
            budget=budget,
            threads=threads,
            measure_seconds=measure_seconds,
            out=path,
        )
        _deploy(request, progress).require()
        engine = EngineModule.load(path)
    if engine.certificate["calling"] is None:
        raise UsageError(
            "what the network returns can't be put together again",
            where=type(module).__name__,
            remedy="return a tensor, or tuples, lists and dicts of them with keys that are text; "
            "or use roadworthy.deploy, which names each output",
        )
    return engine


def verify_bundle(
    path: str | Path, target: str | None = None, progress: Progress = silent
) -> VerifyOutcome:
    """Verify a bundle on this machine.

    Args:
        path: a bundle, zip or folder.
        target: as for `load`; None verifies all of its engines.
        progress: told how far that is.

    Raises:
        WrongAnswersError: an engine's answers are wrong here.
        UnavailableError: an engine isn't to be had here; those that are were judged, and are right.
        BundleError: the bundle is damaged.
    """
    outcome = _verify_bundle(Path(path), target, progress)
    if outcome.error is not None:
        raise outcome.error
    return outcome


def load(
    path: str | Path,
    target: str | None = None,
    rebuild: bool = False,
    progress: Progress = silent,
) -> LoadedBundle:
    """Check a bundle and open one of its engines; use it in a `with` block, or close it.

    Args:
        path: a bundle, zip or folder.
        target: one of its engines, and where it runs, as on the command line: one that was deployed
            for another place runs at this one. None is the one that deploy chose, at its own.
        rebuild: open an engine that is built for this machine from the bundle's own ONNX, once it
            gave the bundle's stored answers; for a bundle that was made elsewhere.
        progress: told how far that is.

    Raises:
        BundleError: it is damaged.
        UnavailableError: its runtime or device isn't here, or isn't what it was built for.
        WrongAnswersError: the rebuilt engine's answers are wrong here.
    """
    bundle = read_bundle(Path(path))
    if not rebuild:
        return LoadedBundle(bundle, target)
    engine, why = rebuilt_engine(bundle, target, progress)
    return LoadedBundle(bundle, target, engine, (why,))


class LoadedBundle(Closing):
    """An open engine with the contract it was verified with. One thread at a time."""

    def __init__(
        self,
        bundle: Bundle,
        target: str | None = None,
        engine: Engine | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._bundle = bundle
        self._target = target
        engine = engine or bundle.engine(target)
        with naming_remedy(bundle, engine, target):
            self._session = engine.open()
        self._notes = notes

    @property
    def notes(self) -> tuple[str, ...]:
        """Where this machine isn't what the engine was verified on, and why it was rebuilt."""
        return (*self._notes, *self._session.notes)

    @property
    def signature(self) -> Signature:
        """The inputs and outputs."""
        return self._bundle.signature

    @property
    def contract(self) -> Preprocess | None:
        """How images become feeds and what the answers mean; None when feeds are arrays."""
        return Preprocess.of(self._bundle)

    @property
    def certificate(self) -> dict[str, Any]:
        """All the evidence about the bundle's own engine, as plain data."""
        return dict(self._bundle.certificate(self._target))

    def run(self, feed: Feed) -> Answers:
        """Run once: every input by name in, every output by name out; results are yours to keep.

        Raises:
            InputError: names, dtypes or shapes that the signature doesn't allow.
        """
        return self._session.run(feed)

    def preprocess(self, image: str | Path) -> Feed:
        """Turn an image file into a feed, by the contract that the engine was verified with.

        Raises:
            InputError: the bundle has no such contract, or the file is no picture.
        """
        contract = self.contract
        if contract is None:
            raise InputError(
                "the bundle has no preprocess",
                where=str(self._bundle.path),
                remedy="give arrays to run(), or deploy with image samples or a preprocess",
            )
        ranks = self.signature.ranks
        return contract.apply(Path(image), ranks)

    def close(self) -> None:
        """Give the runtime's resources back. May be called twice."""
        self._session.close()
