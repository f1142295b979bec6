"""Make tables of HW-GPT-Bench's latencies, energies and memory that can be imported as any others."""

from __future__ import annotations

import numpy as np

from fleetfront.errors import InputError
from fleetfront.pipelines.importing.table_file import CostTable
from fleetfront.predictors.accuracy.hwgpt_table import HwGptTable
from fleetfront.quantities import ENERGY, LATENCY, PEAK_MEMORY, Metric

#: Metric -> how its columns begin and end, and how many of its unit one of the table's unit is (ms, Wh, MB).
_COLUMNS = {
    LATENCY.name: ("lat_", "", 1.0),
    ENERGY.name: ("energy_", "", 3.6e9),
    PEAK_MEMORY.name: ("mem_", "_mb", 1e6),
}


def costs_of(table: HwGptTable, metric: Metric) -> CostTable:
    """The columns of one metric; devices keep the names of their columns, empty and impossible cells are not measured.

    Raises InputError if there is none.
    """
    begins, ends, factor = _COLUMNS[metric.name]
    names = [n for n in table.rows[0] if n.startswith(begins) and n.endswith(ends)]
    if not names:
        raise InputError(f"The table has no column of {metric.title} ({begins}<device>{ends}).", "Give another table.")
    values = np.stack([table.column(name) * factor for name in names], axis=1)
    values = np.where(values > 0, values, np.nan)
    devices = tuple(name.removeprefix(begins).removesuffix(ends) for name in names)
    lines = np.arange(2, len(table.rows) + 2)
    return CostTable(table.arch_ids, lines, devices, values, int(np.isnan(values).sum()), (), table.sha256, metric)
