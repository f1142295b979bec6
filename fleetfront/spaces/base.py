"""SearchSpace: the protocol of a family of networks. Everything that touches many architectures is vectorised.

Symbols in shapes: ``n`` architectures, ``v`` genes, ``b`` block slots, ``|V|`` blocks that can occur.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph
from fleetfront.spaces.blocks import Block

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Genotypes = NDArray[np.int8]
Config = dict[str, Any]


@runtime_checkable
class SearchSpace(Protocol):
    """A family of networks. A genotype is ``int8[v]``; gene ``i`` is an index into ``choices[i]``."""

    @property
    def name(self) -> str:
        """E.g. ``ofa-mbv3-w1.2``."""

    @property
    def choices(self) -> tuple[tuple[Any, ...], ...]:
        """For each gene, the values it can take, in ascending order."""

    @property
    def gene_names(self) -> tuple[str, ...]:
        """For each gene, a readable name, e.g. ``kernel_3``."""

    @property
    def vocabulary(self) -> tuple[Block, ...]:
        """Every block that can occur."""

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """``n`` architectures drawn uniformly gene by gene, canonical: int8[n, v]."""

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, v]: which genes change the network."""

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """Inactive genes set to 0, so that equal networks have equal rows."""

    def to_config(self, genotype: Genotypes) -> Config:
        """One genotype int8[v] as plain values."""

    def from_config(self, config: Config) -> Genotypes:
        """int8[v]. Raises InputError on values outside the space."""

    def arch_id(self, genotype: Genotypes) -> str:
        """The spelling of one canonical genotype int8[v] that outsiders rely on."""

    def arch_ids(self, genotypes: Genotypes) -> list[str]:
        """``arch_id`` of n rows."""

    def parse(self, arch_ids: Sequence[str]) -> Genotypes:
        """Canonical int8[n, v] of spelled architectures. Raises InputError naming the first one outside the space."""

    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        """int32[n, b]: indices into ``vocabulary`` of each network's blocks, padded with -1."""

    def macs(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Multiply-accumulate operations of one inference, int64[n]."""

    def params(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Trainable parameters, int64[n]."""

    def block_graph(self, block: Block) -> Graph:
        """The graph of one block, batch 1, with random weights (fixed seed, batch-norm folded)."""

    def subnet_graphs(
        self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
    ) -> dict[str, tuple[Graph, int]]:
        """Part name -> (graph, calls per inference) of one genotype int8[v], batch-norm folded. Names are words.

        ``weights`` are the arrays of that very subnet (a supernet cuts them); None gives random ones of a fixed seed.
        CNNs have one part, called ``network``.
        """


def only_graph(space: SearchSpace, parts: Mapping[str, tuple[Graph, int]]) -> Graph:
    """The graph of networks of one part, called once: what one file can hold.

    Raises InputError if there are several parts, or the only one is called several times.
    """
    if len(parts) != 1 or any(calls != 1 for _, calls in parts.values()):
        named = ", ".join(f"{name} x {calls}" for name, (_, calls) in parts.items())
        raise InputError(
            f"Networks of {space.name} have {len(parts)} part(s) ({named}), and one file holds one part called once.",
            "Write a file a part: fleetfront.pipelines.deploy.parts.deploy_parts(space, arch, formats, out).",
        )
    (graph, _) = next(iter(parts.values()))
    return graph


# What a space may offer beyond that; ask with isinstance.


@runtime_checkable
class Additive(Protocol):
    """A space that sums per-block values faster than through ``block_indices``."""

    def additive(self, values: NDArray[np.float64]) -> Callable[[Genotypes], NDArray[np.float64]]:
        """The sum of ``values`` float64[|V|] over each network's blocks, as a function int8[n, v] -> float64[n].

        Make it once, call it often.
        """


@runtime_checkable
class DescribesBlocks(Protocol):
    """A space that knows what explains the latency of its blocks. Its methods take any m blocks of its families."""

    def block_macs(self, blocks: Sequence[Block]) -> NDArray[np.int64]:
        """Multiply-accumulate operations, int64[m]."""

    def block_params(self, blocks: Sequence[Block]) -> NDArray[np.int64]:
        """Trainable parameters, int64[m]."""

    def block_features(self, blocks: Sequence[Block]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Non-negative numbers float64[m, f], and the names of the f columns."""


@runtime_checkable
class Interpolable(Protocol):
    """A space whose blocks recur at several input resolutions."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of the input image in pixels, ascending."""

    def blocks_at(self, resolution: int) -> NDArray[np.int32]:
        """Indices into ``vocabulary`` of the blocks that can occur at one resolution. Raises InputError on others."""

    def interpolation_groups(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """For each block of the vocabulary: which layer it is regardless of resolution (int32[|V|], from 0), and an
        effective side in pixels (float64[|V|]); within a layer, work grows linearly with the square of the side.
        """


@runtime_checkable
class MayDisconnect(Protocol):
    """A space some of whose networks have no path from input to output."""

    def disconnected(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: whether the output of a network ignores its input."""


class Mode(enum.StrEnum):
    """Which operators of a network decide what it costs on a runtime. Networks without dead, equal or parallel branches
    are the same in all.
    """

    #: Only those on a path from input to output.
    LIVE = "live"
    #: Those that the output depends on; a branch fed by zeros is executed. Converters remove the others.
    NEEDED = "needed"
    #: Everything that was written down, multiplications by zero included, as define-by-run frameworks do.
    ALL = "all"
    #: Everything that was written down, but what is equal (an operator without weights on the same input) once.
    MERGED = "merged"
    #: The live ones on the dearest path alone: branches run side by side.
    SIDE_BY_SIDE = "side-by-side"
    #: The live ones, but what is equal once: what this project's files hold.
    SHARED = "shared"


@runtime_checkable
class ExecutesDeadBranches(Protocol):
    """A space whose networks hold branches that runtimes treat differently: dead, equal or parallel ones."""

    @property
    def dead_blocks(self) -> tuple[Block, ...]:
        """Blocks d that occur only where dead branches are executed; ``block_graph`` knows them too."""

    def executed_blocks(self, genotypes: Genotypes, mode: Mode) -> NDArray[np.float64]:
        """float64[n, |V| + d]: how often each block of the vocabulary, then of ``dead_blocks``, is executed."""


@runtime_checkable
class WritesNetworks(Protocol):
    """A space that writes whole networks before batch-norm is folded."""

    def live_graph(self, genotype: Genotypes, weights: Mapping[str, Array] | None = None) -> Graph:
        """The whole network of one genotype int8[v], batch 1, its batch_norm operators kept. ``weights`` are used as
        they are, not copied; None gives random ones of a fixed seed.
        """


@runtime_checkable
class HasSupernet(Protocol):
    """A space whose networks can be cut from the weights of one supernet, be trained together and be deployed.

    Running statistics of batch-norm are tensors whose names end in ``.mean`` and ``.variance``; tensors of two
    dimensions that no live graph has (they turn weights of one network into another's) begin as identities.
    """

    @property
    def identity(self) -> str:
        """Everything about the space that decides its weights, in words: it names files of trained weights."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of the input image in pixels, ascending."""

    @property
    def classes(self) -> int:
        """Classes that the networks tell apart."""

    def live_graph(self, genotype: Genotypes, weights: Mapping[str, Array] | None = None) -> Graph:
        """The whole network of one genotype int8[v], batch 1, its batch_norm operators kept. ``weights`` are used as
        they are, not copied.
        """

    def at_resolution(self, genotypes: Genotypes, side: int) -> Genotypes:
        """The same networks int8[..., v] for images of ``side`` pixels. Raises InputError if there are none."""

    def with_classes(self, classes: int) -> Self:
        """The space with another number of classes; architectures stay the same."""

    def supernet_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor of a supernet."""

    def classes_in(self, tensors: Mapping[str, Tensor]) -> int | None:
        """How many classes the weights of a supernet tell apart; None if they do not say."""

    def cut(self, tensors: Mapping[str, Tensor], genotype: Genotypes) -> dict[str, Tensor]:
        """The weights of one network int8[v] by the names of its live graph; differentiable in ``tensors``."""

    def graph_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A published checkpoint of the family under the names of ``supernet_shapes``; unknown names stay."""

    def describe_misfit(self, tensors: Mapping[str, Tensor]) -> str:
        """Guess what weights that do not fit are of: a sentence with a space before it, or nothing."""


class SupernetSpace(SearchSpace, HasSupernet, Protocol):
    """A search space with a supernet. Ask with ``isinstance(space, HasSupernet)``, which computes less."""


@runtime_checkable
class Relaxable(Protocol):
    """A space in which choices can be taken with probabilities, so that costs have gradients.

    A relaxed architecture is one tensor a gene, float[n, choices of the gene], whose rows are non-negative and sum to
    one; one-hot rows are architectures.
    """

    def block_probabilities(self, probabilities: Sequence[Tensor]) -> Tensor:
        """How often each block is expected to occur, float[n, |V|], differentiable in ``probabilities``.

        At one-hot rows it is how often ``block_indices`` names each block, so that with a value a block, float[|V|],
        ``block_probabilities(p) @ values`` extends ``Additive.additive`` to probabilities.
        """


@runtime_checkable
class RelaxesActivity(Protocol):
    """A space some of whose genes change nothing in some networks, and that knows how likely that is."""

    def active_probabilities(self, probabilities: Sequence[Tensor]) -> Tensor:
        """How likely each gene changes the network, float[n, v], differentiable; at one-hot rows it is ``active``."""


@runtime_checkable
class HasPrecisions(Protocol):
    """A space of networks in several number formats: its last gene, ``precision``, says in which."""

    @property
    def name(self) -> str:
        """That of the space, with its precisions."""

    @property
    def networks(self) -> SearchSpace:
        """The space without that gene."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """The values of the gene."""

    def without(self, genotypes: Genotypes) -> Genotypes:
        """The networks int8[..., v] of genotypes int8[..., v + 1]."""

    def in_precision(self, genotypes: Genotypes, precision: str) -> Genotypes:
        """Networks int8[n, v] in one precision: int8[n, v + 1]."""

    def precisions_of(self, genotypes: Genotypes) -> list[str]:
        """The precision of each of int8[n, v + 1]."""


def plain_space(space: SearchSpace) -> SearchSpace:
    """The space itself, or of networks in several precisions the one without them."""
    return space.networks if isinstance(space, HasPrecisions) else space


@runtime_checkable
class KnownByTables(Protocol):
    """A space without blocks and graphs: others measured some of its networks, and the rest is learnt from these."""

    def summary_weights(self) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """The additions of each of the f choices of genes to the few numbers that sum a network up, float64[f, s], and
        their s names. Inactive genes add nothing.
        """


class OwnAccuracy(NamedTuple):
    """A function of genes that tells how good networks are.

    Attributes:
        unit: of what it returns, as ``--accuracy call:`` spells units; empty if undeclared.
        name: of another quality than accuracy, whose unit may be any; empty for accuracy.
        is_higher_better: of that quality.
        combines, objectives: what a dict of several counts as, or that each counts, as ``--accuracy call:`` spells
            it; empty if undeclared.
    """

    file: Path
    function: str
    unit: str
    name: str = ""
    is_higher_better: bool = True
    combines: str = ""
    objectives: str = ""


@runtime_checkable
class OfUserFile(Protocol):
    """A space of a user's file, which makes its networks with their weights and may say how good they are."""

    @property
    def own_file(self) -> Path:
        """The file."""

    @property
    def is_shipped(self) -> bool:
        """True if fleetfront brings the file: its networks have random weights, and nobody writes into it."""

    @property
    def is_in_parts(self) -> bool:
        """True if its networks have files a part, each called some times an inference."""

    @property
    def own_accuracy(self) -> OwnAccuracy | None:
        """The function in it that tells accuracies, if there is one."""

    def own_parts(self, genotype: Genotypes) -> Mapping[str, tuple[Module, tuple[Tensor, ...], int]]:
        """The network of one genotype int8[v] as the file makes it, by the parts that have files of their own: module,
        what it is fed, calls an inference. Most have one, ``network``, which is called once.
        """

    def by_part(self, genotype: Genotypes, values: NDArray[np.float64]) -> dict[str, float]:
        """The sum of per-block ``values`` float64[|V|] over all calls of each of these parts, for one int8[v]."""

    def check_calibration(self) -> None:
        """Raise InputError, with what to add, if the file gives no inputs that int8 is calibrated on."""

    def own_calibration(self, genotype: Genotypes) -> Sequence[tuple[Tensor, ...]]:
        """Inputs of that network that int8 is calibrated and proven on. Raises InputError if the file gives none."""

    @property
    def judges_files(self) -> bool:
        """True if the file has a function that judges whatever answers as a network does."""

    def own_judge(self, genotype: Genotypes, run: Callable[..., Any]) -> float:
        """Percent that this function tells of ``run``, which answers as the network of one int8[v]."""


class UserFamily(SearchSpace, OfUserFile, Protocol):
    """A search space of a user's file. Ask with ``isinstance(space, OfUserFile)``, which computes less."""


@runtime_checkable
class DescribesNetworks(Protocol):
    """A space that knows what explains how well its networks learn."""

    def network_features(self, genotypes: Genotypes) -> dict[str, NDArray[np.float64]]:
        """Named groups of numbers float64[n, f] about n networks; networks that compute the same have equal numbers.

        Distances within a group should mean something: its numbers have one unit.
        """
