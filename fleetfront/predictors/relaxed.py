"""Extend costs and accuracies of networks to probabilities of choices, so that gradients flow through them.

A space that knows how likely each block is (``Relaxable``) extends sums over blocks; anything that can be looked up is
extended through its values at the neighbours of one-hot choices, which needs no knowledge of it at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import missing
from fleetfront.spaces.base import Genotypes, Relaxable, RelaxesActivity, SearchSpace

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

    from fleetfront.quantities import FloatArray

#: Values of n genotypes int8[n, v], float64[n].
LookUp = Callable[[Genotypes], "FloatArray"]


def import_torch(purpose: str = "Searching with gradients") -> ModuleType:
    """The package. Raises MissingDependency, with the pip line that installs it, where it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise missing("torch", "torch", purpose) from error
    module: ModuleType = torch
    return module


def split_genes(space: SearchSpace, probabilities: Tensor) -> tuple[Tensor, ...]:
    """float[n, f] as one tensor a gene, float[n, choices of the gene]."""
    return tuple(probabilities.split_with_sizes([len(values) for values in space.choices], dim=1))


def one_hot(space: SearchSpace, genotypes: Genotypes) -> Tensor:
    """The choices of n genotypes as probabilities: float32[n, f] of zeros and ones, inactive genes included."""
    torch = import_torch()
    counts = [len(values) for values in space.choices]
    offset = np.cumsum([0, *counts[:-1]])
    chosen = np.zeros((len(genotypes), sum(counts)), np.float32)
    np.put_along_axis(chosen, offset + genotypes.astype(np.intp), np.float32(1.0), axis=1)
    result: Tensor = torch.from_numpy(chosen)
    return result


def most_likely(space: SearchSpace, probabilities: Tensor) -> Genotypes:
    """The likeliest value of each gene: canonical int8[n, v]."""
    genes = [gene.argmax(dim=1).numpy() for gene in split_genes(space, probabilities.detach())]
    return space.canonical(np.stack(genes, axis=1).astype(np.int8))


def soft_features(space: SearchSpace, probabilities: Tensor) -> Tensor:
    """``OneHot`` of relaxed architectures: each choice's probability times that of its gene being active, [n, f].

    Raises InputError where the space does not tell how likely genes are active.
    """
    if not isinstance(space, RelaxesActivity):
        return probabilities
    torch = import_torch()
    genes = split_genes(space, probabilities)
    active = space.active_probabilities(genes)
    weighted = [gene * active[:, i, None] for i, gene in enumerate(genes)]
    result: Tensor = torch.cat(weighted, dim=1)
    return result


def relaxed_sums(space: SearchSpace, values: Sequence[FloatArray], probabilities: Tensor) -> list[Tensor] | None:
    """The expected sum of each of ``values`` float64[|V|] over a network's blocks, float[n] each; None where the space
    does not tell how likely blocks are."""
    if not isinstance(space, Relaxable):
        return None
    torch = import_torch()
    blocks = space.block_probabilities(split_genes(space, probabilities))
    return [blocks @ torch.from_numpy(np.asarray(column, np.float64)).to(blocks.dtype) for column in values]


def by_look_up(space: SearchSpace, look_up: LookUp, probabilities: Tensor) -> Tensor:
    """``look_up`` at the likeliest choices, float32[n], with the gradient of its multilinear extension there.

    At one-hot rows the derivative by the probability of value o of gene e is the value of the network with that gene
    set so: one look-up of every neighbour. It is exact there, and rough between networks.
    """
    torch = import_torch()
    counts = [len(values) for values in space.choices]
    genes = np.stack([gene.argmax(dim=1).numpy() for gene in split_genes(space, probabilities.detach())], axis=1)
    genes = genes.astype(np.int8)
    n, f = len(genes), sum(counts)
    neighbours = np.repeat(genes[:, None], f, axis=1)
    gene_of, value_of = np.repeat(np.arange(len(counts)), counts), np.concatenate([np.arange(c) for c in counts])
    neighbours[:, np.arange(f), gene_of] = value_of
    found = look_up(space.canonical(neighbours.reshape(n * f, -1)))
    slopes = torch.from_numpy(found.reshape(n, f).astype(np.float32))
    at = one_hot(space, genes)
    values = (slopes * at).sum(dim=1) / len(counts)
    result: Tensor = values + (slopes * (probabilities - at)).sum(dim=1)
    return result
