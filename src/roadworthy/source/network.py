"""A network given as PyTorch code: exported, and the first export that agrees with it is kept.

Every exporter's candidate is run in ONNX Runtime with its optimisations off and compared with the
module itself, on the samples and at the other sizes that are allowed. One that exported but
disagrees is reported, not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from roadworthy.backends import registry
from roadworthy.backends.base import CompileOptions
from roadworthy.core.certificate import ExportAttempt
from roadworthy.core.errors import (
    CompileError,
    InputError,
    RoadworthyError,
    UsageError,
    WrongAnswersError,
)
from roadworthy.core.inputspec import InputSpec
from roadworthy.core.progress import Progress
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Feed, Signature, TensorSpec
from roadworthy.core.target import Target
from roadworthy.graph.depth import arithmetic_depth
from roadworthy.source.prepared import Baseline, Prepared
from roadworthy.verify.answers import JudgedCase, TrustedAnswers, trusted_answers
from roadworthy.verify.cases import plan_cases
from roadworthy.verify.engine import judge_cases, tolerances

if TYPE_CHECKING:
    import onnx_ir as ir

    from roadworthy.source.torch.export import Candidate
    from roadworthy.source.torch.opened import TorchSource

_JUDGE = Target("onnxruntime")
_PLAIN = CompileOptions(optimise=False, spinning=False)


class NetworkSource:
    """See `source.prepared.Source`."""

    def __init__(self, network: TorchSource) -> None:
        self._network = network
        self.description = network.name

    def input_ranks(self, specs: Sequence[InputSpec]) -> Mapping[str, int] | None:
        """Known only where `--inputs` states shapes."""
        ranks = {spec.name: len(spec.shape) for spec in specs if spec.shape is not None}
        return ranks or None

    def default_input(self, specs: Sequence[InputSpec]) -> str | None:
        """The only name that the user gave, else `forward`'s only parameter."""
        names = [spec.name for spec in specs] or list(self._network.input_names)
        return names[0] if len(names) == 1 else None

    def declared(self, specs: Sequence[InputSpec]) -> Signature:
        """See `Source`. PyTorch code says nothing of shapes: all of it comes from `--inputs`."""
        if not specs or any(spec.shape is None for spec in specs):
            raise UsageError(
                "random samples need shapes, and PyTorch code doesn't state any",
                where="--samples random",
                remedy="state them: --inputs 'image[1,3,224,224]:float32'",
            )
        inputs = (TensorSpec(spec.name, spec.dtype or "float32", spec.shape) for spec in specs)
        return Signature(tuple(inputs), ())

    def baseline(self) -> Baseline:
        """The module itself, run eagerly in FP32: what its users run today."""
        return Baseline("PyTorch eager, FP32", self._network.run_callable)

    def reference(self, signature: Signature, samples: Samples, progress: Progress) -> Reference:
        """See `Source`. A signature without inputs, or without outputs, leaves its own names."""
        inputs = [spec.name for spec in signature.inputs]
        network = self._network.with_inputs(inputs) if inputs else self._network
        named = network.with_outputs([spec.name for spec in signature.outputs] or None)
        progress("reference: PyTorch", 0.0)
        return named.reference(samples[0])

    def prepare(
        self,
        samples: Samples,
        specs: Sequence[InputSpec],
        outputs: Sequence[str],
        progress: Progress,
    ) -> Prepared:
        """See `Source`."""
        network = (
            self._network.with_inputs([spec.name for spec in specs]) if specs else self._network
        )
        network = network.with_outputs(outputs or None)
        first: Feed = samples[0]
        progress("run the network", 0.0)
        signature = network.signature(first, specs)
        samples.check(signature)
        reference = network.reference(first)
        calling = network.calling(first)
        trusted = trusted_answers(reference, plan_cases(signature, samples), progress)
        try:
            model, attempts = self._export(network, signature, first, trusted, progress)
        except BaseException:
            trusted.close()
            raise
        baseline = Baseline("PyTorch eager, FP32", network.run_callable)
        return Prepared(model, signature, reference, trusted, attempts, baseline, calling)

    def _export(
        self,
        network: TorchSource,
        signature: Signature,
        feed: Feed,
        trusted: TrustedAnswers,
        progress: Progress,
    ) -> tuple[ir.Model, tuple[ExportAttempt, ...]]:
        """Try every exporter; keep the first candidate that agrees with the module."""
        attempts: list[ExportAttempt] = []
        kept: ir.Model | None = None
        progress("export to ONNX", 0.0)
        for candidate in network.candidates(signature, feed):
            progress(f"compare the export ({candidate.exporter})", 0.0)
            complaint = candidate.failure or _disagreement(candidate, trusted, progress)
            outcome = "raised" if candidate.failure else "disagrees" if complaint else "kept"
            detail = complaint or "agrees with the module in every case"
            attempts.append(ExportAttempt(candidate.exporter, outcome, detail, candidate.seconds))
            if not complaint:
                kept = candidate.model
                break
            progress("export to ONNX with another exporter", 0.0)
        if kept is None:
            raise _no_export(attempts, self.description)
        return kept, tuple(attempts)


def _disagreement(candidate: Candidate, trusted: TrustedAnswers, progress: Progress) -> str:
    """Return how a candidate's answers differ from the module's, "" when they don't."""
    if candidate.model is None:
        return "no model was produced"
    try:
        engine = registry.find(_JUDGE.backend).compile(
            candidate.model, candidate.signature, _JUDGE, _PLAIN
        )
        limits = tolerances(trusted, arithmetic_depth(candidate.model))
        cases: Sequence[JudgedCase] = trusted.cases
        verdict = judge_cases(engine, cases, limits, progress)
    except (CompileError, InputError) as error:
        return f"the exported model can't be run: {error.what}"
    return "; ".join(verdict.failures[:4])


def _no_export(attempts: Sequence[ExportAttempt], source: str) -> RoadworthyError:
    """Say what every exporter did. Disagreeing is a wrong answer, raising isn't."""
    said = "; ".join(f"{item.exporter}: {' '.join(item.detail.split())}" for item in attempts)
    if any(attempt.outcome == "disagrees" for attempt in attempts):
        return WrongAnswersError(
            f"no exported model agrees with the network itself: {said}",
            where=source,
            remedy="look for Python branches on shapes or values in forward(), or shapes turned "
            "into constants: tracing freezes those",
        )
    return CompileError(
        f"the network can't be exported to ONNX: {said}",
        where=source,
        remedy="rewrite what the exporter names, or narrow --inputs",
    )
