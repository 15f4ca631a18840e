"""Small networks, each with one trait that deployments stumble over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


class ConvNet(nn.Module):
    """Convolution, BatchNorm with trained-looking statistics, ReLU in place, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in (*self.parameters(), self.norm.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            self.norm.running_var.fill_(2.0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.drop(self.relu(self.norm(self.conv(image))))


class TwoInputs(nn.Module):
    """Two inputs of one shape, told apart only by name."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left - 2 * right


class OptionalMask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, scale: float = 1.0
    ) -> torch.Tensor:
        y = self.linear(x) * scale
        return y if mask is None else torch.where(mask, y, torch.zeros_like(y))


class DictOut(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, object]:
        return {"scores": x.sum(-1), "nested": (x * 2, {"deep": x > 0}), "absent": None}


@dataclass
class Boxes:
    corners: torch.Tensor
    labels: torch.Tensor


class DataclassOut(nn.Module):
    def forward(self, x: torch.Tensor) -> Boxes:
        return Boxes(x * 4, x.argmax(-1))


class Embedding(nn.Module):
    """int64 in, and a bool that says which tokens are real."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        found = self.table(tokens) * real.unsqueeze(-1)
        return found.sum(1) / real.sum(1, keepdim=True)


class FrozenBranch(nn.Module):
    """`if` on a size: recorded at an even width, wrong at an odd one."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape[-1] % 2:
            image = functional.pad(image, (0, 1))
        return image * 2


class BatchBaked(nn.Module):
    """The usual mistake: `view(1, -1)`, which mixes the samples of a batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(int(x.shape[0]), -1).cumsum(1)


class Halved(nn.Module):
    """Down by two and up again: an odd size comes back one smaller, so only even ones add up."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        down = functional.max_pool2d(image, 2)
        return functional.interpolate(down, scale_factor=2.0) + image


class DataDependent(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x + 1
        return x - 1


class InPlace(nn.Module):
    """Writes into its own intermediate values, which is fine, through a slice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[:, 0] = 0
        y += 1
        return y


class WritesInput(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(2)


class Random(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"steady": x, "noisy": x + torch.randn_like(x)}


class Float32Inside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.to(torch.float32))


class PartlyFloat32(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(x.float()).to(x.dtype)


class DefaultDtype(nn.Module):
    """Makes a constant without saying its dtype: it must follow FP64."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.full((4, 2), 0.1)


class StaysInTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def train(self, mode: bool = True) -> StaysInTraining:
        return super().train(True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


class UnusedInput(nn.Module):
    def forward(self, x: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
        return x * 2


class TwiceTheSame(nn.Module):
    """Returns its input, and one value under two names."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = x + 1
        return x, y, y


class Talks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("the network talks")
        return x + 1
