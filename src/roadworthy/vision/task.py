"""What a network's outputs mean for pictures: so far, segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from roadworthy.core.errors import InputError, WrongAnswersError
from roadworthy.core.signature import Answers, Array
from roadworthy.vision import checks
from roadworthy.vision.palette import palette, rgba

LARGEST_CLASS_COUNT = 65_536


@dataclass(frozen=True)
class SegmentationTask:
    """Each pixel belongs to one class.

    Attributes:
        classes: their names, by index; at least two.
        output: the output that holds scores per class (logits or probabilities), or labels.
        labels_output: an output that holds labels already (ArgMax in the network); it is preferred
            to `output`, and one of the two must be named.
        colours: `#rrggbb` or `#rrggbbaa` per class; "aa" weakens the drawing, 00 draws nothing.
            None: chosen by `palette`.
        layout: where the classes are in scores: "CHW" (default) or "HWC", after the batch axis.
        threshold: for one score per pixel (two classes): class 1 where the score is above it, in
            the output's own unit: 0.5 for probabilities, 0 for logits.

    Raises:
        InputError: a value of another form.
    """

    kind: ClassVar[str] = "segmentation"
    output: str | None = None
    classes: tuple[str, ...] = ()
    colours: tuple[str, ...] | None = None
    labels_output: str | None = None
    layout: str | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        _check_classes(self.classes)
        for name in ("output", "labels_output"):
            if getattr(self, name) is not None:
                checks.text(name, getattr(self, name))
        if self.output is None and self.labels_output is None:
            raise InputError(
                "the task names no output",
                remedy='write "output" (scores per class) or "labels_output" (labels)',
            )
        if self.colours is not None:
            if not isinstance(self.colours, tuple) or len(self.colours) != len(self.classes):
                raise InputError(
                    f"'colours' must list one colour per class, {len(self.classes)}",
                    remedy="add the missing ones, or leave 'colours' out",
                )
            for colour in self.colours:
                rgba(colour)
        checks.choice("layout", self.layout, (None, "CHW", "HWC"))
        if self.threshold is not None:
            checks.number("threshold", self.threshold)
            if len(self.classes) != 2:
                raise InputError(
                    f"'threshold' tells two classes apart, there are {len(self.classes)}",
                    remedy="leave it out",
                )

    @property
    def palette(self) -> tuple[str, ...]:
        """One colour per class: the contract's, or chosen ones."""
        return self.colours or palette(self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: the fields that were given."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"kind": self.kind} | {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value is not None
        }

    def labels(self, answers: Answers, item: int = 0) -> NDArray[np.integer]:
        """Read the class of every pixel from a network's answers.

        Forms of the named output, C = number of classes (axes in the order of `layout`):
            1. N×C×H×W or C×H×W, C as classes: the class of the largest score, the first of equals.
            2. N×1×H×W, 1×H×W or H×W of floats: class 1 above `threshold`.
            3. N×1×H×W, N×H×W or H×W of integers or booleans: labels. Also whole floats, where it
               is `labels_output`.

        Args:
            answers: every output by name.
            item: which one of the batch.

        Returns:
            H×W, uint8 (int32 for more than 256 classes).

        Raises:
            InputError: the output is missing, of another form, or holds labels of no class.
            WrongAnswersError: scores that are NaN.
        """
        if self.labels_output is not None and self.labels_output in answers:
            name, labels_only = self.labels_output, True
        else:
            name, labels_only = self.output or self.labels_output or "", False
        if name not in answers:
            raise InputError(
                f"the network has no output {name!r}",
                where="preprocess: task",
                remedy=f"its outputs are {', '.join(sorted(answers))}",
            )
        values = answers[name]
        if values.size == 0 or values.dtype.kind not in "biuf":
            self._refuse(name, values)
        integers = values.dtype.kind in "biu"
        if not labels_only and self._is_scores(values, integers=integers):
            found: Array = self._largest(name, self._item(name, values, item, 3))
        elif integers or labels_only:
            found = self._checked(name, self._plane(name, values, item, labels=True))
        else:
            found = self._above(name, self._plane(name, values, item, labels=False))
        return found.astype(np.uint8 if len(self.classes) <= 256 else np.int32)

    @property
    def _class_axis(self) -> int:
        """The class axis, counted from the end."""
        return -1 if self.layout == "HWC" else -3

    def _is_scores(self, values: Array, *, integers: bool) -> bool:
        """Tell case 1; three axes of integers are a batch of labels."""
        if values.ndim not in ((4,) if integers else (3, 4)):
            return False
        return bool(values.shape[self._class_axis] == len(self.classes))

    def _largest(self, name: str, scores: Array) -> Array:
        _refuse_nan(name, scores)
        found: Array = np.argmax(scores, axis=self._class_axis)
        return found

    def _above(self, name: str, scores: Array) -> Array:
        if self.threshold is None:
            raise InputError(
                f"output {name!r} has one score per pixel, and the contract states no threshold",
                where="preprocess: task",
                remedy='write "threshold": 0.5 for probabilities, 0 for logits',
            )
        _refuse_nan(name, scores)
        return scores > self.threshold

    def _checked(self, name: str, labels: Array) -> Array:
        low, high = float(labels.min()), float(labels.max())
        whole = labels.dtype.kind != "f" or bool((labels == np.floor(labels)).all())
        if not whole or low < 0 or high >= len(self.classes):
            raise InputError(
                f"output {name!r} holds labels from {low:g} to {high:g}, "
                f"the contract names {len(self.classes)} classes, 0 to {len(self.classes) - 1}",
                where="preprocess: task",
                remedy="name every class that the network knows",
            )
        return labels

    def _item(self, name: str, values: Array, item: int, rank: int) -> Array:
        """Return one item of a batch; values of `rank` axes have no batch axis."""
        if values.ndim == rank:
            return values
        if not 0 <= item < values.shape[0]:
            raise InputError(f"output {name!r} holds {values.shape[0]} pictures, not item {item}")
        one: Array = values[item]
        return one

    def _plane(self, name: str, values: Array, item: int, *, labels: bool) -> Array:
        """Return H×W of cases 2 (which needs a class axis of 1, or two axes) and 3."""
        single = values.ndim in (3, 4) and values.shape[self._class_axis] == 1
        if single:
            values = np.squeeze(values, axis=self._class_axis)
        if values.ndim not in ((2, 3) if labels or single else (2,)):
            self._refuse(name, values)
        return self._item(name, values, item, 2)

    def _refuse(self, name: str, values: Array) -> NoReturn:
        count = len(self.classes)
        scores = f"N×H×W×{count}" if self.layout == "HWC" else f"N×{count}×H×W"
        raise InputError(
            f"output {name!r} has shape {list(values.shape)} and dtype {values.dtype}, "
            f"which isn't a segmentation into {count} classes",
            where="preprocess: task",
            remedy=f"its forms are {scores} of scores, N×H×W of integer labels, or one score per "
            'pixel with a "threshold"; "layout" says where the classes are',
        )


def task_from_json(data: Any) -> SegmentationTask:
    """Read a contract's `task`.

    Raises:
        InputError: an unknown kind or field, or a wrong value.
    """
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if kind not in TASKS:
        raise InputError(
            f"there is no task {kind!r}", remedy=f'"kind" is one of: {", ".join(TASKS)}'
        )
    known = [item.name for item in fields(SegmentationTask)]
    checks.fields(data, ("kind", *known), ("classes",), f"task {kind}")
    given = {name: value for name, value in data.items() if name != "kind"}
    for name, value in given.items():
        if value is None:
            raise InputError(f"{name!r} is null", remedy="leave it out, or give a value")
        if isinstance(value, list):
            given[name] = tuple(value)
    return SegmentationTask(**given)


TASKS = (SegmentationTask.kind,)


def _check_classes(classes: Any) -> None:
    if not isinstance(classes, tuple) or not 2 <= len(classes) <= LARGEST_CLASS_COUNT:
        raise InputError(
            "'classes' must list at least two names", remedy='e.g. ["background", "object"]'
        )
    for name in classes:
        checks.text("classes", name)
    if len(set(classes)) != len(classes):
        raise InputError("'classes' names a class twice", remedy="give each its own name")


def _refuse_nan(name: str, scores: Array) -> None:
    bad = int(np.isnan(scores).sum()) if scores.dtype.kind == "f" else 0
    if bad:
        raise WrongAnswersError(
            f"output {name!r} holds {bad} NaN scores, which belong to no class",
            where=name,
            remedy="verify the engine: roadworthy verify",
        )
