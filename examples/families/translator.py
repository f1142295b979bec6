"""Small translators: an encoder that runs once a sentence, and a decoder step that runs once a word."""

import torch
from torch import nn

choices = {"width": [32, 64], "layers": [1, 2, 3], "inner": [64, 128]}
WORDS, LENGTH = 500, 16


class Encoder(nn.Module):
    """Rows of a sentence."""

    def __init__(self, width, layers, inner):
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, inner, 0.0, batch_first=True) for _ in range(layers)
        )

    def forward(self, words):
        rows = self.embed(words)
        for layer in self.layers:
            rows = layer(rows)
        return rows


class Step(nn.Module):
    """Scores of the next word."""

    def __init__(self, width, layers, inner):
        super().__init__()
        self.embed, self.head = nn.Embedding(WORDS, width), nn.Linear(width, WORDS)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, 4, inner, 0.0, batch_first=True) for _ in range(layers)
        )

    def forward(self, word, sentence):
        row = self.embed(word)
        for layer in self.layers:
            row = layer(row, sentence)
        return self.head(row)


def parts(width, layers, inner):
    """A file a part: the module, its weights loaded, what it is fed, and how often an inference calls it."""
    words, sentence = torch.randint(0, WORDS, (1, LENGTH)), torch.randn(1, LENGTH, width)
    return {
        "encoder": (Encoder(width, layers, inner), words, 1),
        "step": (Step(width, layers, inner), (words[:, :1], sentence), 12),
    }


def accuracy(width, layers, inner):
    """Percent. A formula stands in for your evaluation of the trained network."""
    return 50 + width / 8 + 3 * layers + inner / 64
