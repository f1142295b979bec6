"""Find out which genes each part of a family's networks depends on, by tracing some of them; the rest is tables.

A family of few networks is traced whole. Of a larger one, genes are changed one at a time in a few networks; which part
changes with which gene is then held against networks drawn at random, and corrected by what contradicts it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fleetfront.errors import InputError
from fleetfront.progress import SILENT, Progress

#: What a place holds in one network: a part's signature, or the number of parameters between the parts; empty if it is
#: not there.
Held = str
#: Places of a network -> what they hold.
Trace = Callable[[tuple[int, ...]], dict[str, Held]]

#: Families of so many networks are traced whole.
_WHOLE = 256
#: Networks whose genes are changed one at a time, and those drawn against which the outcome is held, at a time.
_STARTS, _DRAWN = 4, 12
#: Rounds of drawn networks without a contradiction.
_ROUNDS = 3
#: More networks are not traced: it would take many minutes.
MOST_TRACED = 3000


@dataclass(frozen=True, slots=True)
class Slot:
    """A place of the networks.

    Attributes:
        genes: which decide what it holds, ascending.
        held: what it holds for each combination of them, the last gene fastest.
    """

    place: str
    genes: tuple[int, ...]
    held: tuple[Held, ...]


@dataclass(slots=True)
class _Learnt:
    """A place while it is learnt: the genes it is thought to depend on, and one network for each seen combination."""

    genes: set[int] = field(default_factory=set)
    seen: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)


class _Learner:
    def __init__(self, counts: Sequence[int], names: Sequence[str], trace: Trace, progress: Progress) -> None:
        self._counts, self._names, self._trace, self._progress = counts, names, trace, progress
        self.traced: dict[tuple[int, ...], dict[str, Held]] = {}
        self.places: dict[str, _Learnt] = {}

    def ask(self, genes: tuple[int, ...]) -> dict[str, Held]:
        """Trace a network once."""
        if genes not in self.traced:
            if len(self.traced) >= MOST_TRACED:
                raise self._too_large()
            self.traced[genes] = self._trace(genes)
            self._progress.advance()
        return self.traced[genes]

    def learn(self) -> list[Slot]:
        """Every place with what it holds for each combination of its genes."""
        rng = np.random.default_rng(0)
        self._change_each(rng)
        quiet = 0
        while quiet < _ROUNDS:
            quiet = quiet + 1 if not any([self._corrects(self._draw(rng)) for _ in range(_DRAWN)]) else 0
        while any(self._fill(place, rng) for place in sorted(self.places)):
            continue
        return [self._slot(place) for place in self.places]

    def _draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        return tuple(int(rng.integers(count)) for count in self._counts)

    def _change_each(self, rng: np.random.Generator) -> None:
        starts = [tuple(0 for _ in self._counts), tuple(count - 1 for count in self._counts)]
        starts += [self._draw(rng) for _ in range(_STARTS - len(starts))]
        for start in starts:
            self._corrects(start)
            for gene, count in enumerate(self._counts):
                for value in range(count):
                    self._corrects((*start[:gene], value, *start[gene + 1 :]))

    def _corrects(self, genes: tuple[int, ...]) -> bool:
        """Trace a network; True if it contradicts what was learnt, which is then mended."""
        held = self.ask(genes)
        # A place that was never met is empty in every network before.
        for place in held.keys() - self.places.keys():
            self.places[place] = _Learnt(seen={(): next(iter(self.traced))})
        return any([self._mend(place, genes) for place in sorted(self.places)])

    def _mend(self, place: str, genes: tuple[int, ...]) -> bool:
        learnt, changed = self.places[place], False
        while True:
            key = tuple(genes[gene] for gene in sorted(learnt.genes))
            other = learnt.seen.setdefault(key, genes)
            if self._held(place, other) == self._held(place, genes):
                return changed
            changed = True
            learnt.genes.add(self._culprit(place, other, genes))
            learnt.seen = {}
            for one in self.traced:
                learnt.seen.setdefault(tuple(one[gene] for gene in sorted(learnt.genes)), one)

    def _culprit(self, place: str, before: tuple[int, ...], after: tuple[int, ...]) -> int:
        """The gene whose change on the way from one network to another changes what the place holds."""
        now = before
        for gene, value in enumerate(after):
            then = (*now[:gene], value, *now[gene + 1 :])
            if then != now and self._held(place, then) != self._held(place, now):
                return gene
            now = then
        raise AssertionError(place)  # the ends differ, so a step on the way does

    def _held(self, place: str, genes: tuple[int, ...]) -> Held:
        return self.ask(genes).get(place, "")

    def _combinations(self, place: str) -> list[tuple[int, ...]]:
        chosen = [range(self._counts[gene]) for gene in sorted(self.places[place].genes)]
        if math.prod(map(len, chosen)) > MOST_TRACED:
            raise self._too_large(place)
        return list(itertools.product(*chosen))

    def _fill(self, place: str, rng: np.random.Generator) -> bool:
        """Trace networks until every combination of the place's genes was seen; True if any was missing."""
        missing = False
        for combination in self._combinations(place):
            if combination in self.places[place].seen:
                continue
            missing = True
            drawn = dict(enumerate(self._draw(rng))) | dict(
                zip(sorted(self.places[place].genes), combination, strict=True)
            )
            if self._corrects(tuple(drawn[gene] for gene in range(len(self._counts)))):
                return True
        return missing

    def _slot(self, place: str) -> Slot:
        learnt = self.places[place]
        held = tuple(self._held(place, learnt.seen[one]) for one in self._combinations(place))
        return Slot(place, tuple(sorted(learnt.genes)), held)

    def _too_large(self, place: str = "") -> InputError:
        genes = [self._names[gene] for gene in sorted(self.places[place].genes)] if place else []
        on = f": {place} alone depends on {', '.join(genes)}" if genes else ""
        return InputError(
            f"What the networks are made of cannot be told from {MOST_TRACED:,} of them{on}.",
            "Give fewer choices, or let each block depend on fewer genes, as where layers share one width.",
        )


def learn_slots(
    counts: Sequence[int], names: Sequence[str], trace: Trace, progress: Progress = SILENT
) -> tuple[Slot, ...]:
    """The places of a family's networks.

    Args:
        counts: how many values each gene has.
        names: of the genes.
        trace: what the places of one network hold.
        progress: told of each network that is traced.

    Raises:
        InputError: the parts depend on so many genes together that it would take too many networks.
    """
    learner = _Learner(counts, names, trace, progress)
    networks = math.prod(counts)
    progress.start("Tracing networks", networks if networks <= _WHOLE else None)
    try:
        if networks > _WHOLE:
            return tuple(learner.learn())
        everything = list(itertools.product(*map(range, counts)))
        traced = [learner.ask(genes) for genes in everything]
        places = dict.fromkeys(place for held in traced for place in held)
        genes = tuple(range(len(counts)))
        return tuple(Slot(place, genes, tuple(held.get(place, "") for held in traced)) for place in places)
    finally:
        progress.finish()
