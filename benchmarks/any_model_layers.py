"""Layers build the networks of ``any_model_networks``: convolution with norm, gates, residuals, attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Act = Callable[[], nn.Module]


def rounded(channels: float, of: int = 8) -> int:
    """Channels scaled by a width multiplier, in whole multiples of ``of``, never ten percent less."""
    near = max(of, int(channels + of / 2) // of * of)
    return near + of if near < 0.9 * channels else near


def conv(
    inside: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: Act | None = nn.ReLU
) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


def classifier(channels: int, classes: int = 1000) -> nn.Sequential:
    """The mean of a map, and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Residual(nn.Module):
    """``act(shortcut(x) + body(x))``."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, act: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut, self.act = body, shortcut or nn.Identity(), act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.shortcut(x) + self.body(x))


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, inside: int, act: Act = nn.ReLU, gate: Act = nn.Sigmoid) -> None:
        super().__init__()
        squeeze, excite = nn.Conv2d(channels, inside, 1), nn.Conv2d(inside, channels, 1)
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), squeeze, act(), excite, gate())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.body(x)


class Concat(nn.Module):
    """What several branches make of one tensor, beside one another."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Shuffle(nn.Module):
    """Channels of two groups, one from each in turn."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Halves(nn.Module):
    """The second half of the channels is worked on, the first is kept."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = x.chunk(2, 1)
        return torch.cat([kept, self.body(worked)], 1)


class Permuted(nn.Module):
    """A body that wants its axes in another order, and gives them back."""

    def __init__(self, body: nn.Module, order: tuple[int, ...], back: tuple[int, ...]) -> None:
        super().__init__()
        self.body, self.order, self.back = body, order, back

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.permute(self.order)).permute(self.back)


class Attention(nn.Module):
    """Self-attention of several heads."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, steps, width = x.shape
        q, k, v = self.project(x).view(n, steps, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(n, steps, width))


class SpelledAttention(Attention):
    """The same as matrix products and a softmax, as older exports have it."""

    def forward(self, x: Tensor) -> Tensor:
        n, steps, width = x.shape
        q, k, v = self.project(x).view(n, steps, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        shares = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        return self.out((shares @ v).transpose(1, 2).reshape(n, steps, width))


def transformer_block(width: int, attention: nn.Module, ratio: int = 4) -> nn.Sequential:
    """Attention and a perceptron, both normalised before and added."""
    perceptron = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))
    return nn.Sequential(
        Residual(nn.Sequential(nn.LayerNorm(width), attention)),
        Residual(nn.Sequential(nn.LayerNorm(width), perceptron)),
    )


class Tokens(nn.Module):
    """Patches of an image as steps, with a class token if wanted, and positions added."""

    def __init__(self, width: int, patch: int, side: int, with_class: bool = True) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, width, patch, patch)
        steps = (side // patch) ** 2 + with_class
        self.position = nn.Parameter(torch.randn(1, steps, width) * 0.02)
        self.first = nn.Parameter(torch.zeros(1, 1, width)) if with_class else None

    def forward(self, x: Tensor) -> Tensor:
        steps = self.cut(x).flatten(2).transpose(1, 2)
        if self.first is not None:
            steps = torch.cat([self.first.expand(len(x), -1, -1), steps], 1)
        return steps + self.position


class Windows(nn.Module):
    """Attention inside windows of a map (n, height, width, channels), shifted by half a window if wanted."""

    def __init__(self, width: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.attention, self.window = SpelledAttention(width, heads), window
        self.shift = window // 2 if shifted else 0

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        size = self.window
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        cut = x.view(n, height // size, size, width // size, size, channels).transpose(2, 3)
        mixed = self.attention(cut.reshape(-1, size * size, channels))
        joined = mixed.view(n, height // size, width // size, size, size, channels).transpose(2, 3)
        x = joined.reshape(n, height, width, channels)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x


class Merge(nn.Module):
    """Two by two pixels of a map (n, height, width, channels) become one of twice the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduce(self.norm(torch.cat(parts, -1)))


class Mean(nn.Module):
    """The mean along an axis, or its first or last entry."""

    def __init__(self, axis: int = 1, entry: int | None = None) -> None:
        super().__init__()
        self.axis, self.entry = axis, entry

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axis) if self.entry is None else x.select(self.axis, self.entry)


class Recurrent(nn.Module):
    """The outputs of a recurrent layer, without its states."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]
