"""An ONNX file as a source: its own model, judged by independent oracles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from roadworthy.core.errors import UsageError
from roadworthy.core.inputspec import InputSpec
from roadworthy.core.progress import Progress
from roadworthy.core.reference import Reference
from roadworthy.core.samples import Samples
from roadworthy.core.signature import Signature
from roadworthy.graph.signature import signature_of
from roadworthy.source.onnx.load import apply_input_specs, load_onnx
from roadworthy.source.onnx.oracles import BackendOracle, onnx_reference
from roadworthy.source.prepared import Baseline, Prepared
from roadworthy.verify.answers import trusted_answers
from roadworthy.verify.cases import plan_cases


class OnnxSource:
    """A model that somebody else exported."""

    def __init__(self, path: Path) -> None:
        self.description = path.name
        self.model = load_onnx(path)
        self.signature = signature_of(self.model)

    def input_ranks(self, specs: Sequence[InputSpec]) -> Mapping[str, int] | None:
        """See `Source`."""
        return {
            spec.name: len(spec.shape) for spec in self.signature.inputs if spec.shape is not None
        }

    def default_input(self, specs: Sequence[InputSpec]) -> str | None:
        """See `Source`."""
        inputs = self.signature.inputs
        return inputs[0].name if len(inputs) == 1 else None

    def declared(self, specs: Sequence[InputSpec]) -> Signature:
        """See `Source`."""
        return apply_input_specs(self.signature, specs)

    def select(self, outputs: Sequence[str]) -> tuple[ir.Model, Signature]:
        """Return the model with these outputs only, all of them when none is named.

        Raises:
            UsageError: a name that isn't an output.
        """
        if not outputs:
            return self.model, self.signature
        by_name = {value.name: value for value in self.model.graph.outputs}
        unknown = [name for name in outputs if name not in by_name]
        if unknown:
            raise UsageError(
                f"the model has no outputs {unknown}",
                where="--outputs",
                remedy=f"its outputs are {', '.join(str(name) for name in by_name)}",
            )
        model = self.model.clone()
        kept = {value.name: value for value in model.graph.outputs}
        model.graph.outputs[:] = [kept[name] for name in outputs]
        return model, signature_of(model)

    def baseline(self) -> Baseline | None:
        """See `Source`: an ONNX file has no framework behind it."""
        return None

    def reference(self, signature: Signature, samples: Samples, progress: Progress) -> Reference:
        """See `Source`."""
        return _oracles(self.model, signature, samples, progress)

    def prepare(
        self,
        samples: Samples,
        specs: Sequence[InputSpec],
        outputs: Sequence[str],
        progress: Progress,
    ) -> Prepared:
        """See `Source`."""
        model, signature = self.select(outputs)
        signature = apply_input_specs(signature, specs)
        samples.check(signature)
        reference = _oracles(model, signature, samples, progress)
        trusted = trusted_answers(reference, plan_cases(signature, samples), progress)
        if isinstance(reference.judge, BackendOracle):
            # All that it answered is kept: its memory is of more use to what comes next.
            reference.judge.close()
        return Prepared(model, signature, reference, trusted, (), None)


def _oracles(
    model: ir.Model, signature: Signature, samples: Samples, progress: Progress
) -> Reference:
    feeds = [(item.name, item.load()) for item in samples.items[:2]]
    return onnx_reference(model, signature, feeds, progress)
