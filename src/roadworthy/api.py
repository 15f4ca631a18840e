"""The Python face: `deploy`, `load`, `verify_bundle`. What they refuse, they raise."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from roadworthy.bundle.reader import Bundle, read_bundle
from roadworthy.core.errors import InputError
from roadworthy.core.signature import Answers, Feed, Signature
from roadworthy.pipeline.deploy import deploy as _deploy
from roadworthy.pipeline.deployment import Deployment
from roadworthy.pipeline.request import RequestOptions, make_request
from roadworthy.pipeline.verify import VerifyOutcome
from roadworthy.pipeline.verify import verify_bundle as _verify_bundle
from roadworthy.verify.answers import Progress, silent
from roadworthy.vision.preprocess import Preprocess


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
        **options: weights, inputs, outputs, preprocess, targets, precision, budget, objective, out,
            threads, trust, measure_seconds; as texts or paths, like those of the command line.

    Returns:
        The deployment; every target verified.

    Raises:
        WrongAnswersError: an engine, or every export, disagrees with the source.
        BudgetError: an engine is right, but not within the budget.
        UnavailableError: a target or package isn't here.
        InputError: unreadable or unfitting files.
    """
    return _deploy(make_request(source, samples, **options), progress).require()


def verify_bundle(
    path: str | Path, target: str | None = None, progress: Progress = silent
) -> VerifyOutcome:
    """Verify a bundle on this machine.

    Raises:
        WrongAnswersError: an engine's answers are wrong here.
        BundleError: the bundle is damaged.
    """
    outcome = _verify_bundle(Path(path), target, progress)
    if outcome.error is not None:
        raise outcome.error
    return outcome


def load(path: str | Path, target: str | None = None) -> LoadedBundle:
    """Check a bundle and open one of its engines; use it in a `with` block, or close it.

    Args:
        path: a bundle, zip or folder.
        target: one of its engines; None is the one that deploy chose.

    Raises:
        BundleError: it is damaged.
        UnavailableError: its runtime or device isn't here.
    """
    return LoadedBundle(read_bundle(Path(path)), target)


class LoadedBundle:
    """An open engine with the contract it was verified with. One thread at a time."""

    def __init__(self, bundle: Bundle, target: str | None = None) -> None:
        self._bundle = bundle
        self._target = target
        self._session = bundle.engine(target).open()

    @property
    def signature(self) -> Signature:
        """The inputs and outputs."""
        return self._bundle.signature

    @property
    def contract(self) -> Preprocess | None:
        """How images become feeds and what the answers mean; None when feeds are arrays."""
        if self._bundle.preprocess is None:
            return None
        return Preprocess.from_json(self._bundle.preprocess, "preprocess.json")

    @property
    def certificate(self) -> dict[str, Any]:
        """All the evidence about this engine, as plain data."""
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
        ranks = {spec.name: len(spec.shape) for spec in self.signature.inputs if spec.shape}
        return contract.apply(Path(image), ranks)

    def close(self) -> None:
        """Give the runtime's resources back. May be called twice."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
