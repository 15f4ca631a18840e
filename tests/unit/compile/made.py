"""Modules that the tests compile, and what they answer."""

from __future__ import annotations

import torch
from torch import nn

from tests.unit.source.torch.networks import Boxes

FP32 = {"rtol": 1e-4, "atol": 1e-5}


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.last(self.drop(torch.relu(self.first(x))))


class Detector(nn.Module):
    """Two inputs, and a result with everything in it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, image, mask, *, scale=None):
        y = self.linear(image)
        y = torch.where(mask, y, torch.zeros_like(y))
        return {
            "boxes": Boxes(y, y.argmax(-1)),
            "aux": [(y * 2, y > 0), y.sum()],
            "loss": None,
            0: y + 1,
        }


def seeded(kind, *args):
    torch.manual_seed(0)
    return kind(*args)


def expected(module, *args, **kwargs):
    with torch.no_grad():
        return module.eval()(*args, **kwargs)
