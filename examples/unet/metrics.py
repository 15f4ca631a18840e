"""Foreground IoU, and the best that a threshold on intensity could have reached."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]


def iou(predicted: npt.NDArray[np.generic], masks: npt.NDArray[np.generic]) -> dict[str, float]:
    """Foreground IoU of N x H x W boolean-like arrays.

    ``pooled`` counts all pixels together, ``mean`` and ``worst`` are over the N scenes.
    """
    p, m = predicted.astype(np.bool_), masks.astype(np.bool_)
    both, either = (p & m).sum(axis=(1, 2)), (p | m).sum(axis=(1, 2))
    each = both / np.maximum(either, 1)
    return {
        "pooled": float(both.sum() / either.sum()),
        "mean": float(each.mean()),
        "worst": float(each.min()),
    }


def best_threshold(images: Bytes, masks: Bytes) -> dict[str, float]:
    """The best foreground IoU of any global threshold, of either side, masks known.

    ``images`` and ``masks`` are uint8, N x H x W. ``dataset`` is one threshold for all scenes
    (pooled pixels); ``per_image`` chooses threshold and side anew for every scene, and is
    the mean of those IoUs: more than any thresholding method can do.
    """
    pairs = list(zip(images, masks, strict=True))
    inside = np.stack([np.bincount(i[m == 1], minlength=256) for i, m in pairs])
    outside = np.stack([np.bincount(i[m == 0], minlength=256) for i, m in pairs])
    return {
        "dataset": float(_best(inside.sum(0, keepdims=True), outside.sum(0, keepdims=True))[0]),
        "per_image": float(_best(inside, outside).mean()),
    }


def _best(inside: Counts, outside: Counts) -> npt.NDArray[np.float64]:
    """The best IoU of each row of N x 256 histograms, over 256 thresholds and two sides."""
    total = inside.sum(1, keepdims=True)
    scores = []
    for hit, false in ((inside, outside), (inside[:, ::-1], outside[:, ::-1])):
        scores.append(np.cumsum(hit, 1) / (total + np.cumsum(false, 1)))
    best: npt.NDArray[np.float64] = np.concatenate(scores, axis=1).max(1)
    return best
