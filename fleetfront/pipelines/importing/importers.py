"""Import what others measured into the store: tables of whole networks and once-for-all lookup tables of blocks.

Imported rows are marked with their source and licence, and importing the same numbers again changes nothing. Reading
the files themselves is in ``table_file``, ``help_folder`` and ``lookup_yaml``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.device_configs.facts import DeviceConfig
from fleetfront.device_configs.loader import device_names, find_devices
from fleetfront.errors import InputError
from fleetfront.pipelines.importing.help_folder import read_help_folder
from fleetfront.pipelines.importing.lookup_yaml import BlockEntry, read_lookup_folder
from fleetfront.pipelines.importing.table_file import (
    ARCH_COLUMN,
    MOST_IN_ORDER,
    PREFIXES,
    CostTable,
    Problem,
    find_far_apart,
    read_table,
    refusal,
    say_repeats,
    say_steps,
)
from fleetfront.pipelines.importing.units import doubt_columns, doubt_unit, factor_of, told_doubts
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Source, Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import LATENCY, NS_PER_MS, SAMPLES_IN, Clock, Metric
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space, ofa_mbv3_w12
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Every imported row carries it.
IMPORTED = "imported"
#: On rows of a column that was logged in whole milliseconds.
WHOLE_MILLISECONDS = "whole-milliseconds"
#: On rows whose sample is a mean over runs that the source does not give one by one.
SUMMARY = "summary"

OFA_SOURCE = Source(
    "once-for-all lookup tables", "MIT", "https://github.com/mit-han-lab/once-for-all (Cai et al., ICLR 2020)"
)

#: What the name of a device cannot hold.
_NO_LETTER = re.compile(r"[^A-Za-z0-9_.:\-]+")
#: So many whole numbers in a row do not happen by chance in a column of measured milliseconds.
_FEWEST_WHOLE = 8


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The outcome of an import.

    Attributes:
        source: where the rows come from, as the store keeps it.
        targets: one a device.
        items: distinct networks, or blocks, that were read.
        new: rows that the store did not have yet.
        known: rows that it had already.
        warnings: what a user of these numbers should know.
        problems: what was left out (only with ``skip_invalid``).
    """

    source: Source
    space: str
    targets: tuple[Target, ...]
    items: int
    new: int
    known: int
    warnings: tuple[str, ...]
    problems: tuple[Problem, ...]


def import_table(
    path: Path,
    space: SearchSpace,
    store: Store,
    *,
    source: Source | None = None,
    targets: Mapping[str, Target] | None = None,
    skip_invalid: bool = False,
    progress: Progress = SILENT,
    metric: Metric = LATENCY,
    unit: str = "",
    table: CostTable | None = None,
) -> ImportReport:
    """Import a CSV with a column ``arch`` and one ``lat_<device>`` column a device, in one transaction.

    A folder is read as HELP's own ``data/nasbench201`` layout. ``source`` names origin and licence (default: the file's
    name, licence unknown). ``targets`` overrides what a column's device config says. Other columns are ignored, empty
    cells are not measured, a network given twice has two visits. Latencies are milliseconds where ``unit`` names
    nothing else; columns of other metrics begin with ``table_file.PREFIXES`` and their unit must be given. ``table`` is
    what the file holds, where it was read already.

    Raises:
        InputError: if the file is no such table; and, unless ``skip_invalid``, if a value is not a positive number or
            an architecture is not of the space, with the lines. Nothing is written then.
    """
    if table is None:
        table = read_help_folder(path) if path.is_dir() else read_table(path, metric, unit)
    genotypes, valid, problems = _checked(path, space, table, skip_invalid)
    configs = find_devices([device for device in table.devices if _is_name(device)])
    resolved = _targets(table.devices, targets or {}, configs)
    columns, warnings = _columns(table, [target for target, _ in resolved], valid)
    if table.metric == LATENCY:
        doubts = doubt_columns(table.devices, table.values[valid], space.macs(genotypes), configs)
        warnings += told_doubts(str(path), doubts, unit)
    origin = _origin(source or Source(path.name, "unknown"), table.sha256)
    rows = sum(int(np.isfinite(values).sum()) for _, values, _ in columns)
    if not rows:
        raise _nothing_in(path, table.metric)
    keys = np.asarray(space.arch_ids(genotypes))
    distinct = len(np.unique(keys))
    repeated = len(keys) - distinct
    if repeated:
        warnings.append(
            f"{repeated} lines repeat an architecture and count as further measurements: the median serves."
        )
    before = _repeated_visits(store, space.name, table.metric)
    progress.start(f"Importing {path.name}", rows)
    new = store.append(_network_rows(space.name, table.metric, keys, columns, progress), origin)
    progress.finish()
    warnings.extend(_mixed(before, _repeated_visits(store, space.name, table.metric), repeated))
    return ImportReport(
        origin,
        space.name,
        tuple(target for target, _ in resolved),
        distinct,
        new,
        rows - new,
        (*(warning for _, warning in resolved if warning), *warnings),
        problems,
    )


def _checked(
    path: Path, space: SearchSpace, table: CostTable, skip_invalid: bool
) -> tuple[NDArray[np.int8], NDArray[np.bool_], tuple[Problem, ...]]:
    """Networks, the rows they are of, and what is wrong with others; raises what ``import_table`` does."""
    genotypes, valid, unknown_archs = _parsed(space, table)
    rows = np.flatnonzero(valid)
    apart = find_far_apart(table, space.arch_ids(genotypes), rows)
    problems = (*table.problems, *unknown_archs, *apart)
    left_out = np.isin(table.lines[rows], [problem.line for problem in apart])
    valid[rows[left_out]], genotypes = False, genotypes[~left_out]
    if not valid.any():
        raise InputError(
            f"{path} holds no architecture of {space.name} ({unknown_archs[0]}).",
            "Name the space that they are of: --space NAME.",
        )
    if problems and not skip_invalid:
        raise refusal(path, tuple(sorted(problems, key=lambda problem: problem.line)))
    return genotypes, valid, problems


def _nothing_in(path: Path, metric: Metric) -> InputError:
    columns = f"{PREFIXES[metric.name]}<device> columns"
    return InputError(f"{path} holds no {metric.name} that can be imported.", f"Fill in its {columns}.")


def import_ofa_lut(
    folder: Path,
    device: str,
    store: Store,
    *,
    space: OfaMbv3Space | None = None,
    source: Source = OFA_SOURCE,
    skip_invalid: bool = False,
    unit: str = "",
) -> ImportReport:
    """Import once-for-all's YAML lookup tables (``<resolution>_lookup_table.yaml``) as measurements of blocks.

    ``device`` is the name of a device config, or of a new device. Each entry becomes one visit with the printed mean as
    its sample; mean, std and count stand in its conditions as printed. The last layers (final expansion, pooling,
    feature mix, classifier), which the tables list one by one, are one block here: the sum of their means. Numbers are
    milliseconds where ``unit`` names nothing else.

    Raises:
        InputError: if the folder has no such file, or (unless ``skip_invalid``) an entry is not a block of the space or
            not a positive number, with file and line.
    """
    family = space or ofa_mbv3_w12()
    configs = find_devices([device] if _is_name(device) else [])
    ((target, warning),) = _targets([device], {}, configs)
    found = read_lookup_folder(folder, family, factor_of(LATENCY, unit))
    if found.problems and not skip_invalid:
        raise refusal(folder, found.problems)
    if not found.entries:
        raise InputError(f"{folder} holds no block of {family.name}.", "Name the folder with the lookup tables.")
    origin = Source(source.name, source.licence, source.url, found.sha256)
    warnings = [warning] if warning else []
    macs = dict(zip((block.key for block in family.vocabulary), family.block_macs(family.vocabulary), strict=True))
    works, ms = (np.array([macs[e.key] for e in found.entries]), np.array([e.mean_ms for e in found.entries]))
    doubts = doubt_unit(folder.name, ms, works, "blocks", configs.get(device))
    warnings += told_doubts(str(folder), doubts, unit)
    rows = list(_block_rows(family.name, target, found.entries))
    new = store.append(rows, origin)
    return ImportReport(
        origin, family.name, (target,), len(rows), new, len(rows) - new, tuple(warnings), found.problems
    )


def _origin(source: Source, sha256: str) -> Source:
    return Source(_one_line(source.name), _one_line(source.licence), source.url, sha256)


def _one_line(text: str) -> str:
    """Printable: file names may hold newlines and what terminals obey, and sources are shown in tables."""
    return "".join(char if char.isprintable() else " " for char in text)


def _repeated_visits(store: Store, space: str, metric: Metric) -> dict[Target, int]:
    """How many imported rows of each target are of a network that has another one."""
    imported = [h for h in store.holdings() if h.is_imported and h.role is Role.NETWORK]
    return {h.target: h.visits - h.keys for h in imported if h.space == space and h.metric == metric.name}


def _mixed(before: Mapping[Target, int], after: Mapping[Target, int], repeated: int) -> Iterator[str]:
    """Warnings for targets whose networks have other numbers from an earlier import; ``repeated`` are in this file."""
    for target, visits in after.items():
        known = visits - before.get(target, 0) - repeated
        if known > 0:
            yield (
                f"{known} networks of {target.device} were imported before with other numbers, or in another "
                "selection: both count, and the median serves. To replace them, import into a new --store."
            )


def _parsed(space: SearchSpace, table: CostTable) -> tuple[NDArray[np.int8], NDArray[np.bool_], list[Problem]]:
    """Canonical genotypes of the valid networks, which of the table's networks these are, and the others' problems."""
    valid = np.ones(len(table.arch_ids), dtype=np.bool_)
    try:
        return space.parse(table.arch_ids), valid, []
    except InputError:
        problems = []
    # One by one only now, to find every line that is wrong.
    for at, arch_id in enumerate(table.arch_ids):
        try:
            space.parse([arch_id])
        except InputError as error:
            valid[at] = False
            problems.append(Problem(int(table.lines[at]), ARCH_COLUMN, error.message.rstrip(".")))
    kept = [arch_id for arch_id, is_valid in zip(table.arch_ids, valid, strict=True) if is_valid]
    return space.parse(kept), valid, problems


def _columns(
    table: CostTable, targets: list[Target], valid: NDArray[np.bool_]
) -> tuple[list[tuple[Target, FloatArray, tuple[str, ...]]], list[str]]:
    """Target, values of the valid networks and flags of each column, and warnings on the columns."""
    columns, warnings = [], []
    if table.empty_cells:
        warnings.append(f"{table.empty_cells} empty cells were taken as not measured.")
    for column, (device, target) in enumerate(zip(table.devices, targets, strict=True)):
        flags, texts = _column_warnings(device, table.values[valid, column], table.metric)
        columns.append((target, table.values[valid, column], flags))
        warnings.extend(texts)
    return columns, warnings


def _is_name(device: str) -> bool:
    return _NO_LETTER.search(device) is None


def _targets(
    devices: Sequence[str], named: Mapping[str, Target], configs: Mapping[str, DeviceConfig]
) -> list[tuple[Target, str]]:
    """The target of each device's column, and a warning if nothing is known of that device.

    What a target's name cannot hold is spelled with dashes; raises InputError if two columns then have one name.
    """
    names = device_names()
    spelled: dict[str, str] = {}
    found = []
    for device in devices:
        if device in named or device in configs:
            found.append((named[device] if device in named else configs[device].target, ""))
            continue
        near = difflib.get_close_matches(device, names, n=1, cutoff=0.7)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        letters = unicodedata.normalize("NFKD", device).encode("ascii", "ignore").decode()
        name = _NO_LETTER.sub("-", letters).strip("-.:_")
        if not name or spelled.setdefault(name, device) != device or (name != device and name in devices):
            raise InputError(
                f"{device!r} cannot be the name of a device of its own.",
                "Rename its column: letters, digits and _ . : - only.",
            )
        target = Target(name, "unknown", "unknown")
        found.append((target, f"No device config is called {device!r}; its numbers are kept as {target}.{hint}"))
    return found


def _column_warnings(device: str, values: FloatArray, metric: Metric) -> tuple[tuple[str, ...], list[str]]:
    """Flags for a column's rows, and warnings on the column."""
    values = values[np.isfinite(values)]
    name = f"{PREFIXES[metric.name]}{device}"
    if not values.size:
        return (IMPORTED,), [f"{name} holds no {metric.name}."]
    if values.size < _FEWEST_WHOLE:
        return (IMPORTED,), []
    if np.ptp(values) == 0:
        return (IMPORTED,), [f"{name} has the same value everywhere."]
    is_whole = metric == LATENCY and np.array_equal(values, np.round(values))
    flags = (IMPORTED, WHOLE_MILLISECONDS) if is_whole else (IMPORTED,)
    return flags, say_repeats(name, values) or say_steps(name, values, metric)


def _network_rows(
    space: str,
    metric: Metric,
    keys: NDArray[np.str_],
    columns: list[tuple[Target, FloatArray, tuple[str, ...]]],
    progress: Progress,
) -> Iterator[Measurement]:
    """One row a network and device. Sorted, because a B-tree takes sorted rows several times as fast; few in the order
    of the file, which may be that of measuring.
    """
    unit = SAMPLES_IN[metric.name]
    for target, values, flags in sorted(columns, key=lambda column: str(column[0])):
        present = np.isfinite(values)
        samples = np.rint(values[present] * metric.divisor(unit)).astype(np.int64)
        names = keys[present]
        order = np.lexsort((samples, names))
        names, samples = names[order], samples[order]
        prefix = _content_prefix(space, target, metric.name, names.tolist(), samples.tolist())
        repetition = _repetitions(names)
        ranks = np.arange(len(order)) if len(order) > MOST_IN_ORDER else np.argsort(order)
        columns_of = (names[ranks], samples[ranks], repetition[ranks], ranks)
        for key, sample, round_, rank in zip(*(column.tolist() for column in columns_of), strict=True):
            yield Measurement(
                target,
                space,
                Role.NETWORK,
                key,
                Clock.UNKNOWN,
                (sample,),
                f"import-{prefix[:12]}",
                round_,
                0,
                metric.name,
                unit,
                flags=flags,
                uuid=f"{prefix}{rank:08x}",
            )
        progress.advance(len(names), str(target))


def _block_rows(space: str, target: Target, entries: tuple[BlockEntry, ...]) -> Iterator[Measurement]:
    ordered = sorted(entries, key=lambda entry: (entry.key, entry.resolution))
    samples = [round(entry.mean_ms * NS_PER_MS) for entry in ordered]
    keys = np.asarray([entry.key for entry in ordered])
    prefix = _content_prefix(space, target, "latency", keys.tolist(), samples)
    for rank, (entry, sample, round_) in enumerate(zip(ordered, samples, _repetitions(keys).tolist(), strict=True)):
        yield Measurement(
            target,
            space,
            Role.BLOCK,
            entry.key,
            Clock.UNKNOWN,
            (sample,),
            f"import-{prefix[:12]}",
            round_,
            0,
            after={"as_printed": list(entry.as_printed), "resolution": entry.resolution},
            flags=(IMPORTED, SUMMARY),
            uuid=f"{prefix}{rank:08x}",
        )


def _repetitions(sorted_names: NDArray[np.str_]) -> NDArray[np.int64]:
    """0, 1, .. within each run of equal names."""
    at = np.arange(len(sorted_names))
    is_first = np.ones(len(sorted_names), dtype=np.bool_)
    is_first[1:] = sorted_names[1:] != sorted_names[:-1]
    repetition: NDArray[np.int64] = at - np.maximum.accumulate(np.where(is_first, at, 0))
    return repetition


def _content_prefix(space: str, target: Target, metric: str, keys: list[str], samples: list[int]) -> str:
    """24 hexadecimal digits that are equal for equal numbers, in whatever file, order and company they come."""
    content = json.dumps([space, str(target), metric, keys, samples], separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:24]
