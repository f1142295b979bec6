"""HwGptSpace holds the GPT-2 style language models of HW-GPT-Bench (arXiv 2405.10299): an embedding width, a number of
layers, heads and a ratio of the hidden width for every layer, and whether there are biases.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.tabular.space import Counts, Group, TabularSpace

#: Width of a head, words that the tables' models know (counted from their parameters and MACs), what is added to them.
_HEAD, _WORDS, _FURTHER = 64, 50254, 2


def hw_gpt_s() -> HwGptSpace:
    """Widths of 192 to 768, 10 to 12 layers."""
    return _space("hw-gpt-s", (192, 384, 768), (10, 11, 12), (4, 8, 12))


def hw_gpt_m() -> HwGptSpace:
    """Widths of 256 to 1024, 22 to 24 layers."""
    return _space("hw-gpt-m", (256, 512, 1024), (22, 23, 24), (8, 12, 16))


def hw_gpt_l() -> HwGptSpace:
    """Widths of 320 to 1280, 34 to 36 layers."""
    return _space("hw-gpt-l", (320, 640, 1280), (34, 35, 36), (8, 16, 20))


def _space(name: str, widths: tuple[int, ...], depths: tuple[int, ...], heads: tuple[int, ...]) -> HwGptSpace:
    layers = depths[-1]
    groups = (
        Group("e", "embed_dim", widths),
        Group("l", "n_layer", depths),
        Group("h", "n_head", heads, layers, "n_layer"),
        Group("m", "mlp_ratio", (2, 3, 4), layers, "n_layer"),
        Group("b", "bias", (0, 1)),
    )
    return HwGptSpace(name, groups)


@dataclass(frozen=True)
class HwGptSpace(TabularSpace):
    """One size of the family, e.g. ``e768_l10_h4-12-..._m2-2-..._b0``."""

    @property
    def importer(self) -> str:
        """The command that imports a table of the space."""
        return f"fleetfront import hwgpt FILE --space {self.name}"

    def macs(self, genotypes: Genotypes) -> Counts:
        """int64[n] of one token: attention, multilayer perceptrons, the last layer. The tables count 8,192 tokens in S,
        4,096 in M and 1,024 in L."""
        width, _, heads, ratios, _ = self.sums(genotypes)
        total: Counts = _WORDS * width + 4 * _HEAD * width * heads + 3 * width**2 * ratios
        return total

    def params(self, genotypes: Genotypes) -> Counts:
        """int64[n], the tables' own to the last one."""
        width, layers, heads, ratios, bias = self.sums(genotypes)
        total: Counts = (2 * _WORDS + _FURTHER) * width + 4 * width * layers + 4 * _HEAD * width * heads
        total += 3 * width**2 * ratios + bias * (2 * width * layers + 2 * width * ratios + 3 * _HEAD * heads)
        return total
