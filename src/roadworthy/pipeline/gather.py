"""Bring the samples in, through the contract of their preprocessing where they are images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from roadworthy.core.errors import InputError, SamplesError, UsageError
from roadworthy.core.inputspec import InputSpec
from roadworthy.core.samples import RANDOM, Samples, load_samples, random_samples
from roadworthy.core.signature import Feed, Signature
from roadworthy.source.network import NetworkSource
from roadworthy.source.prepared import Source
from roadworthy.vision.images import find_preprocess, image_loader
from roadworthy.vision.preprocess import Preprocess


class Inputs(Protocol):
    """What is known of the inputs before there are samples; every `Source` tells it."""

    def input_ranks(self, specs: Sequence[InputSpec]) -> Mapping[str, int] | None:
        """See `source.prepared.Source`."""
        ...

    def default_input(self, specs: Sequence[InputSpec]) -> str | None:
        """See `source.prepared.Source`."""
        ...

    def declared(self, specs: Sequence[InputSpec]) -> Signature:
        """See `source.prepared.Source`."""
        ...


def gather_samples(
    given: Any,
    source: Inputs,
    specs: Sequence[InputSpec],
    preprocess: Path | None,
    shipped: Preprocess | None = None,
) -> tuple[Samples, Preprocess | None]:
    """Return the samples and the contract they were made with, None for arrays.

    Args:
        given: a path, "random", one feed, or several feeds.
        source: tells names and ranks of the inputs.
        specs: what the user said of the inputs.
        preprocess: the contract named by the user.
        shipped: a bundle's own contract; it counts before one that lies beside the images.

    Raises:
        SamplesError: no such samples, unreadable ones, or objects that aren't feeds.
        UsageError: no samples were given at all.
    """
    require_samples(given)
    contract = Preprocess.read(preprocess) if preprocess is not None else shipped
    if isinstance(given, str | Path):
        if given == RANDOM:  # a Path of that name is a file's
            return random_samples(source.declared(specs)), contract
        path = Path(given)
        if contract is None:
            contract = find_preprocess(path, preprocess)
        ranks = source.input_ranks(specs)
        loader = image_loader(contract, ranks) if contract is not None else None
        samples = load_samples(path, ranks, source.default_input(specs), loader)
        return samples, contract if _from_images(samples) or preprocess is not None else None
    return Samples.of_arrays(_feeds(given)), contract


def fitting(
    samples: Samples, source: Inputs, specs: Sequence[InputSpec], contract: Preprocess | None
) -> Signature:
    """Return the signature that samples and their contract were found to fit.

    Raises:
        InputError: the contract is another network's.
        SamplesError: the samples don't fit.
    """
    signature = source.declared(specs)
    check_contract(contract, signature)
    samples.check(signature)
    return signature


def require_samples(given: Any) -> None:
    """Raise `UsageError` where no samples were given at all."""
    if given is None:
        raise UsageError(
            "no samples were given, so nothing could be proven",
            where="--samples",
            remedy="give real inputs; --samples random makes a smoke test and says so",
        )


def _feeds(given: Any) -> list[Feed]:
    """Return feeds in memory as a list of them, checked so far as to be feeds at all."""
    feeds = [given] if isinstance(given, Mapping) or not isinstance(given, Iterable) else given
    found: list[Feed] = []
    for index, feed in enumerate(feeds):
        if not isinstance(feed, Mapping):
            raise SamplesError(
                f"sample {index} is a {type(feed).__name__}, not arrays by the inputs' names",
                where="samples",
                remedy='give {"image": array}, or a list of such feeds',
            )
        for name, array in feed.items():
            if not isinstance(name, str) or not isinstance(array, np.ndarray):
                raise SamplesError(
                    f"sample {index}: {name!r} is a {type(array).__name__}, not a NumPy array",
                    where="samples",
                    remedy="convert it with numpy.asarray",
                )
        found.append(dict(feed))
    return found


def _from_images(samples: Samples) -> bool:
    return samples.kind in ("images", "mixed")


def output_names(
    outputs: Sequence[str], source: Source, contract: Preprocess | None
) -> tuple[str, ...]:
    """Return the names for the outputs: the user's, else the one that the contract speaks of.

    An ONNX file has names for its outputs already: there the contract names none, and is checked.
    """
    if outputs or not isinstance(source, NetworkSource):
        return tuple(outputs)
    task = contract.task if contract is not None else None
    name = (task.output or task.labels_output) if task is not None else None
    return (name,) if name else ()


def check_contract(contract: Preprocess | None, signature: Signature) -> None:
    """Check that the contract and the network speak of the same tensors.

    Raises:
        InputError: the contract names an input or output that the network doesn't have.
    """
    if contract is None:
        return
    inputs = {spec.name for spec in signature.inputs}
    if set(contract.inputs) != inputs:
        raise InputError(
            f"the preprocess makes {sorted(contract.inputs)}, the network takes {sorted(inputs)}",
            where=contract.source,
            remedy="name the inputs as the network does",
        )
    task = contract.task
    if task is None:
        return
    outputs = {spec.name for spec in signature.outputs}
    wanted = {name for name in (task.output, task.labels_output) if name}
    if not wanted & outputs:
        raise InputError(
            f"the task reads {sorted(wanted)}, the network's outputs are {sorted(outputs)}",
            where=contract.source,
            remedy="name the network's output with --outputs, or mend the task",
        )
