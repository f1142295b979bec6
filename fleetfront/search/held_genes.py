"""Hold genes at values, and find what stands in for values that are barred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, unknown
from fleetfront.predictors.base import AccuracyModel, RequiresGenes
from fleetfront.spaces.base import SearchSpace


def fixed_genes(space: SearchSpace, fixed: Mapping[str, Any], accuracy: AccuracyModel) -> dict[int, int]:
    """Gene -> the one value that it may take: what a user fixes and what the accuracy model requires.

    Raises InputError on an unknown gene or value, or where the two differ.
    """
    required: Mapping[str, Any] = accuracy.required if isinstance(accuracy, RequiresGenes) else {}
    for name, value in required.items():
        if name in fixed and fixed[name] != value:
            raise InputError(
                f"The accuracy {accuracy.source} answers only for {name} = {value}, not {fixed[name]}.",
                f"Fix {name} at {value}, or use another --accuracy.",
            )
    return {_gene(space, name): _choice(space, name, value) for name, value in {**fixed, **required}.items()}


def stand_ins(
    space: SearchSpace, excluded: Mapping[str, Sequence[Any]], fixed: dict[int, int]
) -> dict[int, NDArray[np.int8]]:
    """For each gene with excluded values what stands in for each value, the nearest one allowed; a gene with one value
    left is added to ``fixed``.

    Raises InputError on an unknown gene or value, or a gene whose values are all barred.
    """
    found: dict[int, NDArray[np.int8]] = {}
    for name, values in excluded.items():
        gene, barred = _gene(space, name), {_choice(space, name, value) for value in values}
        left = [i for i in range(len(space.choices[gene])) if i not in barred]
        if not left or fixed.get(gene, next(iter(left), 0)) in barred:
            said = f"is held at {space.choices[gene][fixed[gene]]}, which is excluded" if left else "has no value left"
            raise InputError(f"The gene {name} {said}.", "Exclude fewer of its values.")
        if len(left) == 1:
            fixed[gene] = left[0]
        if gene not in fixed and barred:
            every = range(len(space.choices[gene]))
            found[gene] = np.array([min(left, key=lambda j, i=i: abs(i - j)) for i in every], np.int8)  # type: ignore[misc]
    return found


def _gene(space: SearchSpace, name: str) -> int:
    if name not in space.gene_names:
        raise unknown(f"gene of {space.name}", name, space.gene_names)
    return space.gene_names.index(name)


def _choice(space: SearchSpace, name: str, value: Any) -> int:
    choices: Sequence[Any] = space.choices[_gene(space, name)]
    if value not in choices:
        raise InputError(f"{name} cannot be {value!r} in {space.name}.", f"Use one of {', '.join(map(str, choices))}.")
    return choices.index(value)
