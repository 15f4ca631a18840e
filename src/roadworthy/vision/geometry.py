"""Where a pixel of the original picture lies in the network's input, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roadworthy.core.errors import InputError
from roadworthy.core.signature import Array

UNSEEN = -1
"""The label of original pixels that the network never saw (they were cut away)."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The map between the original picture and the network's input: scale, then shift.

    Per axis, `network = original · scale + offset`, in continuous pixel coordinates: pixel i
    reaches from i to i + 1 and its centre is i + 0.5. All pairs are (vertical, horizontal).

    Attributes:
        original: height and width of the picture, upright (EXIF orientation applied).
        network: height and width of the network's input.
        scale: network pixels per original pixel.
        offset: where the original's corner lies, in network pixels; negative if it was cut.
    """

    original: tuple[int, int]
    network: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def identity(cls, height: int, width: int) -> Geometry:
        """Return the map of a picture that was not moved."""
        return cls((height, width), (height, width))

    def then(
        self, network: tuple[int, int], scale: tuple[float, float], offset: tuple[float, float]
    ) -> Geometry:
        """Return this map followed by another scaling and shift."""
        return replace(
            self,
            network=network,
            scale=(self.scale[0] * scale[0], self.scale[1] * scale[1]),
            offset=(self.offset[0] * scale[0] + offset[0], self.offset[1] * scale[1] + offset[1]),
        )

    def restore(self, labels: Array) -> NDArray[np.int32]:
        """Bring a label map back onto the original picture, each pixel its nearest label.

        Args:
            labels: h×w integers over the whole network input, at any resolution (a network may
                answer at a quarter of its input's size).

        Returns:
            int32, the original's height × width; `UNSEEN` where the network saw nothing.

        Raises:
            InputError: labels that aren't h×w integers, or are empty.
        """
        if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.size == 0:
            raise InputError(
                f"a label map has shape h×w and integers, this one is "
                f"{list(labels.shape)} {labels.dtype}",
                remedy="make it with SegmentationTask.labels",
            )
        rows, rows_seen = self._sources(0, labels.shape[0])
        columns, columns_seen = self._sources(1, labels.shape[1])
        restored = labels.astype(np.int32)[rows][:, columns]
        restored[~rows_seen, :] = UNSEEN
        restored[:, ~columns_seen] = UNSEEN
        return restored

    def _sources(self, axis: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return, per original pixel of an axis, the index into `size` labels, and if it's seen."""
        centres = (np.arange(self.original[axis]) + 0.5) * self.scale[axis] + self.offset[axis]
        share = centres / self.network[axis]
        seen = (share >= 0.0) & (share < 1.0)
        return np.clip(np.floor(share * size), 0, size - 1).astype(np.intp), seen

    def restore_boxes(self, boxes: Array) -> NDArray[np.float64]:
        """Bring boxes back onto the original picture, cut at its border.

        Args:
            boxes: n×4 corners (x0, y0, x1, y1) in pixels of the network's input.

        Returns:
            float64 n×4, in pixels of the original.

        Raises:
            InputError: boxes of another shape.
        """
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise InputError(f"boxes have shape n×4 (x0, y0, x1, y1), not {list(boxes.shape)}")
        vertical, horizontal = self.scale
        down, right = self.offset
        scale = np.array([horizontal, vertical, horizontal, vertical])
        offset = np.array([right, down, right, down])
        height, width = self.original
        limits = np.array([width, height, width, height])
        restored: NDArray[np.float64] = (boxes.astype(np.float64) - offset) / scale
        return restored.clip(0.0, limits)
