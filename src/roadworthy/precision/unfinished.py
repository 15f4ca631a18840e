"""An unfinished calibration, and the file that it is continued from (`--keep`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadworthy.core.errors import InputError
from roadworthy.core.files import replacing_file
from roadworthy.core.npz import read_npz
from roadworthy.core.samples import Samples
from roadworthy.graph.serial import digest, to_files
from roadworthy.precision.observe import Observed
from roadworthy.precision.operands import data_axis
from roadworthy.precision.typed import graph_values

if TYPE_CHECKING:
    import onnx_ir as ir

SCHEMA = "roadworthy/calibration/2"


def begun(
    model: ir.Model,
    samples: Samples,
    tensors: Sequence[str],
    *,
    histograms: bool,
    keep: Path | None,
) -> Unfinished:
    """Return a calibration as far as it is; arguments as of `calibrate`.

    Raises:
        InputError: `keep` is no calibration, or one of another network or other samples.
    """
    head = {
        "schema": SCHEMA,
        "model": digest(to_files(model, "model.onnx")),
        "samples": samples.digest,
        "tensors": sorted(tensors),
        "axes": _axes(model, tensors),
        "histograms": histograms,
    }
    if keep is None or not keep.exists():
        return Unfinished(head)
    state = Unfinished.load(keep)
    state.require(head, keep)
    state.head = head
    return state


def _axes(model: ir.Model, tensors: Sequence[str]) -> dict[str, int]:
    """Return the axis of the channels of every tensor of which it is known."""
    wanted = set(tensors)
    values = (value for value in graph_values(model) if value.name in wanted)
    axes = {value.name or "": data_axis(value) for value in values}
    return {name: axis for name, axis in sorted(axes.items()) if axis is not None}


class Unfinished:
    """How far a calibration is.

    Attributes:
        head: what it is of.
        done: how many samples were run or left out, in their order.
        seconds: what that took.
        skipped: samples that were left out, with the reason.
        tensors: what was seen, by name.
    """

    def __init__(self, head: Mapping[str, Any]) -> None:
        self.head = dict(head)
        self.done = 0
        self.seconds = 0.0
        self.skipped: dict[str, str] = {}
        self.tensors = {
            name: Observed(name, axis=head["axes"].get(name)) for name in head["tensors"]
        }
        if not head["histograms"]:
            for seen in self.tensors.values():
                seen.histogram = None

    def save(self, path: Path) -> None:
        """Write everything, in one step, as arrays without pickle."""
        arrays: dict[str, Any] = {}
        for index, seen in enumerate(self.tensors.values()):
            arrays |= {f"{index}/{key}": value for key, value in seen.to_arrays().items()}
        head = {**self.head, "done": self.done, "seconds": self.seconds, "skipped": self.skipped}
        with replacing_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)

    @classmethod
    def load(cls, path: Path) -> Unfinished:
        """Read what `save` wrote, whatever it is of.

        Raises:
            InputError: it is something else.
        """
        try:
            arrays = read_npz(path)
            found = json.loads(str(arrays.pop("head")))
            state = cls(found)
            state.done, state.seconds = int(found["done"]), float(found["seconds"])
            state.skipped = dict(found["skipped"])
            for index, name in enumerate(state.tensors):
                own = f"{index}/"
                state.tensors[name] = Observed.from_arrays(
                    name,
                    {key.removeprefix(own): v for key, v in arrays.items() if key.startswith(own)},
                    state.tensors[name].axis,
                )
        except (InputError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
            reason = error.what if isinstance(error, InputError) else error
            raise InputError(
                f"this is no calibration: {reason}",
                where=str(path),
                remedy="name another file, or remove it to calibrate anew",
            ) from error
        return state

    def require(self, head: Mapping[str, Any], path: Path) -> None:
        """Raise `InputError` where this is of something else than `head`; `path` is its file."""
        anew = "name another file, or remove it to calibrate anew"
        for key, what, remedy in (
            ("model", "another network", anew),
            ("samples", "other samples", f"{anew}; another --method holds others of them back"),
        ):
            if self.head.get(key) != head[key]:
                raise InputError(
                    f"this calibration belongs to {what}", where=str(path), remedy=remedy
                )
        if any(
            self.head.get(key) != head[key] for key in ("schema", "tensors", "axes", "histograms")
        ):
            raise InputError(
                "this calibration observed other tensors, for other methods, or is of another "
                "version",
                where=str(path),
                remedy="remove it to calibrate anew",
            )
