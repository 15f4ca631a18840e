"""A network that came in as PyTorch code: what the road needs from it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from roadworthy.core.errors import UsageError
from roadworthy.core.inputspec import InputSpec
from roadworthy.core.reference import Reference
from roadworthy.core.signature import Feed, Signature
from roadworthy.source.torch.calling import by_position, convention
from roadworthy.source.torch.export import OPSET, Candidate, candidates
from roadworthy.source.torch.load import freeze, unwrap
from roadworthy.source.torch.numerics import restored_threads
from roadworthy.source.torch.reference import TorchOracle, torch_reference
from roadworthy.source.torch.shapes import input_specs, signature_of
from roadworthy.source.torch.structure import describe as describe_result
from roadworthy.source.torch.usercode import describe


@dataclass(frozen=True)
class TorchSource:
    """A network in eval mode, float32, and how it is called.

    Attributes:
        module: the network; ours alone, a copy if it was given as an object.
        name: where it came from, for messages and the certificate.
        input_names: the inputs in order; see `with_inputs`.
        output_names: names for the outputs in order, None for the network's own.
        notes: what a certificate should mention: where in the file the weights were, dtypes.
    """

    module: nn.Module
    name: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def parameter_count(self) -> int:
        """The number of learned values; a shared parameter counts once."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def with_inputs(self, names: Sequence[str]) -> TorchSource:
        """Return the same network called with these inputs, by name or, failing that, in order.

        Raises:
            UsageError: they don't fit `forward`'s parameters.
        """
        return replace(self, input_names=convention(self.module, names).names)

    def with_outputs(self, names: Sequence[str] | None) -> TorchSource:
        """Return the same network with these names for its outputs, in order."""
        return replace(self, output_names=None if names is None else tuple(names))

    def signature(self, feed: Feed, specs: Sequence[InputSpec] = ()) -> Signature:
        """Find the signature by running the network (once, and once per symbolic axis).

        Args:
            feed: one real sample.
            specs: which axes may vary; inputs that aren't named are static.

        Raises:
            UsageError, SamplesError: the network, the specs and the sample don't fit together.
        """
        oracle = TorchOracle(self.module, self.input_names, self.output_names)
        convention(self.module, self.input_names).tensors(feed)  # names and dtypes, first
        return signature_of(oracle.run, input_specs(self.input_names, specs, feed), feed)

    def reference(self, feed: Feed, threads: int | None = None) -> Reference:
        """Return the network itself as the reference, FP64 too where it runs.

        Raises:
            UsageError: it can't be trusted: random, or it writes into its input.
        """
        reference = torch_reference(self.module, self.input_names, feed, self.output_names, threads)
        return replace(reference, notes=self.notes + reference.notes)

    def calling(self, feed: Feed) -> dict[str, Any] | None:
        """Tell how the network is called and what it returns, for a drop-in in its place.

        "positional": how many inputs may be given by position; "returns": see `structure`. None
        where what it returns can't be put together again.
        """
        how = convention(self.module, self.input_names)
        oracle = TorchOracle(self.module, self.input_names, self.output_names)
        returned = oracle.raw(how.tensors(feed))
        try:
            returns = describe_result(returned, self.output_names)
        except UsageError:
            return None
        return {"positional": by_position(self.module, how), "returns": returns}

    def candidates(
        self, signature: Signature, feed: Feed, opset: int = OPSET
    ) -> Iterator[Candidate]:
        """Yield ONNX candidates, one per exporter, each made when it is asked for."""
        return candidates(self.module, signature, feed, opset)

    def run_callable(self, feed: Feed, threads: int) -> Callable[[], Any]:
        """Return a function without arguments that runs one FP32 eager inference, for timing.

        The input is converted once, before; the output stays a tensor. The number of threads is
        set for each run and restored after it.
        """
        how = convention(self.module, self.input_names)
        tensors = how.tensors(feed)
        module = _sharing_copy(self.module)

        def run() -> Any:
            with restored_threads(threads), torch.inference_mode():
                return how.call(module, tensors)

        return run


def adopt(
    module: nn.Module, input_names: Sequence[str] | None, name: str = "a torch.nn.Module"
) -> TorchSource:
    """Copy a module that belongs to the user and make a source of the copy.

    Raises:
        UsageError: it can't be copied, or the names don't fit.
    """
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            own = copy.deepcopy(unwrap(module))
    except Exception as error:  # whatever its __deepcopy__ raises
        raise UsageError(
            f"the module can't be copied: {describe(error)}",
            where=type(module).__name__,
            remedy="keep no results of forward() as attributes, or give SOURCE as file.py:factory",
        ) from error
    notes = freeze(own)
    return TorchSource(own, name, convention(own, input_names).names, None, notes)


def _sharing_copy(module: nn.Module) -> nn.Module:
    """Copy the structure and share the weights.

    What forward() keeps from an inference-mode run (a cached grid) would be of no use, even
    harmful, to a later export of the module itself.
    """
    shared = {id(t): t for t in (*module.parameters(), *module.buffers())}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return copy.deepcopy(module, dict(shared))
