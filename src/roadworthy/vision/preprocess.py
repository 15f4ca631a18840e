"""How an image file becomes what the network takes: a declarative contract, kept in the bundle.

    {"schema": "roadworthy/preprocess/1",
     "inputs": {"image": [{"op": "decode"}, {"op": "colour", "to": "grey"},
                          {"op": "fit", "size": [256, 256], "mode": "stretch", "method": "area"},
                          {"op": "scale", "by": 0.00392156862745098},
                          {"op": "layout", "to": "CHW"}, {"op": "dtype", "to": "float32"}]},
     "task": {"kind": "segmentation", "output": "logits", "classes": ["background", "object"]}}

The steps are in `steps.py` and `fit.py`, their order in `order.py`, the task in `task.py`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadworthy.core.errors import InputError, SamplesError
from roadworthy.core.signature import Array, Feed
from roadworthy.vision import checks
from roadworthy.vision.fit import Fit
from roadworthy.vision.geometry import Geometry
from roadworthy.vision.order import check_order
from roadworthy.vision.steps import (
    Clip,
    Colour,
    Decode,
    InstanceNorm,
    MeanStd,
    Picture,
    Scale,
    Step,
    ToDtype,
    ToLayout,
    freeze,
)
from roadworthy.vision.task import SegmentationTask, task_from_json

if TYPE_CHECKING:
    from roadworthy.bundle.reader import Bundle

SCHEMA = "roadworthy/preprocess/1"

STEPS: dict[str, type[Step]] = {
    step.op: step
    for step in (Decode, Colour, Fit, Scale, MeanStd, InstanceNorm, Clip, ToLayout, ToDtype)
}

Ranks = Mapping[str, int]


@dataclass(frozen=True)
class Preprocess:
    """Ordered steps per input of the network, and what the answers mean. Validated when made.

    Attributes:
        inputs: input name to its steps. Every input is made from the same picture.
        task: what the outputs are, None when not said.
        source: the file it was read from, for messages; not part of equality.

    Raises:
        InputError: no inputs, or steps in an order that can't work.
    """

    inputs: Mapping[str, tuple[Step, ...]]
    task: SegmentationTask | None = None
    source: str = field(default="preprocess", compare=False)

    def __post_init__(self) -> None:
        if not self.inputs:
            raise InputError(
                "the preprocess names no input",
                where=self.source,
                remedy='write {"inputs": {"NAME": [steps]}} with the name of the network\'s input',
            )
        for name, steps in self.inputs.items():
            check_order(steps, f"{self.source}: inputs.{name}")

    @classmethod
    def read(cls, path: Path) -> Preprocess:
        """Read a contract file.

        Raises:
            InputError: missing, not JSON, or not such a contract; names the step that is wrong.
        """
        try:
            data = json.loads(
                path.read_bytes().decode("utf-8"),
                object_pairs_hook=_no_twins,
                parse_constant=_no_constant,
            )
        except OSError as error:
            raise InputError(
                f"the preprocess can't be read: {error.strerror or error}", where=str(path)
            ) from error
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"the preprocess isn't JSON: {error}",
                where=str(path),
                remedy=f'write an object {{"schema": "{SCHEMA}", "inputs": …}}',
            ) from error
        return cls.from_json(data, str(path))

    @classmethod
    def from_json(cls, data: Any, source: str = "preprocess") -> Preprocess:
        """Read the JSON form. `source` names it in messages.

        Raises:
            InputError: an unknown schema, op or field, a wrong value, or a wrong order.
        """
        if isinstance(data, Mapping) and data.get("schema") != SCHEMA:
            raise InputError(
                f"the preprocess has schema {data.get('schema')!r}, this version reads {SCHEMA!r}",
                where=source,
                remedy=f'write "schema": "{SCHEMA}"',
            )
        with _located(source):
            checks.fields(data, ("schema", "inputs", "task"), ("inputs",), "the preprocess")
            if not isinstance(data["inputs"], Mapping):
                raise InputError("'inputs' isn't an object", remedy="write {NAME: [steps]}")
        inputs = {
            name: _steps(steps, f"{source}: inputs.{name}")
            for name, steps in data["inputs"].items()
        }
        task = data.get("task")
        with _located(f"{source}: task"):
            read = None if task is None else task_from_json(task)
        return cls(inputs, read, source)

    @classmethod
    def of(cls, bundle: Bundle) -> Preprocess | None:
        """Return the contract that a bundle brings along, None where its inputs are arrays.

        Raises:
            InputError: it isn't such a contract.
        """
        if bundle.preprocess is None:
            return None
        return cls.from_json(bundle.preprocess, f"{bundle.path}: preprocess.json")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; `from_json` of it is equal to this."""
        data: dict[str, Any] = {
            "schema": SCHEMA,
            "inputs": {name: [s.to_json() for s in steps] for name, steps in self.inputs.items()},
        }
        if self.task is not None:
            data["task"] = self.task.to_json()
        return data

    def apply(self, path: Path, signature_rank: Ranks | None = None) -> Feed:
        """Turn an image file into one feed.

        Args:
            path: the image.
            signature_rank: the number of axes of each input. Where it is 3 the network has no
                batch axis and gets none; otherwise a batch axis of 1 leads.

        Returns:
            Per input 1×C×H×W or 1×H×W×C (by its layout step), C-contiguous.

        Raises:
            SamplesError: the file isn't a readable picture, or doesn't fit the contract.
            MissingExtraError: Pillow isn't installed.
        """
        return self.apply_with_geometry(path, signature_rank)[0]

    def apply_with_geometry(
        self, path: Path, signature_rank: Ranks | None = None
    ) -> tuple[Feed, Geometry]:
        """Like `apply`; also return where the original's pixels lie in the first input."""
        from roadworthy.vision.decode import read_bytes

        return self.apply_bytes_with_geometry(read_bytes(path), str(path), signature_rank)

    def apply_bytes(self, raw: bytes, name: str, signature_rank: Ranks | None = None) -> Feed:
        """Like `apply`, for a file's content; `name` is what messages call it."""
        return self.apply_bytes_with_geometry(raw, name, signature_rank)[0]

    def apply_bytes_with_geometry(
        self, raw: bytes, name: str, signature_rank: Ranks | None = None
    ) -> tuple[Feed, Geometry]:
        """Like `apply_with_geometry`, for a file's content."""
        pictures = {key: self._picture(steps, raw, name) for key, steps in self.inputs.items()}
        feed = {
            key: _batched(key, picture.pixels, signature_rank, name)
            for key, picture in pictures.items()
        }
        return feed, next(iter(pictures.values())).geometry

    def _picture(self, steps: tuple[Step, ...], raw: bytes, name: str) -> Picture:
        first, *rest = steps
        assert isinstance(first, Decode)  # check_order saw to it
        picture = first.open(raw, name)
        try:
            for step in rest:
                picture = step.apply(picture)
        except SamplesError as error:
            raise SamplesError(error.what, where=name, remedy=error.remedy) from error
        return picture


@contextlib.contextmanager
def _located(where: str) -> Iterator[None]:
    """Say where in the file an InputError was met."""
    try:
        yield
    except InputError as error:
        raise InputError(error.what, where=where, remedy=error.remedy) from error


def _steps(data: Any, where: str) -> tuple[Step, ...]:
    if not isinstance(data, list) or not data:
        raise InputError(
            "the steps aren't a list", where=where, remedy='write [{"op": "decode"}, …]'
        )
    return tuple(_step(item, f"{where}[{index}]") for index, item in enumerate(data))


def _step(data: Any, where: str) -> Step:
    op = data.get("op") if isinstance(data, Mapping) else None
    if not isinstance(op, str) or op not in STEPS:
        raise InputError(
            f"there is no step {op!r}" if op is not None else 'the step has no "op"',
            where=where,
            remedy=f"the steps are {', '.join(STEPS)}",
        )
    kind = STEPS[op]
    known = kind.__dataclass_fields__
    required = [name for name in known if not hasattr(kind, name)]
    with _located(f"{where} ({op})"):
        checks.fields(data, ("op", *known), required, f"step {op}")
        given = freeze(data)
        for name, value in given.items():
            if value is None:
                raise InputError(f"{name!r} is null", remedy="leave it out, or give a value")
        return kind(**given)


def _batched(key: str, pixels: Array, ranks: Ranks | None, name: str) -> Array:
    rank = 4 if ranks is None else ranks.get(key, 4)
    if rank not in (3, 4):
        raise SamplesError(
            f"input {key!r} has {rank} axes, a picture has 3, or 4 with a batch axis",
            where=name,
            remedy="give this network .npy or .npz samples",
        )
    return np.ascontiguousarray(pixels if rank == 3 else pixels[np.newaxis])


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twin!r} is written twice")
    return data


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} isn't a number of JSON")
