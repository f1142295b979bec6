"""Spend a budget in rounds: fit what is known of accuracy, train a generator on it, count what it proposes.

What is trained and how stays with the strategies; this is the loop that they share, and what a kill leaves of it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from fleetfront.predictors.base import CostModel
from fleetfront.predictors.table.networks import GenotypeIndex
from fleetfront.progress import Progress
from fleetfront.quantities import Tier
from fleetfront.search.generators.collecting import Collector
from fleetfront.search.generators.features import Way, WayOrBest
from fleetfront.search.generators.fleet import Fleet, own_models
from fleetfront.search.generators.generator import Counted, Generator, Training, propose
from fleetfront.search.generators.left_out import compare_descriptions
from fleetfront.search.generators.networks import make_network, on_one_thread
from fleetfront.search.generators.wishes import Wishes
from fleetfront.search.models.counted import CountedAccuracy, fit_counted
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import State, dump_generator, load_generator
from fleetfront.search.strategies.hybrid import HybridStrategy
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Networks before the first model; at most a quarter of the budget.
_FIRST = 16
#: What is known grows by this factor a round at least, and in so many rounds at most.
_GROWTH, _MOST_ROUNDS = 1.25, 18
#: At the end an ensemble of accuracies is fitted with so many times the steps of a round.
_LAST_FIT = 3
#: What describes devices until it is known what serves them best, and by how much shorter the trainings are that tell,
#: but no shorter than so many steps.
_FIRST_WAY: Way = "coefficients"
_SHORTER, _SHORTEST = 8, 60
#: Wishes a device that proposals are drawn for, and draws of each.
_WISHES, _DRAWS = 33, 3
#: Of so many accuracies or more in a large space, this share is spent as ``hybrid`` does before the rounds. What is
#: counted is what answers are taken from and learnt from, and rounds alone count what serves fronts less.
_MANY, _SEARCHED = 2000, 0.75
#: Prefixes of the state.
_NETWORK, _SEARCH, _RNG = "network.", "search.", "rng"


class TrainsInRounds(ABC):
    """A ``TrainedStrategy`` whose generator is trained anew whenever more is known."""

    def __init__(
        self,
        problem: Problem,
        seed: int,
        way: WayOrBest,
        kind: str,
        wishes: Wishes,
        steps: tuple[int, int],
        fit_steps: int,
    ) -> None:
        """``way``: what describes devices; ``best`` is settled before the last training. ``steps`` of the generator's
        training each round and at the end; ``fit_steps`` of an ensemble of accuracies each round."""
        self._problem, self._seed, self._steps, self._fit_steps = problem, seed, steps, fit_steps
        self._rng = np.random.default_rng(seed)
        self._is_open = way == "best"
        self._kept: dict[Way, float] = {}
        self._fleet = Fleet(problem, _FIRST_WAY if way == "best" else way)
        self._wishes = wishes
        counts = [len(values) for values in problem.space.choices]
        self._allowed = torch.from_numpy(np.concatenate(problem.allowed))
        self._network = make_network(kind, wishes.width, self._fleet.features.width, counts, self._allowed, seed)
        self._accuracy: CountedAccuracy | None = None
        is_searched = (problem.budget or 0) >= _MANY and problem.every() is None
        self._search = HybridStrategy(problem, seed) if is_searched else None
        self._round = 0
        self._seconds = 0.0

    @abstractmethod
    def train(self, accuracy: CountedAccuracy, steps: int, seed: int) -> None:
        """Train the generator for what is known by now."""

    @abstractmethod
    def another(self, problem: Problem, way: Way) -> TrainsInRounds:
        """An untrained one with the same settings for these devices, described so."""

    def become(self, other: TrainsInRounds) -> None:
        """Go on with what another one of this kind has."""
        self._fleet, self._network = other._fleet, other._network

    def proposed_for(self, models: Sequence[CostModel]) -> Genotypes:
        """Distinct genotypes int8[k, v] that are proposed for a device with these cost models."""
        described = self._fleet.features(own_models(models, self._fleet.costs))
        wishes = self._wishes.sweep(_WISHES)
        return propose(self._problem.space, self._network, described, wishes, _DRAWS, self._seed)

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the strategy."""

    @property
    def statement(self) -> str:
        """The costs that gradients did not know, for people, and how devices are described."""
        told = [f"The generator was trained without {'; '.join(self._fleet.left_out)}."] if self._fleet.left_out else []
        if self._kept:
            ways = ", ".join(f"{100 * share:.1f} % by {way}" for way, share in self._kept.items())
            told.append(f"Devices are described by {self._fleet.features.way}: devices left out keep {ways}.")
        return " ".join(told)

    def run(self, problem: Problem, progress: Progress, checkpoint: Callable[[], None]) -> None:
        """See ``TrainedStrategy``."""
        started = time.perf_counter()
        try:
            with on_one_thread():
                self._search_first(problem, checkpoint)
                self._rounds(problem, checkpoint)
                progress.note("Training the generator for the last time.")
                self._accuracy = self._fitted(_LAST_FIT * self._fit_steps)
                if self._is_open:
                    self._describe(self._accuracy)
                self.train(self._accuracy, self._steps[1], self._seed + 1)
        finally:
            self._seconds += time.perf_counter() - started

    def _describe(self, accuracy: CountedAccuracy) -> None:
        """Describe devices in the way that serves those best which a short training leaves out."""
        steps = min(self._steps[1], max(_SHORTEST, self._steps[1] // _SHORTER))
        self._kept = compare_descriptions(self._problem, accuracy, self.another, steps, self._seed)
        if self._kept:
            best = max(self._kept, key=lambda way: self._kept[way])
            if best != self._fleet.features.way:
                self.become(self.another(self._problem, best))

    def _search_first(self, problem: Problem, checkpoint: Callable[[], None]) -> None:
        left = int((1 - _SEARCHED) * (problem.budget or 0))
        while self._search is not None and (more := (problem.remaining or 0) - left) > 0:
            rows = self._search.ask(min(self._search.batch, more))
            if not len(rows):
                break
            problem.evaluate(rows)
            checkpoint()

    def _rounds(self, problem: Problem, checkpoint: Callable[[], None]) -> None:
        budget = problem.budget or 0
        first = min(_FIRST, max(2, budget // 4))
        collector = Collector(problem, self._rng)
        while problem.remaining:
            known = len(problem.archive)
            if known < first:
                rows = collector.first(min(first - known, problem.remaining))
            else:
                growth = max(_GROWTH, (budget / first) ** (1 / _MOST_ROUNDS))
                wanted = min(problem.remaining, max(4, int(np.ceil(known * (growth - 1)))))
                self._accuracy = self._fitted(self._fit_steps)
                self.train(self._accuracy, self._steps[0], self._seed + 1000 + self._round)
                if not problem.remaining:
                    break
                rows = collector.next(min(wanted, problem.remaining), self._proposed(), self._accuracy)
            if not len(rows):
                break
            problem.evaluate(rows)
            self._round += 1
            checkpoint()

    @property
    def generator(self) -> Generator:
        """The generator that is left behind. Raises RuntimeError before ``run``."""
        if self._accuracy is None:
            raise RuntimeError("the strategy has not run")
        problem, archive = self._problem, self._problem.archive
        judged = np.isfinite(archive.accuracy_std)
        genotypes = archive.genotypes[judged]
        index = GenotypeIndex(problem.space, genotypes)
        counted = Counted(genotypes, archive.accuracy[judged], archive.accuracy_std[judged], index)
        training = Training(
            self.name,
            self._seed,
            problem.names,
            problem.counter.requested,
            round(self._seconds, 1),
            self._fleet.costs,
            problem.accuracy.source,
            Tier(problem.accuracy.tier),
            self._fleet.left_out,
            {str(way): share for way, share in self._kept.items()},
        )
        return Generator(
            problem.space,
            self._network,
            self._allowed,
            self._fleet.features,
            self._wishes,
            self._accuracy,
            counted,
            training,
        )

    def dump(self) -> State:
        """The generator's weights after a round."""
        weights = {f"{_NETWORK}{name}": value.numpy().copy() for name, value in self._network.state_dict().items()}
        search = self._search.dump() if self._search is not None else {}
        weights |= {f"{_SEARCH}{name}": value for name, value in search.items()}
        return {**weights, **self.further_state(), _RNG: dump_generator(self._rng), "round": self._round}

    def load(self, state: State) -> None:
        """Go on from there."""
        weights = {
            k.removeprefix(_NETWORK): torch.from_numpy(np.array(v)) for k, v in state.items() if k.startswith(_NETWORK)
        }
        try:
            self._network.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        if self._search is not None:
            self._search.load({k.removeprefix(_SEARCH): v for k, v in state.items() if k.startswith(_SEARCH)})
        self.load_further(state)
        self._rng, self._round = load_generator(str(state[_RNG])), int(state["round"])

    def further_state(self) -> State:
        """Whatever else is trained."""
        return {}

    def load_further(self, state: State) -> None:
        """Read ``further_state`` back."""
        return

    def _fitted(self, steps: int) -> CountedAccuracy:
        # Begun anew each time, so that a search that is gone on with fits what an undisturbed one does.
        return fit_counted(self._problem, self._seed, steps)

    def _proposed(self) -> Genotypes:
        """The generator's answers on every device."""
        wishes, found = self._wishes.sweep(_WISHES), []
        for device in range(self._fleet.size):
            described: FloatArray = self._fleet.described[device]
            seed = int(self._rng.integers(2**31))
            found.append(propose(self._problem.space, self._network, described, wishes, _DRAWS, seed))
        return np.unique(np.concatenate(found), axis=0)
