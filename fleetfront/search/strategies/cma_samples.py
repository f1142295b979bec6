"""Draw networks from a normal distribution that CMA-ES has moved to where known networks are best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import missing
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Standard deviation of the first distribution, as a share of the values of each gene.
_FIRST_DEVIATION = 0.3


def draw_by_cma(
    known: Genotypes, worth: FloatArray, counts: NDArray[np.intp], n: int, rng: np.random.Generator
) -> Genotypes:
    """``n`` genotypes int8[n, v], neither distinct nor canonical, around known ones int8[k, v] of low worth float64[k].

    CMA-ES (Hansen 2016) starts at the best known one and is told all of them in the order given, a generation after
    another; genes of ``counts`` values are coordinates, rounded. Nothing of it is kept: what is known is its state.

    Raises MissingDependency without cma.
    """
    try:
        import cma
    except ImportError as error:
        raise missing("cma", "search", "Sampling by CMA-ES") from error

    free = np.flatnonzero(counts > 1)
    drawn = np.zeros((n, len(counts)), dtype=np.int8)
    if len(free) < 2:
        drawn[:, free] = rng.integers(0, counts[free], (n, len(free)))
        return drawn
    options = {
        "bounds": [[-0.5] * len(free), (counts[free] - 0.5).tolist()],
        "CMA_stds": counts[free].astype(float),
        "randn": lambda *shape: rng.standard_normal(shape),
        # Neither the global generator, nor files, nor words.
        "seed": np.nan,
        "verb_log": 0,
        "verbose": -10,
        "signals_filename": "",
    }
    points = known[:, free].astype(np.float64)
    evolution = cma.CMAEvolutionStrategy(points[np.argmin(worth)], _FIRST_DEVIATION, options)
    generation = evolution.popsize
    told = len(points) // generation * generation
    if told:
        evolution.feed_for_resume(list(points[-told:]), worth[-told:].tolist())
    found = np.rint(np.array(evolution.ask(n)))
    drawn[:, free] = np.clip(found, 0, counts[free] - 1).astype(np.int8)
    return drawn
