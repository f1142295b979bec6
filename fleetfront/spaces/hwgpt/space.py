"""HwGptSpace holds the GPT-2 style language models of HW-GPT-Bench (arXiv 2405.10299), which are known by its tables.

A genotype is an embedding width, a number of layers, heads and a ratio of the hidden width for every layer, and whether
there are biases. No graph is written of them: what they cost and how well they predict is imported, then learnt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph
from fleetfront.spaces.base import Config, Genotypes
from fleetfront.spaces.blocks import Block

if TYPE_CHECKING:
    from torch import Tensor

RATIOS, BIASES = (2, 3, 4), (0, 1)
#: Width of a head, words that the tables' models know (counted from their parameters and MACs), positions.
_HEAD, _WORDS, _POSITIONS = 64, 50254, 2
_SPELLED = re.compile(r"e(\d+)_l(\d+)_h(\d+(?:-\d+)*)_m([234]+)_b([01])\Z")


def hw_gpt_s() -> HwGptSpace:
    """Widths of 192 to 768, 10 to 12 layers."""
    return HwGptSpace("hw-gpt-s", (192, 384, 768), (10, 11, 12), (4, 8, 12))


def hw_gpt_m() -> HwGptSpace:
    """Widths of 256 to 1024, 22 to 24 layers."""
    return HwGptSpace("hw-gpt-m", (256, 512, 1024), (22, 23, 24), (8, 12, 16))


def hw_gpt_l() -> HwGptSpace:
    """Widths of 320 to 1280, 34 to 36 layers."""
    return HwGptSpace("hw-gpt-l", (320, 640, 1280), (34, 35, 36), (8, 16, 20))


@dataclass(frozen=True)
class HwGptSpace:
    """One size of the family."""

    name: str
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]

    @property
    def _slots(self) -> int:
        return self.depths[-1]

    @cached_property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """Widths, layers, heads of every layer, ratios of every layer, biases."""
        return (self.widths, self.depths, *(self.heads,) * self._slots, *(RATIOS,) * self._slots, BIASES)

    @cached_property
    def gene_names(self) -> tuple[str, ...]:
        """``embed_dim``, ``n_layer``, ``n_head_1``.., ``mlp_ratio_1``.., ``bias``."""
        layers = range(1, self._slots + 1)
        return ("embed_dim", "n_layer", *(f"n_head_{i}" for i in layers), *(f"mlp_ratio_{i}" for i in layers), "bias")

    # Genotypes

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """``n`` architectures drawn uniformly gene by gene, canonical: int8[n, v]."""
        counts = [len(values) for values in self.choices]
        return self.canonical(rng.integers(0, counts, size=(n, len(counts)), dtype=np.int8))

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, v]: heads and ratios of layers beyond the last change nothing."""
        layers = np.asarray(self.depths)[genotypes[:, 1]]
        within = np.arange(self._slots) < layers[:, None]
        always = np.ones((len(genotypes), 2), dtype=np.bool_)
        return np.concatenate([always, within, within, always[:, :1]], axis=1)

    def active_probabilities(self, probabilities: Sequence[Tensor]) -> Tensor:
        """How likely each layer is there, for its heads and its ratio; all else is sure."""
        import torch

        layers = probabilities[1]
        reach = [layers[:, [depth > i for depth in self.depths]].sum(dim=1) for i in range(self._slots)]
        within = torch.stack(reach, dim=1)
        sure = torch.ones_like(within[:, :2])
        return torch.cat([sure, within, within, sure[:, :1]], dim=1)

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """A copy with inactive genes set to 0."""
        kept: Genotypes = np.where(self.active(genotypes), genotypes, np.int8(0))
        return kept

    def _values(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """int64[n, v]: what the genes are, 0 where they are inactive."""
        values = np.stack([np.asarray(v)[genotypes[:, i]] for i, v in enumerate(self.choices)], axis=1)
        found: NDArray[np.int64] = np.where(self.active(genotypes), values, 0)
        return found

    # Spelling

    def arch_ids(self, genotypes: Genotypes) -> list[str]:
        """``e<width>_l<layers>_h<heads, with dashes>_m<ratios>_b<bias>``."""
        n, found = self._slots, []
        for row in self._values(genotypes).tolist():
            layers = row[1]
            heads, ratios = row[2 : 2 + layers], row[2 + n : 2 + n + layers]
            found.append(f"e{row[0]}_l{layers}_h{'-'.join(map(str, heads))}_m{''.join(map(str, ratios))}_b{row[-1]}")
        return found

    def arch_id(self, genotype: Genotypes) -> str:
        """``arch_ids`` of one."""
        return self.arch_ids(genotype[None])[0]

    def parse(self, arch_ids: Sequence[str]) -> Genotypes:
        """Canonical int8[n, v]. Raises InputError naming the first id that is outside the space."""
        index = [{value: i for i, value in enumerate(values)} for values in self.choices]
        rows = np.zeros((len(arch_ids), len(self.choices)), dtype=np.int8)
        for at, arch in enumerate(arch_ids):  # Reading text: nothing to vectorise.
            matched = _SPELLED.match(arch)
            try:
                if matched is None:
                    raise KeyError(arch)
                width, layers = int(matched[1]), int(matched[2])
                heads, ratios = [int(part) for part in matched[3].split("-")], [int(digit) for digit in matched[4]]
                if not len(heads) == len(ratios) == layers:
                    raise KeyError(layers)
                padding = [0] * (self._slots - layers)
                genes = (width, layers, *heads, *padding, *ratios, *padding, int(matched[5]))
                rows[at] = [
                    0 if value == 0 and i != len(genes) - 1 else index[i][value] for i, value in enumerate(genes)
                ]
            except (KeyError, ValueError, IndexError) as error:
                raise InputError(
                    f"{arch!r} is not an architecture of {self.name}.", f"Spell it like {self.arch_id(rows[0] * 0)}."
                ) from error
        return self.canonical(rows)

    def to_config(self, genotype: Genotypes) -> Config:
        """``embed_dim``, ``n_layer``, ``n_head`` and ``mlp_ratio`` of each layer, ``bias``."""
        row, n = self._values(genotype[None])[0].tolist(), self._slots
        layers = row[1]
        return {
            "embed_dim": row[0],
            "n_layer": layers,
            "n_head": row[2 : 2 + layers],
            "mlp_ratio": row[2 + n : 2 + n + layers],
            "bias": row[-1],
        }

    def from_config(self, config: Config) -> Genotypes:
        """int8[v], canonical. Raises InputError on a missing key or a value outside the space."""
        try:
            heads, ratios = "-".join(map(str, config["n_head"])), "".join(map(str, config["mlp_ratio"]))
            arch = f"e{config['embed_dim']}_l{config['n_layer']}_h{heads}_m{ratios}_b{config['bias']}"
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{config!r} is not a configuration of {self.name} ({error!r}).",
                "Give embed_dim, n_layer, n_head and mlp_ratio of each layer, and bias.",
            ) from error
        genotype: Genotypes = self.parse([arch])[0]
        return genotype

    # Costs

    def summary_weights(self) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Width, layers, all heads, all ratios, bias: sums of what is chosen, float64[f, 5]."""
        names = ("width", "layers", "heads", "ratios", "bias")
        of = [0, 1, *(2,) * self._slots, *(3,) * self._slots, 4]
        flat = [(of[i], value) for i, values in enumerate(self.choices) for value in values]
        weights = np.zeros((len(flat), len(names)))
        weights[np.arange(len(flat)), [column for column, _ in flat]] = [float(value) for _, value in flat]
        return weights, names

    def _sums(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """int64[n, 5]: width, layers, heads, ratios, bias."""
        row, n = self._values(genotypes), self._slots
        heads, ratios = row[:, 2 : 2 + n].sum(axis=1), row[:, 2 + n : 2 + 2 * n].sum(axis=1)
        return np.stack([row[:, 0], row[:, 1], heads, ratios, row[:, -1]], axis=1)

    def macs(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """int64[n] of one token: attention, multilayer perceptrons, the last layer. The tables count 8,192 tokens in S,
        4,096 in M and 1,024 in L."""
        width, _, heads, ratios, _ = self._sums(genotypes).T
        total: NDArray[np.int64] = _WORDS * width + 4 * _HEAD * width * heads + 3 * width**2 * ratios
        return total

    def params(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """int64[n], the tables' own to the last one."""
        width, layers, heads, ratios, bias = self._sums(genotypes).T
        total = (2 * _WORDS + _POSITIONS) * width + 4 * width * layers + 4 * _HEAD * width * heads
        total = total + 3 * width**2 * ratios + bias * (2 * width * layers + 2 * width * ratios + 3 * _HEAD * heads)
        return np.asarray(total, np.int64)

    # Blocks and graphs, of which there are none

    @property
    def vocabulary(self) -> tuple[Block, ...]:
        """Empty."""
        return ()

    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        """int32[n, 0]."""
        return np.zeros((len(genotypes), 0), dtype=np.int32)

    def block_graph(self, block: Block) -> Graph:
        """Raises InputError: there are no blocks."""
        raise self._no_graphs()

    def subnet_graphs(
        self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
    ) -> dict[str, tuple[Graph, int]]:
        """Raises InputError: no graph is written of these networks."""
        raise self._no_graphs()

    def _no_graphs(self) -> InputError:
        return InputError(
            f"Networks of {self.name} are known by tables alone: there is nothing to measure or to deploy.",
            f"Import a table: fleetfront import hwgpt FILE --space {self.name}",
        )
