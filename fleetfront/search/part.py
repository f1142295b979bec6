"""Find the part of a space that every table of a search knows: no network beyond it can be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fleetfront.errors import InputError
from fleetfront.predictors.base import AccuracyModel, ListsNetworks, knows_costs
from fleetfront.predictors.table.networks import holds_whole_space
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.base import Genotypes, SearchSpace


@dataclass(frozen=True, slots=True)
class Part:
    """The networks that can be searched, and the targets that know some of them.

    Attributes:
        networks: int8[k, v], canonical and distinct, where a table of costs holds a part of the space; else None,
            whatever a table of accuracies holds.
        errors: name of each device that knows none of the networks -> why it is left out.
    """

    targets: tuple[ProblemTarget, ...]
    networks: Genotypes | None = None
    errors: dict[str, str] = field(default_factory=dict)


def listed_part(space: SearchSpace, model: object) -> Genotypes | None:
    """int8[k, v]: the networks of a model that is a table of some of a space, so that a search must stay inside it."""
    if not isinstance(model, ListsNetworks):
        return None
    networks = model.networks()
    return None if holds_whole_space(space, len(networks)) else networks


def searchable_part(space: SearchSpace, targets: Sequence[ProblemTarget], accuracy: AccuracyModel) -> Part:
    """Find what the accuracy and all tables of costs know. A device that knows none of what those before it leave is
    no target.

    Raises InputError if no device is left.
    """
    networks = accuracy.networks() if isinstance(accuracy, ListsNetworks) else None
    kept: list[ProblemTarget] = []
    errors: dict[str, str] = {}
    is_narrowed = False
    for target in targets:
        parts = {name: listed_part(space, cost) for name, cost in target.costs.items()}
        common = networks
        held = [(target.costs[name], part) for name, part in parts.items() if part is not None]
        for cost, part in held:
            common = part if common is None else common[knows_costs(cost, common)]
        if held and common is not None and not len(common):
            before = " and ".join([*([accuracy.source] if networks is not None else []), *(t.name for t in kept)])
            errors[target.name] = f"its table knows {len(held[0][1]):,} networks, and none of those that {before} know."
            continue
        kept.append(target)
        networks, is_narrowed = common, is_narrowed or bool(held)
    if targets and not kept:
        raise InputError(
            f"No network is known to all: of {targets[0].name}, {errors[targets[0].name]}",
            f"Learn the others: fleetfront fit --device {targets[0].name} --space {space.name}",
        )
    return Part(tuple(kept), networks if is_narrowed else None, errors)
