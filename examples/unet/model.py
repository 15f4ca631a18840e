"""A small UNet: one grey image in, background and object logits out, at any size from 16 up.

The network is the classical one (Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for
Biomedical Image Segmentation", MICCAI 2015), with BatchNorm and zero padded 3x3 convolutions, so
that the answer has the size of the question.

How odd sizes are handled, and why this way
-------------------------------------------
Four 2x2 poolings need a height and width that 16 divides. Asking ``if h % 16`` in Python would
bake the example's answer into an exported file, and ``F.pad`` by ``-h % 16`` makes a ``Pad`` whose
amounts are computed at run time, which some backends refuse. So: always mirror 15 pixels in at the
bottom and the right (a *constant* amount, hence an ordinary ``Pad``), then cut down to the
next multiple of 16 (``16 * ((h + 15) // 16)``, a ``Slice`` with a computed end), and at the end cut
the logits to h x w. Every size takes the same path; the exporters have nothing to decide. The
sizes inside are 16k, 8k, 4k, 2k, k, which shape arithmetic proves equal on both sides of
each skip. ``narrow`` rather than ``x[:, :, :h]``, because a slice may come out shorter than
asked: torch.export then calls the output's height ``Min(h, h + 15, ...)``, with narrow it is
``h``. Mirroring 15 pixels needs 16 of them: that is the smallest size. One exported file was found
right at even and odd sizes and batches 1 to 8 with torch 2.13, from both exporters
(``torch.onnx.export``, ``dynamo=True`` and ``dynamo=False``), and in float64.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

CLASSES = ("background", "object")
MULTIPLE = 16
"""Height and width inside the network are multiples of this: 2 ** (number of poolings)."""


class DoubleConv(nn.Sequential):
    """Twice 3x3 convolution, BatchNorm, ReLU: N x cin x H x W to N x cout x H x W."""

    def __init__(self, cin: int, cout: int) -> None:
        # No bias: the BatchNorm that follows would subtract it again.
        super().__init__(
            nn.Conv2d(cin, cout, 3, padding=1, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU(inplace=True),
            nn.Conv2d(cout, cout, 3, padding=1, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU(inplace=True),
        )


class Up(nn.Module):
    """Double the size with a transposed convolution, join the skip, convolve twice."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(cin, cout, 2, stride=2)
        self.conv = DoubleConv(2 * cout, cout)

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """N x cin x h x w and N x cout x 2h x 2w to N x cout x 2h x 2w."""
        joined: torch.Tensor = self.conv(torch.cat([skip, self.up(deep)], dim=1))
        return joined


class UNet(nn.Module):
    """Four levels down, four up; widths base, 2, 4, 8 and 16 times base.

    ``base=16`` has 1.94 M parameters, ``base=64`` (the paper's widths) 31.0 M.
    """

    def __init__(self, base: int = 16) -> None:
        super().__init__()
        widths = [base * 2**level for level in range(5)]
        self.first = DoubleConv(1, widths[0])
        self.pool = nn.MaxPool2d(2)
        self.downs = nn.ModuleList(DoubleConv(cin, cout) for cin, cout in pairwise(widths))
        self.ups = nn.ModuleList(
            Up(cin, cout) for cin, cout in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(base, len(CLASSES), 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of the two classes, N x 2 x H x W, unbounded, in the dtype of ``image``.

        ``image`` is N x 1 x H x W, H and W at least 16, grey values in [0, 1]. It must have
        the dtype of the weights: float32 as shipped, float64 after ``.double()``.
        """
        height, width = image.shape[2], image.shape[3]
        tall = (height + MULTIPLE - 1) // MULTIPLE * MULTIPLE
        wide = (width + MULTIPLE - 1) // MULTIPLE * MULTIPLE
        x = functional.pad(image, (0, MULTIPLE - 1, 0, MULTIPLE - 1), mode="reflect")
        x = self.first(x.narrow(2, 0, tall).narrow(3, 0, wide))
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(self.pool(x))
        for up in self.ups:
            x = up(x, skips.pop())
        logits: torch.Tensor = self.head(x)
        return logits.narrow(2, 0, height).narrow(3, 0, width)


def unet() -> nn.Module:
    """The network of this example, 1.94 M parameters; weights are in ``unet.safetensors``."""
    return UNet(base=16)


def unet64() -> nn.Module:
    """The paper's widths, 31.0 M parameters: for timing at full size; no weights are shipped."""
    return UNet(base=64)
