"""Archive: every architecture that a search has evaluated, once, with its accuracy and its cost on each target.

It stores and finds; what counts as an evaluation is in ``problem``, what is best in ``front``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.arrays import read_arrays, write_arrays
from fleetfront.errors import FileError, InputError, unknown
from fleetfront.quantities import ACCURACY
from fleetfront.search.front import FULL
from fleetfront.spaces.base import Genotypes, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

_SCHEMA = "fleetfront.archive/1"
_FIRST_CAPACITY = 1024
#: What to do about an archive in the way of a search's own.
_REMEDY = "Give another --out, or delete the file to search anew."


class Archive:
    """Rows of distinct canonical genotypes in the order they were added.

    Rows are found by a 64-bit hash and compared whole: a collision may repeat a row, but never gives a wrong value.
    """

    def __init__(self, genes: int, targets: Sequence[str], extras: Sequence[str] = ()) -> None:
        """``genes`` per genotype; names of the cost columns and of further metrics (e.g. ``macs``)."""
        self.targets = tuple(targets)
        self.extra_names = tuple(extras)
        self._n = 0
        self._genotypes = np.zeros((_FIRST_CAPACITY, genes), dtype=np.int8)
        # Accuracy and its standard deviation, then costs, then extras.
        self._values = np.zeros((_FIRST_CAPACITY, 2 + len(self.targets) + len(self.extra_names)))
        odd = np.random.default_rng(0x5EED).integers(0, 2**63, genes, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._multipliers = odd
        self._hashes = np.zeros(0, dtype=np.uint64)
        self._rows = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return self._n

    @property
    def genotypes(self) -> Genotypes:
        """int8[n, v], a view."""
        return self._genotypes[: self._n]

    @property
    def accuracy(self) -> FloatArray:
        """float64[n], percent, a view."""
        return self._values[: self._n, 0]

    @property
    def accuracy_std(self) -> FloatArray:
        """float64[n], percentage points, a view; infinite where nobody could tell the accuracy."""
        return self._values[: self._n, 1]

    @property
    def cost(self) -> FloatArray:
        """float64[n, t], a view."""
        return self._values[: self._n, 2 : 2 + len(self.targets)]

    @property
    def extras(self) -> FloatArray:
        """float64[n, number of extras], a view."""
        return self._values[: self._n, 2 + len(self.targets) :]

    def column(self, target: str) -> int:
        """Position of a target among the cost columns. Raises InputError on an unknown one."""
        if target not in self.targets:
            raise unknown("device of this search", target, self.targets)
        return self.targets.index(target)

    def find(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """int64[m]: the row of each of m canonical genotypes int8[m, v], -1 where it is not in the archive."""
        if not self._n or not len(genotypes):
            return np.full(len(genotypes), -1, dtype=np.int64)
        hashes = self._hash(genotypes)
        at = np.minimum(np.searchsorted(self._hashes, hashes), self._n - 1)
        rows = self._rows[at]
        known = self._hashes[at] == hashes
        known[known] = np.all(self._genotypes[rows[known]] == genotypes[known], axis=1)
        found: NDArray[np.int64] = np.where(known, rows, -1)
        return found

    def unknown(self, genotypes: Genotypes) -> Genotypes:
        """The distinct ones among m canonical genotypes that are not in the archive, in order of appearance."""
        fresh = genotypes[self.find(genotypes) < 0]
        return fresh[first_of_each(self._hash(fresh))]

    def add(
        self,
        genotypes: Genotypes,
        accuracy: FloatArray,
        accuracy_std: FloatArray,
        cost: FloatArray,
        extras: FloatArray | None = None,
    ) -> None:
        """Append m rows that ``unknown`` returned; accuracy[m], std[m], cost[m, t], extras[m, number of extras]."""
        m = len(genotypes)
        if not m:
            return
        self._reserve(self._n + m)
        block = self._values[self._n : self._n + m]
        block[:, 0], block[:, 1], block[:, 2 : 2 + len(self.targets)] = accuracy, accuracy_std, cost
        if extras is not None:
            block[:, 2 + len(self.targets) :] = extras
        self._genotypes[self._n : self._n + m] = genotypes
        hashes = self._hash(genotypes)
        order = np.argsort(hashes)
        at = np.searchsorted(self._hashes, hashes[order])
        self._hashes = np.insert(self._hashes, at, hashes[order])
        self._rows = np.insert(self._rows, at, self._n + order)
        self._n += m

    def save(self, path: Path, about: dict[str, str]) -> None:
        """Write all rows and ``about`` as a numpy archive, whole or not at all. Raises InputError where that fails."""
        arrays: dict[str, Any] = {
            "schema": np.array(_SCHEMA),
            "targets": np.array(self.targets, dtype=np.str_),
            "extras": np.array(self.extra_names, dtype=np.str_),
            "about": np.array([[key, value] for key, value in sorted(about.items())], dtype=np.str_).reshape(-1, 2),
            "genotypes": self.genotypes,
            "values": self._values[: self._n],
        }
        try:
            write_arrays(path, arrays)
        except OSError as error:
            raise InputError(
                f"Cannot write {path} ({error.strerror or error}).", "Free some space, or choose another folder."
            ) from error

    @classmethod
    def load(
        cls, path: Path, about: dict[str, str], remedy: str = _REMEDY, space: SearchSpace | None = None
    ) -> Archive:
        """Read ``save`` back. Raises InputError with ``remedy`` if the file cannot be read, is not a whole archive,
        differs from ``about``, or holds networks outside ``space``."""
        written, targets, extras, genotypes, values = _read(path, remedy)
        for key, value in about.items():
            # A fact that older archives did not hold cannot differ.
            if written.get(key, value) != value:
                raise InputError(
                    f"{path} belongs to another search: its {key} is {written.get(key)!r}, not {value!r}.",
                    remedy,
                )
        if space is not None and not _is_within(genotypes, space):
            raise FileError(f"{path} is damaged: it holds networks outside {space.name}.", remedy)
        archive = cls(genotypes.shape[1], targets, extras)
        archive.add(
            genotypes, values[:, 0], values[:, 1], values[:, 2 : 2 + len(targets)], values[:, 2 + len(targets) :]
        )
        return archive

    @staticmethod
    def about(path: Path, remedy: str = _REMEDY) -> dict[str, str]:
        """Read what ``save`` was told about the archive in a file. Raises InputError with ``remedy`` as ``load``."""
        return _read(path, remedy)[0]

    def only(self, rows: NDArray[np.intp]) -> Archive:
        """Another one of some rows int[k], in their order."""
        chosen = Archive(self.genotypes.shape[1], self.targets, self.extra_names)
        values = (self.accuracy[rows], self.accuracy_std[rows], self.cost[rows], self.extras[rows])
        chosen.add(self.genotypes[rows], *values)
        return chosen

    def _hash(self, genotypes: Genotypes) -> NDArray[np.uint64]:
        hashes: NDArray[np.uint64] = (genotypes.astype(np.uint64) * self._multipliers).sum(axis=1, dtype=np.uint64)
        return hashes

    def _reserve(self, rows: int) -> None:
        capacity = len(self._values)
        if rows > capacity:
            grown = max(rows, 2 * capacity) - capacity
            self._genotypes = np.pad(self._genotypes, ((0, grown), (0, 0)))
            self._values = np.pad(self._values, ((0, grown), (0, 0)))


def _read(path: Path, remedy: str) -> tuple[dict[str, str], list[str], list[str], Genotypes, FloatArray]:
    """Read what an archive is of, its targets and extras, genotypes int8[n, v] and values float64[n, m]."""
    try:
        arrays = read_arrays(path)
        if str(arrays["schema"]) != _SCHEMA:
            raise ValueError(f"schema {str(arrays['schema'])[:100]}")
        written = {str(key): str(value) for key, value in arrays["about"]}
        genotypes, values = arrays["genotypes"], arrays["values"]
        targets, extras = ([str(name) for name in arrays[of].tolist()] for of in ("targets", "extras"))
    except OSError as error:
        raise FileError(f"Cannot read the search archive {path} ({error.strerror or error}).", remedy) from error
    except (ValueError, TypeError, KeyError) as error:
        raise FileError(
            f"{path} is not a whole search archive ({type(error).__name__}: {str(error)[:300]}).", remedy
        ) from error
    wrong = _wrong(genotypes, values, targets, extras, written.get("quality", ACCURACY.name) == ACCURACY.name)
    if wrong:
        raise FileError(f"{path} is damaged: {wrong}.", remedy)
    return written, targets, extras, genotypes, values


def _is_within(genotypes: Genotypes, space: SearchSpace) -> bool:
    counts = [len(values) for values in space.choices]
    if genotypes.shape[1] != len(counts) or (genotypes >= counts).any():
        return False
    return np.array_equal(space.canonical(genotypes), genotypes)


def _wrong(
    genotypes: NDArray[Any], values: NDArray[Any], targets: list[str], extras: list[str], is_percent: bool
) -> str:
    """Why no search wrote this; empty if one did."""
    if genotypes.dtype != np.int8 or values.dtype != np.float64 or genotypes.ndim != 2:
        return f"it holds {genotypes.dtype} genes of shape {genotypes.shape} and {values.dtype} values"
    if values.shape != (len(genotypes), 2 + len(targets) + len(extras)):
        return f"{values.shape} values of {genotypes.shape} genes"
    if len({*targets, *extras}) < len(targets) + len(extras):
        return "a column is named twice"
    # Nothing is known of the accuracy of a network that could not be judged.
    if not np.isfinite(np.delete(values, 1, axis=1)).all() or np.isnan(values[:, 1]).any():
        return "it holds an accuracy or a cost that is not a number"
    accuracy = values[:, 0]
    if (is_percent and ((accuracy < 0) | (accuracy > FULL)).any()) or (values[:, 1:] < 0).any():
        worst = accuracy[np.argmax(np.abs(accuracy - FULL / 2))] if len(accuracy) else 0.0
        return f"it holds an accuracy of {worst:g} %, or a negative deviation or cost ({values[:, 1:].min():g})"
    if (genotypes < 0).any() or len(np.unique(genotypes, axis=0)) < len(genotypes):
        return "it holds genes below 0, or a network twice"
    return ""


def first_of_each(keys: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Positions of the first occurrence of each distinct key, ascending."""
    _, first = np.unique(keys, return_index=True)
    first.sort()
    return first
