"""State what one inference of a graph takes, and the share of each operator, or of those that run as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleetfront.predictors.operators.rules import Group
from fleetfront.quantities import Z90

#: The factor that intervals reach either way where operators are unbounded: they refuse to say anything.
_UNBOUNDED = 1000.0


@dataclass(frozen=True, slots=True)
class OperatorPart:
    """The share of one operator, or fused group, in a network's time.

    Attributes:
        name, kind: of the first of the group; ``fused`` are the names of the others.
        ms: its part, calibrated; of unknown ones the allowance.
        is_known: whether its kind was measured at such sizes.
        most_ms: what an unknown one may take, infinite where nobody can bound it.
        is_beyond: whether its kind was measured, but only smaller.
        partly: those of ``fused`` of which a part is still done.
    """

    name: str
    kind: str
    ms: float
    is_known: bool
    fused: tuple[str, ...] = ()
    most_ms: float = 0.0
    is_beyond: bool = False
    partly: tuple[str, ...] = ()

    @property
    def is_bounded(self) -> bool:
        """Tell whether anybody can say what it takes at most."""
        return math.isfinite(self.most_ms)


@dataclass(frozen=True, slots=True)
class GraphEstimate:
    """One inference of a graph: mean and standard deviation in ms, and its parts in the order of execution.

    ``known_share`` of the time lies in operators that the costs know if all others take the most that they may: none
    where nobody can bound them.
    """

    mean_ms: float
    std_ms: float
    parts: tuple[OperatorPart, ...]

    @property
    def known_share(self) -> float:
        unknown = [part for part in self.parts if not part.is_known]
        known = self.mean_ms - sum(part.ms for part in unknown)
        whole = known + sum(max(part.ms, part.most_ms) for part in unknown)
        return max(0.0, known / whole) if whole > 0 else 0.0


def unknown_spread(mean_ms: float, parts: Sequence[OperatorPart]) -> float:
    """Standard deviation in ms with which a 90 % interval holds the most that unknown parts may take."""
    more = sum(max(part.ms, part.most_ms) for part in parts if not part.is_known)
    return mean_ms * math.log(min(1.0 + more / mean_ms, _UNBOUNDED)) / Z90 if mean_ms > 0 else 0.0


def joined_parts(groups: Sequence[Group], parts: Sequence[OperatorPart]) -> tuple[OperatorPart, ...]:
    """One part of a group and of those that are computed in it in part, if all of them are known."""
    place_of = {group.members[0]: place for place, group in enumerate(groups)}
    owners = list(range(len(groups)))
    found = list(parts)
    for place, group in enumerate(groups):
        owner = owners[place_of[group.behind]] if group.behind is not None else place
        head, tail = found[owner], parts[place]
        if owner == place or not (head.is_known and tail.is_known):
            continue
        owners[place] = owner
        names = (tail.name, *tail.fused)
        found[owner] = replace(
            head, ms=head.ms + tail.ms, fused=(*head.fused, *names), partly=(*head.partly, tail.name)
        )
    return tuple(part for place, part in enumerate(found) if owners[place] == place)
