"""The protocols of strategies, who decide which architectures are evaluated next, and what a catalogue says of one.

``search.run`` drives a strategy, ``catalogue`` makes one of what a user writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from annotated_types import Ge, Gt, Le

from fleetfront.progress import Progress
from fleetfront.search.problem import Problem
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray
    from fleetfront.search.generators.generator import Generator
    from fleetfront.search.models.prior import Prior

#: Types of settings: numbers within bounds that no sensible search leaves.
Count: TypeAlias = Annotated[int, Ge(1), Le(10_000_000)]
CountOrNone: TypeAlias = Annotated[int, Ge(0), Le(10_000_000)]
Share: TypeAlias = Annotated[float, Ge(0.0), Le(1.0)]
Positive: TypeAlias = Annotated[float, Gt(0.0), Le(1e6)]

#: What a strategy knows beside the archive: names -> numpy arrays, numbers and text, nothing that needs a pickle.
State: TypeAlias = Mapping[str, Any]


class Strategy(Protocol):
    """Made for one ``Problem`` and seed; the same seed gives the same proposals. ``ask`` and ``tell`` alternate.

    A strategy may call ``Problem.cost`` and read ``Problem.archive`` as it likes: costs and known values are free.
    """

    @property
    def batch(self) -> int:
        """How many architectures it likes to propose at a time."""

    def ask(self, n: int) -> Genotypes:
        """At most ``n`` architectures int8[m, v], as ``Problem.complete`` makes them; none if it knows nothing new."""

    def tell(self, genotypes: Genotypes, accuracy: FloatArray, cost: FloatArray) -> None:
        """Take in what became of the last ``ask``: accuracy[m] in percent, cost[m, t], in the archive already."""


class ReadsArchive:
    """Of a strategy that reads what came of its proposals from the problem's archive."""

    def tell(self, genotypes: Genotypes, accuracy: FloatArray, cost: FloatArray) -> None:
        """Nothing that the archive does not say."""


@runtime_checkable
class StatefulStrategy(Protocol):
    """A ``Strategy`` that a killed search goes on with, instead of repeating its steps."""

    def dump(self) -> State:
        """Dump what it knows after ``tell``, beside the problem's archive."""

    def load(self, state: State) -> None:
        """Become what was dumped, on a problem whose archive holds what it held then.

        Raises KeyError, TypeError or ValueError on what no ``dump`` of this strategy gives.
        """


@runtime_checkable
class TrainedStrategy(Protocol):
    """A strategy that spends the budget by itself, in steps of its own, as one that trains a network does."""

    def run(self, problem: Problem, progress: Progress, checkpoint: Callable[[], None]) -> None:
        """Ask ``Problem.evaluate`` for accuracies until ``Problem.remaining`` is spent or nothing is left to ask.

        ``checkpoint`` is to be called whenever an interruption would lose something.
        """


@runtime_checkable
class TakesPrior(Protocol):
    """A strategy that another task's search can tell where to look first."""

    def take_prior(self, prior: Prior) -> None:
        """Go by it from now on; called before the first ``ask``."""


@runtime_checkable
class Vouches(Protocol):
    """A strategy that vouches for what it found."""

    @property
    def statement(self) -> str:
        """The certainty about the fronts, for people."""


@runtime_checkable
class LeavesGenerator(Protocol):
    """A strategy that leaves a generator behind, which answers for devices that the search did not know."""

    @property
    def generator(self) -> Generator:
        """After ``run``."""


@dataclass(frozen=True, slots=True)
class StrategyKind:
    """A strategy in the catalogue. An entry point of ``fleetfront.strategies`` gives one.

    Attributes:
        make: (problem, seed) -> strategy, or (problem, seed, settings) where there are settings.
        meaning: what it does, in a few words for ``--strategy help``.
        settings: a dataclass whose every field has a type and a default; its values can be set from the command line.
    """

    make: Callable[..., Strategy | TrainedStrategy]
    meaning: str
    settings: type[Any] | None = None


def dump_generator(rng: np.random.Generator) -> str:
    """The state of a random generator as text."""
    return json.dumps(rng.bit_generator.state)


def load_generator(text: str) -> np.random.Generator:
    """The generator that goes on where ``dump_generator`` was called. Raises KeyError, TypeError or ValueError."""
    rng = np.random.default_rng()
    rng.bit_generator.state = json.loads(text)
    return rng
