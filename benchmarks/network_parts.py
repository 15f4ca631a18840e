"""Building blocks of the benchmarks' networks: ResNet-50, DETR and YOLOv5, written out compactly.

Everything here exports by the TorchScript exporter with heights and widths left symbolic: sizes
come from slices of a stored ramp 1, 2, 3, … (a `Slice` with a computed end), never from a Python
number that a tracer would freeze, and heads are split by `reshape` to symbolic sizes (`unflatten`
exports as a dozen nodes, `Mod` among them).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as fn
from torch import nn

RAMP = 256
"""Cells along the longest side that positions are stored for: 8,192 pixels at stride 32."""

BRANCH = 0.2
"""Gain of what a residual branch adds. Random branches as strong as the way around them amplify
rounding with every block; training keeps them weak."""


class ConvNorm(nn.Sequential):
    """Convolution that keeps the size (over its stride), BatchNorm of `gain`, activation."""

    def __init__(
        self,
        cin: int,
        cout: int,
        size: int = 1,
        stride: int = 1,
        act: nn.Module | None = None,
        gain: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        conv = nn.Conv2d(cin, cout, size, stride, (size - 1) // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        norm = nn.BatchNorm2d(cout)
        nn.init.constant_(norm.weight, gain)
        nn.init.constant_(norm.bias, bias)
        super().__init__(conv, norm, act or nn.Identity())


class Bottleneck(nn.Module):
    """ResNet's block: 1×1, 3×3 with the stride, 1×1 to four times the width, and the way around."""

    def __init__(self, cin: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(cin, width, act=nn.ReLU(inplace=True)),
            ConvNorm(width, width, 3, stride, nn.ReLU(inplace=True)),
            ConvNorm(width, 4 * width, gain=BRANCH),
        )
        same = stride == 1 and cin == 4 * width
        self.around = nn.Identity() if same else ConvNorm(cin, 4 * width, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x cin x h x w to N x 4·width x h/stride x w/stride."""
        return fn.relu(self.body(x) + self.around(x))


def resnet_body(blocks: Sequence[int] = (3, 4, 6, 3), width: int = 64) -> nn.Sequential:
    """Return ResNet without its head (He et al., CVPR 2016; stride in the 3×3, as torchvision)."""
    layers: list[nn.Module] = [
        ConvNorm(3, width, 7, 2, nn.ReLU(inplace=True)),
        nn.MaxPool2d(3, 2, 1),
    ]
    cin = width
    for level, count in enumerate(blocks):
        for index in range(count):
            layers.append(Bottleneck(cin, width << level, 2 if level and not index else 1))
            cin = 4 * (width << level)
    return nn.Sequential(*layers)


def resnet(blocks: Sequence[int] = (3, 4, 6, 3), width: int = 64) -> nn.Sequential:
    """Return ResNet-50 (25,557,032 parameters as torchvision's) or a smaller one; 1,000 logits."""
    last = 4 * (width << (len(blocks) - 1))
    return nn.Sequential(
        resnet_body(blocks, width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, 1000)
    )


class Attention(nn.Module):
    """Multi-head attention; PyTorch's fused kernel when run, plain products when exported."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """N x q x width, N x k x width twice; N x q x width."""
        found = fn.scaled_dot_product_attention(
            self._split(self.query(query)),
            self._split(self.key(key)),
            self._split(self.value(value)),
            # Stated: else the exporter computes it from the symbolic shape.
            scale=self.size**-0.5,
        )
        joined: torch.Tensor = self.out(found.transpose(1, 2).flatten(2))
        return joined

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], -1, self.heads, self.size).transpose(1, 2)


class Layer(nn.Module):
    """A transformer layer as DETR's: normalised after each step, positions added to the keys."""

    def __init__(self, width: int, heads: int, inner: int, cross: bool) -> None:
        super().__init__()
        self.own = Attention(width, heads)
        self.cross = Attention(width, heads) if cross else None
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if cross else 2))

    def forward(
        self,
        x: torch.Tensor,
        place: torch.Tensor,
        memory: torch.Tensor | None = None,
        memory_place: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Look at itself, at `memory` if it is a decoder's layer, then the perceptron."""
        x = self.norms[0](x + self.own(x + place, x + place, x))
        if self.cross is not None and memory is not None and memory_place is not None:
            x = self.norms[1](x + self.cross(x + place, memory + memory_place, memory))
        found: torch.Tensor = self.norms[-1](x + self.mlp(x))
        return found


class SinePlaces(nn.Module):
    """DETR's sine encoding of a cell's row and column, for a feature map of any size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.register_buffer("ramp", torch.arange(1.0, RAMP + 1), persistent=False)
        waves = 10_000 ** (2 * torch.arange(half // 2, dtype=torch.float32) / half)
        self.register_buffer("waves", waves, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x c x h x w to 1 x h·w x width."""
        height, width = x.shape[2], x.shape[3]
        rows, columns = self._waves(height).unsqueeze(1), self._waves(width).unsqueeze(0)
        rows = rows.expand(-1, width, -1)
        columns = columns.expand(height, -1, -1)
        return torch.cat([rows, columns], 2).flatten(0, 1).unsqueeze(0)

    def _waves(self, size: int) -> torch.Tensor:
        """Return size x width/2: sines and cosines of the place, which runs to 2π at the end."""
        ramp: torch.Tensor = self.ramp
        place = ramp.narrow(0, 0, size) / ramp.narrow(0, size - 1, 1) * 6.283185307
        angle = place.unsqueeze(1) / self.waves
        return torch.cat([angle.sin(), angle.cos()], 1)


class Detr(nn.Module):
    """DETR (Carion et al., ECCV 2020): ResNet-50, 6 + 6 layers of 8 heads, 100 queries.

    Image N x 3 x H x W to class logits N x queries x 92 and boxes N x queries x 4 (cx, cy, w, h as
    shares of the image), H and W any multiples of 32.
    """

    def __init__(
        self,
        body: nn.Module,
        features: int = 2048,
        width: int = 256,
        layers: int = 6,
        queries: int = 100,
    ) -> None:
        super().__init__()
        self.body, self.project = body, nn.Conv2d(features, width, 1)
        self.places = SinePlaces(width)
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        inner = 8 * width
        self.encoder = nn.ModuleList(Layer(width, 8, inner, False) for _ in range(layers))
        self.decoder = nn.ModuleList(Layer(width, 8, inner, True) for _ in range(layers))
        self.norm, self.classes = nn.LayerNorm(width), nn.Linear(width, 92)
        self.boxes = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 4),
        )
        for layer in self.boxes[::2]:
            # Unit scale: with PyTorch's default all boxes would lie in the middle.
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return class logits and boxes of every query."""
        features = self.project(self.body(image))
        place = self.places(features)
        memory = features.flatten(2).transpose(1, 2)
        for layer in self.encoder:
            memory = layer(memory, place)
        found = torch.zeros_like(self.queries).expand(memory.shape[0], -1, -1)
        for layer in self.decoder:
            found = layer(found, self.queries, memory, place)
        found = self.norm(found)
        return self.classes(found), self.boxes(found).sigmoid()


class C3(nn.Module):
    """YOLOv5's cross-stage block: bottlenecks on half of the channels, joined with the rest."""

    def __init__(self, cin: int, cout: int, count: int, shortcut: bool = True) -> None:
        super().__init__()
        half = cout // 2
        self.one, self.two = silu(cin, half), silu(cin, half)
        self.join = silu(2 * half, cout)
        gain = BRANCH if shortcut else 1.0
        self.inner = nn.ModuleList(
            nn.Sequential(silu(half, half), silu(half, half, 3, gain=gain)) for _ in range(count)
        )
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x cin x h x w to N x cout x h x w."""
        found = self.one(x)
        for block in self.inner:
            found = found + block(found) if self.shortcut else block(found)
        joined: torch.Tensor = self.join(torch.cat([found, self.two(x)], 1))
        return joined


class SPPF(nn.Module):
    """YOLOv5's pyramid pooling: three 5×5 poolings one after the other, all joined."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = silu(width, width // 2), silu(2 * width, width)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keeps the shape."""
        kept = [self.one(x)]
        for _ in range(3):
            kept.append(self.pool(kept[-1]))
        found: torch.Tensor = self.two(torch.cat(kept, 1))
        return found


def silu(cin: int, cout: int, size: int = 1, stride: int = 1, gain: float = 1.0) -> ConvNorm:
    """Return YOLOv5's convolution, SiLU where it is alive: around 0 it squeezes what it gets."""
    act = nn.SiLU(inplace=True)
    return ConvNorm(cin, cout, size, stride, act, gain, 1.5 if gain == 1.0 else 0.0)


class Detect(nn.Module):
    """Three heads, decoded: N x cells x (4 + 1 + classes), boxes (cx, cy, w, h) in pixels."""

    ANCHORS = (
        ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
        ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
        ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
    )

    def __init__(self, widths: Sequence[int], classes: int = 80) -> None:
        super().__init__()
        self.columns = 5 + classes
        self.heads = nn.ModuleList(nn.Conv2d(width, 3 * self.columns, 1) for width in widths)
        for head in self.heads:
            nn.init.kaiming_normal_(head.weight, nonlinearity="linear")
        self.register_buffer("ramp", torch.arange(0.0, RAMP), persistent=False)
        anchors = torch.tensor(self.ANCHORS).reshape(3, 1, 3, 1, 1, 2)
        self.register_buffer("anchors", anchors, persistent=False)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Decode the maps at strides 8, 16 and 32 as YOLOv5 does and join them."""
        return torch.cat([self._decoded(level, x) for level, x in enumerate(maps)], 1)

    def _decoded(self, level: int, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2], x.shape[3]
        raw = self.heads[level](x).reshape(x.shape[0], 3, self.columns, height, width)
        cells = raw.permute(0, 1, 3, 4, 2).sigmoid()
        ramp: torch.Tensor = self.ramp
        across = ramp.narrow(0, 0, width).unsqueeze(0).expand(height, -1)
        down = ramp.narrow(0, 0, height).unsqueeze(1).expand(-1, width)
        grid = torch.stack([across, down], 2)
        centre = (cells[..., :2] * 2 - 0.5 + grid) * (8 << level)
        size = (cells[..., 2:4] * 2) ** 2 * self.anchors[level]
        return torch.cat([centre, size, cells[..., 4:]], 4).flatten(1, 3)


class Yolo(nn.Module):
    """YOLOv5 of version 6 (Ultralytics; "L": width 64, depth 3): backbone, SPPF, PAN, three heads.

    Image N x 3 x H x W, H and W multiples of 32, to N x cells x 85; see `Detect`.
    """

    def __init__(self, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        one, two, four, eight, sixteen = (width << level for level in range(5))
        self.stem = nn.Sequential(
            ConvNorm(3, one, 6, 2, nn.SiLU(inplace=True)), silu(one, two, 3, 2), C3(two, two, depth)
        )
        self.stem[0][0].padding = (2, 2)
        self.third = nn.Sequential(silu(two, four, 3, 2), C3(four, four, 2 * depth))
        self.fourth = nn.Sequential(silu(four, eight, 3, 2), C3(eight, eight, 3 * depth))
        self.fifth = nn.Sequential(
            silu(eight, sixteen, 3, 2), C3(sixteen, sixteen, depth), SPPF(sixteen)
        )
        self.top, self.middle = silu(sixteen, eight), silu(eight, four)
        self.up_four, self.up_three = (
            C3(sixteen, eight, depth, False),
            C3(eight, four, depth, False),
        )
        self.down_four, self.down_five = silu(four, four, 3, 2), silu(eight, eight, 3, 2)
        self.out_four = C3(eight, eight, depth, False)
        self.out_five = C3(sixteen, sixteen, depth, False)
        self.detect = Detect((four, eight, sixteen))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return every cell's and anchor's box, objectness and class confidences."""
        third = self.third(self.stem(image))
        fourth = self.fourth(third)
        top = self.top(self.fifth(fourth))
        middle = self.middle(self.up_four(torch.cat([twice(top), fourth], 1)))
        small = self.up_three(torch.cat([twice(middle), third], 1))
        medium = self.out_four(torch.cat([self.down_four(small), middle], 1))
        large = self.out_five(torch.cat([self.down_five(medium), top], 1))
        found: torch.Tensor = self.detect([small, medium, large])
        return found


def twice(x: torch.Tensor) -> torch.Tensor:
    """Double height and width, each cell repeated."""
    return fn.interpolate(x, scale_factor=2.0, mode="nearest")
