"""ViT-Tiny networks (arXiv 2012.12877) in the form of a family's file: 192 channels, a class token, 1,000 classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

choices = {
    "patch": [16, 32],
    "depth": [6, 9, 12],
    "heads": [2, 3, 4],
    "ratio": [2, 4],
    "side": [192, 224],
}
WIDTH, CLASSES = 192, 1000


class Attend(nn.Module):
    """Tokens look at each other."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.ask, self.answer = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        asked = self.ask(self.norm(tokens)).reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5
        seen = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, count, width)
        answered: Tensor = tokens + self.answer(seen)
        return answered


class Think(nn.Module):
    """Each token looks at itself."""

    def __init__(self, ratio: int) -> None:
        super().__init__()
        self.norm, self.widen = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, ratio * WIDTH)
        self.bend, self.narrow = nn.GELU(), nn.Linear(ratio * WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        thought: Tensor = tokens + self.narrow(self.bend(self.widen(self.norm(tokens))))
        return thought


class Patches(nn.Module):
    """Squares of the image become tokens behind one of the class, with their places."""

    def __init__(self, patch: int, side: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, WIDTH, patch, patch)
        self.first = nn.Parameter(0.02 * torch.randn(1, 1, WIDTH))
        self.places = nn.Parameter(0.02 * torch.randn(1, 1 + (side // patch) ** 2, WIDTH))

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([self.first, self.project(image).flatten(2).transpose(1, 2)], dim=1) + self.places


class Answer(nn.Module):
    """The class token becomes logits."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.classify = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.norm(tokens[:, 0]))
        return logits


def make(patch: int, depth: int, heads: int, ratio: int, side: int) -> nn.Module:
    """The network, its weights random."""
    blocks = [part for _ in range(depth) for part in (Attend(heads), Think(ratio))]
    return nn.Sequential(Patches(patch, side), *blocks, Answer())


def inputs(side: int, **others: int) -> Tensor:
    """One image."""
    return torch.randn(1, 3, side, side)
