"""Networks that turn a wish (preferences, or a budget) and a device's features into logits of choices, and draw them.

Every network draws with ``draw``; those that strategies of preferences train also give logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

#: Units of hidden layers; of the cell that makes one choice after another.
_UNITS, _CELL = 128, 64
#: Published: tables of so many rows, one a preference in hundredths, and the temperature of their mixture.
_TABLES, _ROWS, _TEMPERATURE = 50, 101, 10**0.5
#: Logarithms of odds of preferences are cut here.
_MOST_ODDS = 6.0


class ChoiceNetwork(Protocol):
    """Draws architectures for wishes on devices. A torch module."""

    kind: str

    def state_dict(self) -> Mapping[str, Tensor]:
        """Its weights."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Any:
        """Take weights. Raises RuntimeError on others' shapes."""

    def parameters(self) -> Any:
        """The parameters that are trained."""

    def draw(self, wish: Tensor, device: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """Indices int64[samples + 1, n, v] of choices for n wishes float[n, w] on devices float[n, d]: the likeliest
        architecture of each, then draws."""


class _ByLogits(nn.Module):
    """Of networks whose genes are independent, given wish and device."""

    def __init__(self, counts: Sequence[int], allowed: Tensor) -> None:
        super().__init__()
        self.counts = list(counts)
        self.register_buffer("allowed", allowed, persistent=False)

    def masked(self, logits: Tensor) -> Tensor:
        """Logits of choices that a search held fixed are -inf."""
        return logits.masked_fill(~self.allowed.bool(), -torch.inf)  # type: ignore[operator]

    def draw(self, wish: Tensor, device: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """See ``ChoiceNetwork``."""
        with torch.no_grad():
            genes = self.masked(self(wish, device)).split_with_sizes(self.counts, dim=1)
            drawn = [
                torch.cat([gene.argmax(dim=1)[:, None], _drawn(gene, samples, generator)], dim=1) for gene in genes
            ]
        return torch.stack(drawn, dim=-1).transpose(0, 1)


def _drawn(logits: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    if not samples:
        return torch.empty(len(logits), 0, dtype=torch.int64)
    return torch.multinomial(logits.softmax(dim=1), samples, replacement=True, generator=generator)


class PreferenceMlp(_ByLogits):
    """A multilayer perceptron over preferences, their logarithms' odds and device features: nothing is tabled, so that
    any number of objectives and any preference fit."""

    kind = "mlp"

    def __init__(self, wishes: int, features: int, counts: Sequence[int], allowed: Tensor) -> None:
        super().__init__(counts, allowed)
        self.layers = nn.Sequential(
            nn.Linear(2 * wishes + features, _UNITS),
            nn.SiLU(),
            nn.Linear(_UNITS, _UNITS),
            nn.SiLU(),
            nn.Linear(_UNITS, sum(counts)),
        )

    def forward(self, wish: Tensor, device: Tensor) -> Tensor:
        """Logits float[n, f]."""
        odds = torch.logit(wish.clamp(1e-4, 1 - 1e-4)).clamp(-_MOST_ODDS, _MOST_ODDS) / _MOST_ODDS
        result: Tensor = self.layers(torch.cat([wish, odds, device], dim=1))
        return result


class PreferenceTables(_ByLogits):
    """The published form: tables with a row for every hundredth of the first preference, mixed by how near a device's
    features are to each table's key. Of more than two objectives only the first preference enters."""

    kind = "tables"

    def __init__(self, wishes: int, features: int, counts: Sequence[int], allowed: Tensor) -> None:
        super().__init__(counts, allowed)
        self.tables = nn.Parameter(1e-3 * torch.randn(_TABLES, _ROWS, sum(counts)))
        self.keys = nn.Parameter(torch.randn(_TABLES, features))

    def forward(self, wish: Tensor, device: Tensor) -> Tensor:
        """Logits float[n, f]."""
        rows = (wish[:, 0] * (_ROWS - 1)).round().long()
        near = (device @ self.keys.T / _TEMPERATURE).softmax(dim=1)
        return torch.einsum("nk,knf->nf", near, self.tables[:, rows])


class BudgetLstm(nn.Module):
    """A long short-term memory that makes one choice after another, each knowing those before; its first input is the
    budget with the device's features."""

    kind = "lstm"

    def __init__(self, wishes: int, features: int, counts: Sequence[int], allowed: Tensor) -> None:
        super().__init__()
        self.counts = list(counts)
        self.register_buffer("allowed", allowed, persistent=False)
        self.first = nn.Sequential(nn.Linear(wishes + features, _CELL), nn.SiLU(), nn.Linear(_CELL, _CELL))
        self.tokens = nn.Embedding(sum(counts), _CELL)
        self.cell = nn.LSTMCell(2 * _CELL, _CELL)
        self.heads = nn.Linear(_CELL, sum(counts))

    def roll(self, wish: Tensor, device: Tensor, chosen: Tensor | None, generator: torch.Generator) -> Any:
        """Choices int64[n, v] (drawn, or those of ``chosen`` where it is not negative), the logarithm of each row's
        probability float[n] and the mean entropy of its choices float[n]."""
        condition = self.first(torch.cat([wish, device], dim=1))
        hidden, memory, token = torch.zeros_like(condition), torch.zeros_like(condition), torch.zeros_like(condition)
        offset, taken, logs, entropies = 0, [], [], []
        allowed: Tensor = self.allowed.bool()  # type: ignore[operator]
        for gene, count in enumerate(self.counts):
            hidden, memory = self.cell(torch.cat([condition, token], dim=1), (hidden, memory))
            part = slice(offset, offset + count)
            logits = nn.functional.linear(hidden, self.heads.weight[part], self.heads.bias[part])
            log_p = logits.masked_fill(~allowed[part], -1e9).log_softmax(dim=1)
            if chosen is None:
                index = torch.multinomial(log_p.exp(), 1, generator=generator)[:, 0]
            else:
                index = torch.where(chosen[:, gene] < 0, log_p.argmax(dim=1), chosen[:, gene])
            taken.append(index)
            logs.append(log_p.gather(1, index[:, None])[:, 0])
            entropies.append(-(log_p.exp() * log_p).sum(dim=1))
            token = self.tokens(index + offset)
            offset += count
        return torch.stack(taken, dim=1), torch.stack(logs).sum(dim=0), torch.stack(entropies).mean(dim=0)

    def draw(self, wish: Tensor, device: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """See ``ChoiceNetwork``; the likeliest architecture is that of the likeliest choices one after another."""
        n, v = len(wish), len(self.counts)
        with torch.no_grad():
            greedy = torch.full((n, v), -1, dtype=torch.int64)
            likeliest: Tensor = self.roll(wish, device, greedy, generator)[0][None]
            if not samples:
                return likeliest
            drawn = self.roll(wish.repeat(samples, 1), device.repeat(samples, 1), None, generator)[0]
        both: Tensor = torch.cat([likeliest, drawn.reshape(samples, n, v)])
        return both


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Let torch compute on one thread: of small products, threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


NETWORKS: dict[str, Any] = {kind.kind: kind for kind in (PreferenceMlp, PreferenceTables, BudgetLstm)}


def make_network(
    kind: str, wishes: int, features: int, counts: Sequence[int], allowed: Tensor, seed: int = 0
) -> ChoiceNetwork:
    """A fresh network. Raises KeyError on an unknown kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: ChoiceNetwork = NETWORKS[kind](wishes, features, counts, allowed)
    return network
