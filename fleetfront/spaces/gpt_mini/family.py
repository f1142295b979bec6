"""Small decoders in the form of a family's file: 4,096 words, causal attention, the last token's logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

choices = {
    "width": [128, 192, 256],
    "layers": [2, 4, 6],
    "heads": [2, 4],
    "ratio": [2, 4],
    "context": [64, 128],
}
WORDS = 4096


class Embed(nn.Module):
    """Words become tokens with their places."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Parameter(0.02 * torch.randn(1, context, width))

    def forward(self, ids: Tensor) -> Tensor:
        tokens: Tensor = self.words(ids) + self.places
        return tokens


class Attend(nn.Module):
    """Tokens look at those before them."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.ask, self.answer = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.register_buffer("later", torch.full((context, context), -1e4).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        asked = self.ask(self.norm(tokens)).reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5 + self.later
        seen = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, count, width)
        answered: Tensor = tokens + self.answer(seen)
        return answered


class Think(nn.Module):
    """Each token looks at itself."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.norm, self.widen = nn.LayerNorm(width), nn.Linear(width, ratio * width)
        self.bend, self.narrow = nn.GELU(), nn.Linear(ratio * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        thought: Tensor = tokens + self.narrow(self.bend(self.widen(self.norm(tokens))))
        return thought


class Answer(nn.Module):
    """The last token becomes a logit a word."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.say = nn.LayerNorm(width), nn.Linear(width, WORDS, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.say(self.norm(tokens[:, -1]))
        return logits


def make(width: int, layers: int, heads: int, ratio: int, context: int) -> nn.Module:
    """The network, its weights random."""
    blocks = [part for _ in range(layers) for part in (Attend(width, heads, context), Think(width, ratio))]
    return nn.Sequential(Embed(width, context), *blocks, Answer(width))


def inputs(context: int, **others: int) -> Tensor:
    """A window of words."""
    return torch.randint(0, WORDS, (1, context))
