"""Read the tables of HW-GPT-Bench: language models with latencies, energies, memory and perplexity."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.files import check_regular
from fleetfront.predictors.table.learnt import LearntAccuracy, SummaryRegression
from fleetfront.quantities import PERPLEXITY
from fleetfront.spaces.base import SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

_GENES = ("embed_dim", "n_layer", "n_head", "mlp_ratio", "bias")
#: The published ones unpack to 4 MB.
MAX_BYTES = 256 << 20
_REMEDY = "Give gpt_s, gpt_m or gpt_l as CSV, plain or gzipped, with the columns embed_dim, n_layer, n_head, mlp_ratio."


@dataclass(frozen=True, slots=True)
class HwGptTable:
    """n networks and the columns of the file as text."""

    arch_ids: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    sha256: str

    def column(self, name: str) -> FloatArray:
        """float64[n], NaN where a cell is empty or no number."""
        return np.array([_number(row.get(name, "")) for row in self.rows])

    def of_space(self, space: SearchSpace) -> HwGptTable:
        """Without networks of other spaces: the published table of M holds 5,000 of S. Raises InputError if none is
        left."""
        if _is_within(space, self.arch_ids):
            return self
        kept = [at for at, arch in enumerate(self.arch_ids) if _is_within(space, (arch,))]
        if not kept:
            raise InputError(f"The table holds no network of {space.name}, only such as {self.arch_ids[0]}.", _REMEDY)
        return HwGptTable(tuple(self.arch_ids[i] for i in kept), tuple(self.rows[i] for i in kept), self.sha256)


def read_hwgpt(path: Path) -> HwGptTable:
    """Read a table, gzipped or not. Raises InputError if it cannot be read or lacks the columns of the genes."""
    try:
        check_regular(path)
        data = path.read_bytes()
        text = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1) if data[:2] == b"\x1f\x8b" else data
        if len(text) > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES >> 20} MiB.", _REMEDY)
        reader = csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline=""))
        rows = tuple(reader)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read the table {path} ({error}).", _REMEDY) from error
    lacking = [name for name in _GENES if name not in (reader.fieldnames or ())]
    if lacking or not rows:
        raise InputError(f"{path} has no {'column ' + lacking[0] if lacking else 'rows'}.", _REMEDY)
    if any(None in row or None in row.values() for row in rows):
        raise InputError(f"{path} has lines with more or fewer cells than its header.", _REMEDY)
    return HwGptTable(tuple(map(_arch, rows)), rows, hashlib.sha256(data).hexdigest())


def learn_perplexity(path: Path, space: SearchSpace) -> LearntAccuracy:
    """Perplexity of a space's networks, learnt from those of a table.

    Raises InputError as ``read_hwgpt``, and on networks of another space or too few of them.
    """
    table = read_hwgpt(path).of_space(space)
    genotypes, values = space.parse(table.arch_ids), table.column("ppl")
    known = np.isfinite(values) & (values > 0)
    regression = SummaryRegression.fit(space, genotypes[known], values[known])
    return LearntAccuracy(regression, f"perplexity:{path}", PERPLEXITY, -float(values[known].max()))


def _arch(row: dict[str, str]) -> str:
    ratios = "-".join(row["mlp_ratio"])
    return f"e{row['embed_dim']}_l{row['n_layer']}_h{row['n_head']}_m{ratios}_b{row['bias']}"


def _is_within(space: SearchSpace, archs: tuple[str, ...]) -> bool:
    try:
        space.parse(archs)
    except InputError:
        return False
    return True


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
