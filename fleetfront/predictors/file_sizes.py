"""Predict how many bytes the files of networks take, learnt from some that were written: a CostModel of ``SIZE``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.operators.catalogue import family_of
from fleetfront.predictors.base import covers_all
from fleetfront.predictors.table.calibrated import block_sum
from fleetfront.quantities import SIZE, Z90, Estimate, Metric, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.outlines import outline_blocks
from fleetfront.targets import weight_bytes_of

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: What a file's bytes are made of, beside what every file has: weights, their channels (of which each has a scale where
#: weights are narrow, and a bias in any case), operators with weights, and others.
PARTS = ("weights", "channels", "weighted operators", "other operators")
#: The fewest files that sizes are learnt from.
LEAST_FILES = len(PARTS) + 4


def _parts_of(graph: Graph) -> FloatArray:
    """float64[len(PARTS)] of a graph whose batch-norm is folded."""
    weights = [array for array in graph.weights.values() if array.size > 1]
    weighted = [op for op in graph.operators if family_of(op.family).is_weighted]
    channels = sum(graph.weights[op.inputs[1]].shape[0] for op in weighted if op.inputs[1] in graph.weights)
    return np.array(
        [sum(array.size for array in weights), channels, len(weighted), len(graph.operators) - len(weighted)], float
    )


class FileParts:
    """``PARTS`` of whole networks of a space. Making one outlines the graph of every block once.

    Raises InputError on a space without blocks.
    """

    def __init__(self, space: SearchSpace) -> None:
        if not space.vocabulary:
            raise InputError(
                f"No file is written of networks of {space.name}: they are known by tables alone, and have no size.",
                "Use another objective, such as params.",
            )
        self.space = space
        blocks = np.array([_parts_of(graph) for graph in outline_blocks(space, space.vocabulary)])
        self._columns: list[Callable[[Genotypes], FloatArray]] = [block_sum(space, column) for column in blocks.T]

    def __call__(self, genotypes: Genotypes) -> FloatArray:
        """float64[n, len(PARTS)] of n genotypes int8[n, v]."""
        return np.stack([column(genotypes) for column in self._columns], axis=1)


@dataclass(frozen=True, slots=True)
class FileSizes:
    """Bytes of networks' files in one format and precision. A CostModel.

    Attributes:
        coefficients: float64[1 + len(PARTS)]: bytes that every file has, and of each of its parts.
        relative_std: the deviation as a share of the bytes.
        described_std: bytes by which what files say of themselves may differ.
    """

    parts: FileParts
    coefficients: FloatArray
    relative_std: float
    described_std: float = 0.0

    @classmethod
    def learn(
        cls,
        parts: FileParts,
        genotypes: Genotypes,
        sizes: Sequence[int],
        precision: str,
        described_std: float = 0.0,
    ) -> FileSizes:
        """Of the bytes of n networks int8[n, v].

        Least squares of relative errors; each weight is expected to take the bytes of its precision, which no few files
        can teach better. Files left out one by one are all within ``Z90`` of the deviation, so of n files another is
        with a probability of n / (n + 1) (conformal prediction; Vovk et al. 2005).

        Raises InputError on fewer than ``LEAST_FILES``.
        """
        if len(sizes) < LEAST_FILES:
            raise InputError(
                f"{len(sizes)} files do not tell how large others are.", f"Write at least {LEAST_FILES} of them."
            )
        written = np.asarray(sizes, np.float64)
        counts = parts(genotypes)
        expected = weight_bytes_of(precision) * counts[:, 0]
        design = np.concatenate([np.ones((len(counts), 1)), counts], axis=1)
        rows = np.arange(len(written))
        left_out = np.empty(len(written))
        for row in rows:
            others = rows != row
            left_out[row] = design[row] @ _solved(design[others], (written - expected)[others], written[others])
        reach = float(np.abs((left_out + expected) / written - 1).max())
        coefficients = _solved(design, written - expected, written)
        coefficients[1] += weight_bytes_of(precision)
        return cls(parts, coefficients, reach / Z90, described_std)

    @property
    def metric(self) -> Metric:
        """``SIZE``."""
        return SIZE

    @property
    def tier(self) -> Tier:
        """Learnt from files of other networks."""
        return Tier.ESTIMATED

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Bytes of n networks' files; at least one."""
        mean = np.maximum(self.coefficients[0] + self.parts(genotypes) @ self.coefficients[1:], 1.0)
        return Estimate(mean, np.hypot(self.relative_std * mean, self.described_std), self.tier)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """Every network of the space."""
        return covers_all(genotypes)


def _solved(design: FloatArray, values: FloatArray, scale: FloatArray) -> FloatArray:
    """Least squares of ``values`` float64[n] divided by ``scale``; columns are brought to one size first, and drawn a
    little towards 0, so that columns which say the same share what they say."""
    weighted = design / scale[:, None]
    size = np.maximum(np.abs(weighted).max(axis=0), np.finfo(float).tiny)
    ridge = 1e-4 * np.eye(design.shape[1])
    stacked = np.concatenate([weighted / size, ridge])
    found, *_ = np.linalg.lstsq(stacked, np.concatenate([values / scale, np.zeros(len(ridge))]), rcond=None)
    solution: FloatArray = found / size
    return solution
