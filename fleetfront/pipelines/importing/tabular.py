"""Make tables of HW-GPT-Bench and of Hardware-Aware Transformers that can be imported as any others.

The latter's files tell means over layers, not layers: each row is kept as the network with the same sums whose first
layers have the larger values. What is learnt from such tables reads sums alone, so nothing is lost.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from fleetfront.errors import InputError
from fleetfront.files import check_regular
from fleetfront.pipelines.importing.table_file import CostTable
from fleetfront.predictors.accuracy.hwgpt_table import HwGptTable
from fleetfront.quantities import ENERGY, LATENCY, PEAK_MEMORY, Metric
from fleetfront.spaces.tabular.hat import ENCODER_LAYERS, FFN_WIDTHS, HEADS, LISTENS_TO

#: Metric -> how its columns begin and end, and how many of its unit one of the table's unit is (ms, Wh, MB).
_COLUMNS = {
    LATENCY.name: ("lat_", "", 1.0),
    ENERGY.name: ("energy_", "", 3.6e9),
    PEAK_MEMORY.name: ("mem_", "_mb", 1e6),
}
_REMEDY = "Give a latency file of hardware-aware-transformers, e.g. wmt14ende_cpu_xeon_all.csv."
_PARTS = ("encoder", "decoder")


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


def read_hat(path: Path, device: str) -> CostTable:
    """Latencies of a file, as those of ``DEVICE`` (a whole translation), ``DEVICE_encoder`` and ``DEVICE_decoder``.

    Raises InputError if it cannot be read, lacks a column, or holds no number.
    """
    try:
        check_regular(path)
        data = path.read_bytes()
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
        archs = tuple(_arch(row) for row in rows)
        parts = np.array([[float(row[f"latency_mean_{part}"]) for part in _PARTS] for row in rows])
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is not a table of transformers ({type(error).__name__}: {error}).", _REMEDY
        ) from error
    if not len(rows):
        raise InputError(f"{path} has no rows.", _REMEDY)
    values = np.column_stack([parts.sum(axis=1), parts])
    devices = (device, *(f"{device}_{part}" for part in _PARTS))
    digest = hashlib.sha256(data).hexdigest()
    return CostTable(archs, np.arange(2, len(rows) + 2), devices, np.where(values > 0, values, np.nan), 0, (), digest)


def _arch(row: dict[str, str]) -> str:
    """The network of a row. Raises KeyError or ValueError on a missing column or a mean that no layers have."""
    layers = int(row["decoder_layer_num"])
    if int(row["encoder_layer_num"]) != ENCODER_LAYERS:
        raise ValueError(f"{row['encoder_layer_num']} encoder layers")
    columns = (
        ("ef", "encoder_ffn_embed_dim_avg", ENCODER_LAYERS, FFN_WIDTHS),
        ("eh", "encoder_self_attention_heads_avg", ENCODER_LAYERS, HEADS),
        ("df", "decoder_ffn_embed_dim_avg", layers, FFN_WIDTHS),
        ("dh", "decoder_self_attention_heads_avg", layers, HEADS),
        ("dc", "decoder_ende_attention_heads_avg", layers, HEADS),
        ("dn", "decoder_arbitrary_ende_attn_avg", layers, LISTENS_TO),
    )
    spelled = {key: key + "-".join(map(str, _spread(float(row[name]), n, of))) for key, name, n, of in columns}
    widths = f"e{int(row['encoder_embed_dim'])}_d{int(row['decoder_embed_dim'])}"
    encoder = f"{widths}_{spelled['ef']}_{spelled['eh']}_dl{layers}"
    return "_".join([encoder, *(spelled[key] for key in ("df", "dh", "dc", "dn"))])


def _spread(mean: float, layers: int, values: Sequence[int]) -> list[int]:
    """So many of the values with this mean, the larger ones first. Raises ValueError if none have it."""
    left = round(mean * layers)
    if abs(mean * layers - left) > 1e-3 * values[0] or left not in _reachable(layers, tuple(values)):
        raise ValueError(f"a mean of {mean} over {layers} layers")
    found: list[int] = []
    for behind in range(layers - 1, -1, -1):
        found.append(max(value for value in values if left - value in _reachable(behind, tuple(values))))
        left -= found[-1]
    return found


@cache
def _reachable(layers: int, values: tuple[int, ...]) -> frozenset[int]:
    """Every sum of so many of the values."""
    if not layers:
        return frozenset({0})
    return frozenset(total + value for total in _reachable(layers - 1, values) for value in values)
