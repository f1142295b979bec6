"""Look accuracies up in a CSV table of measured architectures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, unknown
from fleetfront.predictors.scores import weighted_spearman
from fleetfront.predictors.table.networks import GenotypeIndex
from fleetfront.quantities import Estimate, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.text_tables import TextTable, parse_numbers, quote_cell, read_csv, what_is_wrong

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Names of the column with architectures; the later one drops what inactive slots hold.
_ARCH_COLUMNS = ("arch", "arch_active")
#: How a column of accuracies may be called: these words, or one of them and an underscore, in this order of preference.
_ACCURACY_WORDS = ("acc", "accuracy", "top1")
#: Words in the name of a column that holds something else, which falls as accuracy rises.
_ERROR_WORDS = frozenset({"err", "error", "errors", "loss", "losses", "nll", "perplexity", "ppl"})
#: So few accuracies say nothing of a trend; more than this many only cost time.
_FEWEST_TO_JUDGE, _MOST_TO_JUDGE = 10, 500
#: Accuracies that rank so against parameters are more likely errors: larger networks of a space seldom do worse.
_AGAINST_SIZE = -0.3


@dataclass(frozen=True, slots=True)
class TableAccuracy:
    """Top-1 accuracy in percent of the architectures of a table. An AccuracyModel.

    Attributes:
        genotypes: int8[n, v], canonical and distinct.
        accuracy: float64[n], percent.
        std: float64[n], percentage points; 0 where the table does not tell.
        column: which column of the table serves.
        warnings: what a user of these numbers should know.
    """

    space: SearchSpace
    source: str
    genotypes: Genotypes
    accuracy: FloatArray
    std: FloatArray
    index: GenotypeIndex
    column: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def tier(self) -> Tier:
        """Somebody trained and tested these very networks."""
        return Tier.MEASURED

    @property
    def lowest(self) -> float:
        """The lowest accuracy of the table, percent; a search may take its reference point from it."""
        return float(self.accuracy.min())

    @property
    def fingerprint(self) -> str:
        """Differs where the table's content does, whatever its file is called."""
        content = hashlib.sha256()
        for array in (self.genotypes, self.accuracy, self.std):
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()

    def networks(self) -> Genotypes:
        """int8[k, v]: those that it answers for."""
        return self.genotypes

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Look up n genotypes int8[n, v]. Raises InputError naming the first architecture that the table lacks."""
        rows = self.index.find(genotypes)
        absent = rows < 0
        if absent.any():
            first = self.space.arch_ids(self.space.canonical(genotypes[[int(np.argmax(absent))]]))[0]
            raise InputError(
                f"{first} is not among the {len(self.accuracy)} architectures of {self.source} "
                f"({int(absent.sum())} of {len(rows)} are not).",
                "Add them to the table, or use an accuracy that answers for the whole space.",
            )
        return Estimate(self.accuracy[rows], self.std[rows], Tier.MEASURED)


def read_accuracy_csv(path: Path, space: SearchSpace, column: str | None = None) -> TableAccuracy:
    """Read a table with a column ``arch`` and accuracies in percent in ``column``.

    Without ``column`` it is the only one called ``acc...``, ``accuracy...`` or ``top1``. A column of that name with
    ``_std`` behind it gives standard deviations; where it is empty, the median of the others. Equal architectures may
    repeat with equal accuracy.

    Raises:
        InputError: on a missing file or column, more than one candidate column, a column of errors or losses, an
            architecture outside the space, an accuracy that is no percentage, two accuracies of one architecture, or
            values of which all or some look like shares.
    """
    table = _read(path)
    names, lines = table.header, table.lines
    arch_column = next((name for name in _ARCH_COLUMNS if name in names), None)
    if arch_column is None:
        raise InputError(
            f"{path} has no column 'arch', only {', '.join(names)}.", "Name the architectures' column arch."
        )
    column = _accuracy_column(path, names, column)
    accuracy = _numbers(path, table, column)
    std = np.zeros(len(lines))
    if f"{column}_std" in names:
        std = _numbers(path, table, f"{column}_std", may_be_empty=True)
        # What was measured once has no deviation of its own; it is as noisy as the others.
        std[np.isnan(std)] = np.nanmedian(std) if np.isfinite(std).any() else 0.0
    if float(accuracy.max()) <= 1.0:
        raise InputError(
            f"Column {column} of {path} ends at {accuracy.max():g}: these are shares, not percent.",
            "Multiply the accuracies by 100.",
        )
    _check_scale(path, column, accuracy, lines)
    archs = [row[names.index(arch_column)].strip() for row in table.rows]
    genotypes = space.parse(archs)
    distinct, first, inverse = np.unique(genotypes, axis=0, return_index=True, return_inverse=True)
    differs = accuracy != accuracy[first][inverse.ravel()]
    if differs.any():
        at = int(np.argmax(differs))
        raise InputError(
            f"Line {lines[at]} of {path} gives {archs[at]} another accuracy than a line before it.",
            "Keep one line an architecture.",
        )
    source = f"csv:{path}:{column}"
    index = GenotypeIndex(space, distinct)
    warnings = _warnings(path, column, accuracy[first], space.params(distinct))
    return TableAccuracy(space, source, distinct, accuracy[first], std[first], index, column, warnings)


def _check_scale(path: Path, column: str, accuracy: FloatArray, lines: Sequence[int]) -> None:
    """Raises InputError where some values are shares: a hundred times as much, they fit among the percentages."""
    shares = (accuracy > 0) & (accuracy <= 1)
    if not shares.any() or shares.all():
        return
    low, high = np.quantile(accuracy[~shares], 0.05), accuracy.max()
    mixed = shares & (100 * accuracy >= low) & (100 * accuracy <= high)
    if mixed.any():
        at = int(np.argmax(mixed))
        raise InputError(
            f"Line {lines[at]} of {path} has {column} = {accuracy[at]:g} among percentages of {low:g} to {high:g}: "
            f"{int(mixed.sum())} values look like shares.",
            "Multiply these by 100, so that all accuracies are percent.",
        )


def _warnings(path: Path, column: str, accuracy: FloatArray, params: NDArray[np.int64]) -> tuple[str, ...]:
    if len(accuracy) < _FEWEST_TO_JUDGE:
        return ()
    sample = np.random.default_rng(0).permutation(len(accuracy))[:_MOST_TO_JUDGE]
    size = params[sample].astype(np.float64)
    order = float(weighted_spearman(size, accuracy[sample], np.ones((1, len(sample))))[0])
    if not order < _AGAINST_SIZE:
        return ()
    return (
        f"{column} of {path} falls as networks grow (rank correlation {order:.2f}): check that it holds accuracies, "
        "not errors.",
    )


def _read(path: Path) -> TextTable:
    table = read_csv(path)
    if table.uneven:
        line, _ = table.uneven[0]
        raise InputError(f"Line {line} of {path} has not {len(table.header)} fields.", "Repair the line.")
    if not table.rows:
        raise InputError(f"The accuracy table {path} has no rows.", "Give a header line and one line an architecture.")
    return table


def _accuracy_column(path: Path, names: Sequence[str], column: str | None) -> str:
    if column is not None:
        if column not in names:
            raise unknown(f"column of {path}", column, names)
        if _holds_errors(column):
            raise InputError(
                f"Column {column} of {path} is named after an error or a loss, not after accuracy.",
                "Write accuracies in percent (100 - error) into a column of another name.",
            )
        return column
    found = [
        name
        for name in names
        if name.split("_")[0] in _ACCURACY_WORDS and not name.endswith("_std") and not _holds_errors(name)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"{path} has no column of accuracies, only {', '.join(names)}.", f"Write csv:{path}:COLUMN.")
    raise InputError(
        f"{path} has several columns of accuracies: {', '.join(found)}.", f"Write csv:{path}:{found[0]}, for example."
    )


def _holds_errors(column: str) -> bool:
    return bool(_ERROR_WORDS & set(re.split(r"[^a-z0-9]+", column.lower())))


def _numbers(path: Path, table: TextTable, column: str, *, may_be_empty: bool = False) -> FloatArray:
    place = table.header.index(column)
    cells = [row[place] for row in table.rows]
    values = parse_numbers(cells)
    wrong = ~((values >= 0) & (values <= 100))
    if may_be_empty:
        wrong &= np.array([bool(cell.strip()) for cell in cells])
    if wrong.any():
        at = int(np.argmax(wrong))
        look = what_is_wrong(cells[at])
        raise InputError(
            f"Line {table.lines[at]} of {path} has {column} = {quote_cell(cells[at])}, which is not a percentage"
            f"{look and f' ({look})'}.",
            "Give numbers from 0 to 100.",
        )
    return values
