"""Reading the NAS-Bench-201 folder of the HELP project: ``latency/<device>.pt`` in the order of ``str_arch2idx.pt``.

The files are torch archives; they are read with ``weights_only``, so that no code in them runs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.pipelines.importing.table_file import PREFIXES, CostTable, Problem, is_possible, number_of
from fleetfront.quantities import LATENCY
from fleetfront.spaces.supernet.torch_file import read_torch_file

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

_INDEX = "str_arch2idx.pt"


def read_help_folder(folder: Path) -> CostTable:
    """The folder as one table; ``lines`` count from 1 in the order of the index.

    Raises:
        InputError: if the folder lacks the index or latencies, or a file is not what its name says.
        MissingDependency: if torch is not installed.
    """
    index_path, latency_paths = folder / _INDEX, sorted((folder / "latency").glob("*.pt"))
    if not index_path.is_file() or not latency_paths:
        raise InputError(
            f"{folder} is a folder without {_INDEX} and latency/<device>.pt.",
            "Name a CSV file, or the data/nasbench201 folder of the HELP project.",
        )
    index = _load(index_path)
    if not isinstance(index, dict) or not index or set(index.values()) != set(range(len(index))):
        raise InputError(f"{index_path} does not number the architectures from 0.", "Download it again.")
    arch_ids = tuple(sorted((str(arch) for arch in index), key=lambda arch: int(index[arch])))
    digest = hashlib.sha256(index_path.read_bytes())
    columns, problems = [], []
    for path in latency_paths:
        digest.update(path.read_bytes())
        ms, wrong = _column(path, len(arch_ids))
        columns.append(ms)
        problems.extend(wrong)
    return CostTable(
        arch_ids,
        np.arange(1, len(arch_ids) + 1),
        tuple(path.stem for path in latency_paths),
        np.stack(columns, axis=1),
        0,
        tuple(problems),
        digest.hexdigest(),
    )


def _column(path: Path, n: int) -> tuple[FloatArray, list[Problem]]:
    try:
        ms = np.asarray(_load(path), dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} does not hold numbers ({error}).", "Download it again.") from error
    if len(ms) != n:
        raise InputError(f"{path} holds {len(ms)} latencies of {n} architectures.", "Download the folder again.")
    good = is_possible(ms)
    problems = [
        Problem(int(at) + 1, f"{PREFIXES[LATENCY.name]}{path.stem}", f"{ms[at]} is not {number_of(LATENCY)}")
        for at in np.flatnonzero(~good)
    ]
    return np.where(good, ms, np.nan), problems


def _load(path: Path) -> Any:
    return read_torch_file(path, "a torch file of plain values", "Reading HELP's own files", "Download it again.")
