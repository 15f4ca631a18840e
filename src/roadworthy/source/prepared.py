"""What every source comes to: an ONNX model, who judges it, and the trusted answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from roadworthy.core.certificate import ExportAttempt
from roadworthy.core.inputspec import InputSpec
from roadworthy.core.progress import Progress
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Feed, Signature
from roadworthy.verify.answers import TrustedAnswers

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Baseline:
    """What users run today, timed beside the engine: `call(feed, threads)` gives one run of it."""

    name: str
    call: Callable[[Feed, int], Callable[[], object]]


@dataclass(frozen=True)
class Prepared:
    """A model that agrees with its source, ready for passes and backends.

    Attributes:
        model: the ONNX model.
        signature: its inputs and outputs, with the ranges that were asked for.
        reference: who judges.
        trusted: the judge's answers; closed by whoever asked for them.
        exports: how the model came to be; empty for an ONNX file.
        baseline: the source framework itself, None where there is none.
        calling: how Python calls the source and what it returns, None where that isn't known; see
            `source.torch.opened.TorchSource.calling`.
    """

    model: ir.Model
    signature: Signature
    reference: Reference
    trusted: TrustedAnswers
    exports: tuple[ExportAttempt, ...]
    baseline: Baseline | None
    calling: Mapping[str, Any] | None = None


class Source(Protocol):
    """A trained network, opened."""

    @property
    def description(self) -> str:
        """What it is, for people and certificates."""
        ...

    def input_ranks(self, specs: Sequence[InputSpec]) -> Mapping[str, int] | None:
        """The number of axes of each input, None where only the samples can tell."""
        ...

    def default_input(self, specs: Sequence[InputSpec]) -> str | None:
        """The name of the only input, None when there are several."""
        ...

    def declared(self, specs: Sequence[InputSpec]) -> Signature:
        """Return the inputs as far as they are known without samples, for random ones.

        Raises:
            UsageError: not even the shapes are known.
        """
        ...

    def baseline(self) -> Baseline | None:
        """What users run today, None where the source is only a file."""
        ...

    def reference(self, signature: Signature, samples: Samples, progress: Progress) -> Reference:
        """Return this network as the judge of another one of that signature.

        Raises:
            InputError: its inputs or outputs are others.
        """
        ...

    def prepare(
        self,
        samples: Samples,
        specs: Sequence[InputSpec],
        outputs: Sequence[str],
        progress: Progress,
    ) -> Prepared:
        """Bring the model in, with its reference and the trusted answers.

        Raises:
            WrongAnswersError: what was exported disagrees with the source, or oracles with each
                other.
            InputError: the samples don't fit.
        """
        ...
