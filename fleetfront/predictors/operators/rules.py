"""Rules say what a runtime saves between neighbouring operators: what it fuses, and layouts that it changes only once.

They are found by test: chains of operators against their parts (``design.draw_chains``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from fleetfront.predictors.operators.kernels import PADS, Kernel

#: Column of ``kernels.FEATURES`` with the millions of elements that a kernel writes.
_WRITTEN = 3
#: Sizes that a rule is told from at least; the share of a tail's time that must be gone; and the share of a chain's
#: time below which a saving is noise.
_FEWEST, _FUSED_SHARE, _NOISE_SHARE = 3, 0.6, 0.02
#: A smaller part of a tail is none.
_PART_SHARE = 0.15
#: What kinds of convolutions end with that have few channels, or such as vectors do not hold without rest.
_NARROW = " narrow"
_OF_IMAGES = ("conv", "pointwise", "depthwise", "grouped")
_OF_CHANNELS = (_NARROW, " odd", " multiplied")
#: What differences of two files' times are off by at least, ms.
_UNSURE_MS = 1e-3


@dataclass(frozen=True, slots=True)
class ChainTest:
    """A chain of kinds with its time and that of its parts, ms, at one size: the evidence for a rule.

    ``asks``: ``fused`` whether the tail vanishes, ``padded`` whether the padding does that stands in front of the first
    kind and is the last part, ``layout`` whether two kinds share one, ``through`` whether the kind in the middle keeps
    its neighbours from doing so.
    """

    asks: str
    kinds: tuple[str, ...]
    whole_ms: float
    parts_ms: tuple[float, ...]
    melements: float


@dataclass(frozen=True, slots=True)
class Rules:
    """The savings of neighbours.

    Attributes:
        fused: (head, tail): the tail's time vanishes where it alone reads the head's result.
        inside: kinds that work in a layout of the runtime's own. Alone in a file each pays for changing to it and back.
        through: kinds that take either layout, so that their neighbours need not change it.
        saved_ms: per million elements that need not be changed to it and back, half of it at each end.
        partly: (head, tail, share): what the tail's time is less behind the head, as activations that are computed as
            results are written, which is still work.
        saved_each_ms: of every tensor that need not, whatever its size, half of it at each end.
        tests: what they were found by.
        padded: kinds that pad as they go, so that the time of padding in front of them vanishes.
    """

    fused: tuple[tuple[str, str], ...] = ()
    inside: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    saved_ms: Annotated[float, Ge(0), Le(1e9)] = 0.0
    tests: tuple[ChainTest, ...] = field(default=(), repr=False)
    padded: tuple[str, ...] = ()
    # Older files have none.
    saved_each_ms: Annotated[float, Ge(0), Le(1e9)] = 0.0
    partly: tuple[tuple[str, str, Annotated[float, Ge(0), Le(1)]], ...] = ()

    def pads(self, kind: str) -> bool:
        """Tell whether padding in front of a kind costs nothing; one that was not tried is as its like."""
        is_tried = any(test.asks == "padded" and test.kinds[0] == kind for test in self.tests)
        return (kind if is_tried else _plain(kind).replace(" odd", "")) in self.padded


@dataclass(frozen=True, slots=True)
class Group:
    """Kernels that run as one, by their places, the one first whose time it takes; what it saves of that, as a share
    and then in ms.

    ``behind``: the first place of the group that it is computed in, but for the part that is not saved.
    """

    members: tuple[int, ...]
    saved_ms: float = 0.0
    saved_share: float = 0.0
    behind: int | None = None


def group_kernels(kernels: Sequence[Kernel], rules: Rules) -> list[Group]:
    """Fused groups in the order of execution, each with what it saves in layouts."""
    heads = _heads(kernels, rules)
    members: dict[int, list[int]] = {}
    for place, head in enumerate(heads):
        members.setdefault(head, []).append(place)
    saved = _saved_layouts(kernels, heads, rules)
    ordered = ((head, sorted(places, key=lambda place: place != head)) for head, places in members.items())
    shares = _saved_shares(kernels, heads, rules)
    return [Group(tuple(places), saved.get(head, 0.0), *shares.get(head, (0.0, None))) for head, places in ordered]


def _saved_shares(kernels: Sequence[Kernel], heads: Sequence[int], rules: Rules) -> dict[int, tuple[float, int]]:
    """Head of a group -> the share of its time that is saved, and the head of the group behind which it is: the one
    whose result it alone reads.
    """
    shares = {(head, tail): share for head, tail, share in rules.partly}
    found: dict[int, tuple[float, int]] = {}
    for place, kernel in enumerate(kernels):
        before = [heads[one] for one in kernel.producers if kernels[one].readers == 1 and heads[one] != heads[place]]
        said = [(shares.get((head_kind(kernels[head].kind), kernel.kind), 0.0), head) for head in before]
        if heads[place] == place and said and max(said)[0] > 0:
            found[place] = max(said)
    return found


def _heads(kernels: Sequence[Kernel], rules: Rules) -> list[int]:
    """Of each kernel, the place of the one whose time its group takes."""
    heads, lasts = list(range(len(kernels))), dict(enumerate(range(len(kernels))))
    fused = set(rules.fused)
    for place, kernel in enumerate(kernels):
        for producer in reversed(kernel.producers):
            head = heads[producer]
            is_last = lasts[head] == producer and kernels[producer].readers == 1
            if is_last and (head_kind(kernels[head].kind), kernel.kind) in fused:
                heads[place], lasts[head] = head, place
                break
    for place, kernel in enumerate(kernels):
        for producer in kernel.producers:
            if kernels[producer].kind in PADS and kernels[producer].readers == 1 and rules.pads(kernel.kind):
                heads[producer] = heads[place]
    return heads


def _saved_layouts(kernels: Sequence[Kernel], heads: Sequence[int], rules: Rules) -> dict[int, float]:
    """Head -> ms that its group need not spend on layouts, half for each end that stays in the runtime's own."""
    if not rules.saved_ms and not rules.saved_each_ms:
        return {}
    readers: dict[int, set[int]] = {head: set() for head in heads}
    writers: dict[int, dict[int, float]] = {head: {} for head in heads}
    for place, kernel in enumerate(kernels):
        for producer in kernel.producers:
            if heads[producer] != heads[place]:
                readers[heads[producer]].add(heads[place])
                writers[heads[place]][heads[producer]] = float(kernels[producer].features[_WRITTEN])
    order = sorted(readers)
    inside = {head for head in order if _plain(kernels[head].kind) in rules.inside}
    through = {head for head in order if kernels[head].kind in rules.through and kernels[head].keeps_blocks}
    gives = dict.fromkeys(order, False)
    for head in order:
        is_passed = head in through and bool(writers[head]) and all(gives[one] for one in writers[head])
        gives[head] = head in inside or is_passed
    takes = dict.fromkeys(order, False)
    for head in reversed(order):
        is_passed = head in through and bool(readers[head]) and all(takes[one] for one in readers[head])
        takes[head] = is_passed or (head in inside and not _is_narrow(kernels[head]))
    saved: dict[int, float] = {}
    for head in (head for head in order if head in inside):
        entries = [size for one, size in writers[head].items() if gives[one] and takes[head]]
        is_kept = bool(readers[head]) and all(takes[one] for one in readers[head])
        last = max(place for place, own in enumerate(heads) if own == head)
        kept = [*entries, *([float(kernels[last].features[_WRITTEN])] if is_kept else [])]
        saved[head] = (rules.saved_ms * sum(kept) + rules.saved_each_ms * len(kept)) / 2
    return saved


def find_rules(tests: Sequence[ChainTest]) -> Rules:
    """The rules that chains tell, each at several sizes.

    A tail is fused if about its own time is gone. Of the kinds at the ends of pairs, those are inside that save with
    themselves or with others at least half of what pairs usually save; a kind goes through if two such ends around it
    save as much as without it.
    """
    fused, partly = _fused_pairs(_asked(tests, "fused"))
    padded = {kinds[0] for kinds, chains in _asked(tests, "padded").items() if _vanishes(chains)}
    padded |= {kind.replace("conv", "grouped") for kind in padded}
    found = Rules(fused, tests=tuple(tests), padded=tuple(sorted(padded)), partly=partly)
    rates = {kinds: _rate(found) for kinds, found in _asked(tests, "layout").items()}
    level = float(np.median([rate for rate in rates.values() if rate > 0] or [0.0]))
    best = {kind: max(rate for pair, rate in rates.items() if kind in pair) for pair in rates for kind in pair}
    if level <= _noise(tests):
        return found
    inside = tuple(sorted(_like_tested(kind for kind, rate in best.items() if rate > level / 2)))
    through = [
        kinds[1]
        for kinds, chains in _asked(tests, "through").items()
        if kinds[1] not in inside and _rate(chains, is_middle_gone=kinds[:2] in fused) > level / 2
    ]
    each, per_melement = _savings([test for test in tests if test.asks == "layout" and {*test.kinds} <= {*inside}])
    through += ["concat"] * ("add" in through)
    return replace(found, inside=inside, through=tuple(sorted(through)), saved_ms=per_melement, saved_each_ms=each)


def _savings(tests: Sequence[ChainTest]) -> tuple[float, float]:
    """Milliseconds that pairs save whatever their size, and for a million elements between them: by least squares."""
    from scipy.optimize import nnls

    design = np.array([(1.0, test.melements) for test in tests])
    saved = np.array([sum(test.parts_ms) - test.whole_ms for test in tests])
    unsure = np.array([_UNSURE_MS + _NOISE_SHARE * sum(test.parts_ms) for test in tests])
    (each, per_melement), _ = nnls(design / unsure[:, None], saved / unsure)
    return float(each), float(per_melement)


def _fused_pairs(
    tests: Mapping[tuple[str, ...], Sequence[ChainTest]],
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, float], ...]]:
    """Tails that vanish behind heads, and those of which a part does, with the share of their time.

    Convolutions of images are asked together whether a tail vanishes, and one at a time how much of it.
    """
    fused: list[tuple[str, str]] = []
    partly: list[tuple[str, str, float]] = []
    for tail in sorted({kinds[-1] for kinds in tests}):
        chains = {kinds[0]: list(found) for kinds, found in tests.items() if kinds[-1] == tail}
        images = [head for head in chains if head in _OF_IMAGES]
        together = _share([test for head in images for test in chains[head]])
        whole = {head for head in chains if _share(chains[head]) > _FUSED_SHARE and head not in images}
        whole |= _like_tested(images) if together > _FUSED_SHARE else set()
        fused += [(head, tail) for head in sorted(whole)]
        for head in sorted(chains.keys() - whole):
            share = min(_share(chains[head]), 1.0)
            if share > _PART_SHARE:
                partly += [(like, tail, share) for like in sorted(_like_tested([head]) - whole)]
    return tuple(fused), tuple(dict(zip([one[:2] for one in partly], partly, strict=True)).values())


def _share(tests: Sequence[ChainTest]) -> float:
    """The share of a tail's time that is saved: the median over sizes, each by how surely it tells; 0 of too few."""
    told = [test for test in tests if test.parts_ms[-1] > 0]
    if len(told) < _FEWEST:
        return 0.0
    saved = np.array([sum(test.parts_ms) - test.whole_ms for test in told])
    tail = np.array([test.parts_ms[-1] for test in told])
    unsure = np.array([_UNSURE_MS + _NOISE_SHARE * sum(test.parts_ms) for test in told])
    order = np.argsort(saved / tail)
    upto = np.cumsum(np.square(tail / unsure)[order])
    return float((saved / tail)[order][np.searchsorted(upto, upto[-1] / 2)])


def _like_tested(kinds: Iterable[str]) -> set[str]:
    """Kinds with those that runtimes treat alike: a convolution is one, whatever its window and groups."""
    found = set(kinds)
    return found | ({"conv", "grouped"} if "pointwise" in found else set())


def _plain(kind: str) -> str:
    """The kind without what tells that its channels are few."""
    return kind.removesuffix(_NARROW)


def _is_narrow(kernel: Kernel) -> bool:
    """Tell whether channels are read as they are, whatever the layout of the result."""
    return kernel.kind.endswith(_NARROW)


def head_kind(kind: str) -> str:
    """The kind as far as fusing goes: a convolution is one, of whichever channels."""
    for word in _OF_CHANNELS:
        kind = kind.removesuffix(word)
    return kind


def _asked(tests: Sequence[ChainTest], question: str) -> dict[tuple[str, ...], list[ChainTest]]:
    found: dict[tuple[str, ...], list[ChainTest]] = {}
    for test in tests:
        if test.asks == question:
            found.setdefault(test.kinds, []).append(test)
    return found


def _vanishes(tests: Sequence[ChainTest]) -> bool:
    """Tell whether the whole takes as long as its head alone, rather than as both."""
    shares = [(sum(test.parts_ms) - test.whole_ms) / test.parts_ms[-1] for test in tests if test.parts_ms[-1] > 0]
    return len(shares) >= _FEWEST and float(np.median(shares)) > _FUSED_SHARE


def _rate(tests: Sequence[ChainTest], *, is_middle_gone: bool = False) -> float:
    """Milliseconds that chains save per million elements between their ends: the median over sizes."""
    gone = [test.parts_ms[1] if is_middle_gone else 0.0 for test in tests]
    saved = [sum(test.parts_ms) - test.whole_ms - fused for test, fused in zip(tests, gone, strict=True)]
    return float(np.median([ms / test.melements for ms, test in zip(saved, tests, strict=True)]))


def _noise(tests: Sequence[ChainTest]) -> float:
    """The size below which nothing can be told from noise: a share of what chains take for a million elements."""
    return _NOISE_SHARE * float(np.median([test.whole_ms / test.melements for test in tests])) if tests else 0.0
