"""Importing what others measured into the store: tables of whole networks and once-for-all lookup tables of blocks.

Imported rows are marked with their source and licence, and importing the same numbers again changes nothing. Reading
the files themselves is in ``table_file``, ``help_folder`` and ``lookup_yaml``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.device_configs.facts import DeviceConfig
from fleetfront.device_configs.loader import device_names, load_device
from fleetfront.errors import InputError
from fleetfront.pipelines.importing.help_folder import read_help_folder
from fleetfront.pipelines.importing.lookup_yaml import BlockEntry, read_lookup_folder
from fleetfront.pipelines.importing.table_file import ARCH_COLUMN, LATENCY_PREFIX, LatencyTable, Problem, read_table
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Source, Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import NS_PER_MS, Clock
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

_SHOWN = 5
#: So many whole numbers in a row do not happen by chance in a column of measured milliseconds.
_FEWEST_WHOLE = 8
#: Medians outside this range are more likely in another unit than a network's milliseconds.
_PLAUSIBLE_MEDIAN_MS = (0.02, 1e5)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

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
) -> ImportReport:
    """Import a CSV with a column ``arch`` and one ``lat_<device>`` column a device, milliseconds, in one transaction.

    A folder is read as HELP's own ``data/nasbench201`` layout. ``source`` names origin and licence (default: the file's
    name, licence unknown). ``targets`` overrides what a column's device config says. Other columns are ignored, empty
    cells are not measured, a network given twice has two visits.

    Raises:
        InputError: if the file is no such table; and, unless ``skip_invalid``, if a value is not a positive number of
            milliseconds or an architecture is not of the space, with the lines. Nothing is written then.
    """
    table = read_help_folder(path) if path.is_dir() else read_table(path)
    genotypes, valid, unknown_archs = _parsed(space, table)
    problems = (*table.problems, *unknown_archs)
    if not valid.any():
        raise InputError(
            f"{path} holds no architecture of {space.name} ({unknown_archs[0]}).",
            "Name the space that they are of: --space NAME.",
        )
    if problems and not skip_invalid:
        raise _refusal(path, tuple(sorted(problems, key=lambda problem: problem.line)))
    resolved = [_target(device, targets or {}) for device in table.devices]
    columns, warnings = _columns(table, [target for target, _ in resolved], valid)
    named = source or Source(path.name, "unknown")
    origin = Source(_one_line(named.name), _one_line(named.licence), named.url, table.sha256)
    rows = sum(int(np.isfinite(ms).sum()) for _, ms, _ in columns)
    if not rows:
        raise InputError(f"{path} holds no latency that can be imported.", "Fill in its lat_<device> columns.")
    keys = np.asarray(space.arch_ids(genotypes))
    distinct = len(np.unique(keys))
    repeated = len(keys) - distinct
    if repeated:
        warnings.append(
            f"{repeated} lines repeat an architecture and count as further measurements: the median serves."
        )
    before = _repeated_visits(store, space.name)
    progress.start(f"Importing {path.name}", rows)
    new = store.append(_network_rows(space.name, keys, columns, progress), origin)
    progress.finish()
    warnings.extend(_mixed(before, _repeated_visits(store, space.name), repeated))
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


def import_ofa_lut(
    folder: Path,
    device: str,
    store: Store,
    *,
    space: OfaMbv3Space | None = None,
    source: Source = OFA_SOURCE,
    skip_invalid: bool = False,
) -> ImportReport:
    """Import once-for-all's YAML lookup tables (``<resolution>_lookup_table.yaml``) as measurements of blocks.

    ``device`` is the name of a device config, or of a new device. Each entry becomes one visit with the printed mean as
    its sample; mean, std and count stand in its conditions as printed. The last layers (final expansion, pooling,
    feature mix, classifier), which the tables list one by one, are one block here: the sum of their means.

    Raises:
        InputError: if the folder has no such file, or (unless ``skip_invalid``) an entry is not a block of the space or
            not a positive number, with file and line.
    """
    family = space or ofa_mbv3_w12()
    target, warning = _target(device, {})
    found = read_lookup_folder(folder, family)
    if found.problems and not skip_invalid:
        raise _refusal(folder, found.problems)
    if not found.entries:
        raise InputError(f"{folder} holds no block of {family.name}.", "Name the folder with the lookup tables.")
    origin = Source(source.name, source.licence, source.url, found.sha256)
    rows = list(_block_rows(family.name, target, found.entries))
    new = store.append(rows, origin)
    warnings = tuple(text for text in (warning,) if text)
    return ImportReport(origin, family.name, (target,), len(rows), new, len(rows) - new, warnings, found.problems)


def _one_line(text: str) -> str:
    """Printable: file names may hold newlines and what terminals obey, and sources are shown in tables."""
    return "".join(char if char.isprintable() else " " for char in text)


def _repeated_visits(store: Store, space: str) -> dict[Target, int]:
    """How many imported rows of each target are of a network that has another one."""
    held = [h for h in store.holdings() if h.space == space and h.is_imported and h.role is Role.NETWORK]
    return {holding.target: holding.visits - holding.keys for holding in held}


def _mixed(before: Mapping[Target, int], after: Mapping[Target, int], repeated: int) -> Iterator[str]:
    """Warnings for targets whose networks have other numbers from an earlier import; ``repeated`` are in this file."""
    for target, visits in after.items():
        known = visits - before.get(target, 0) - repeated
        if known > 0:
            yield (
                f"{known} networks of {target.device} were imported before with other numbers, or in another "
                "selection: both count, and the median serves. To replace them, import into a new --store."
            )


def _parsed(space: SearchSpace, table: LatencyTable) -> tuple[NDArray[np.int8], NDArray[np.bool_], list[Problem]]:
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
    table: LatencyTable, targets: list[Target], valid: NDArray[np.bool_]
) -> tuple[list[tuple[Target, FloatArray, tuple[str, ...]]], list[str]]:
    """Target, ms of the valid networks and flags of each column, and warnings on the columns."""
    columns, warnings = [], []
    if table.empty_cells:
        warnings.append(f"{table.empty_cells} empty cells were taken as not measured.")
    for column, (device, target) in enumerate(zip(table.devices, targets, strict=True)):
        flags, texts = _column_warnings(device, table.ms[valid, column])
        columns.append((target, table.ms[valid, column], flags))
        warnings.extend(texts)
    return columns, warnings


def _refusal(path: Path, problems: tuple[Problem, ...]) -> InputError:
    shown = "; ".join(str(problem) for problem in problems[:_SHOWN])
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return InputError(
        f"{path} was not imported: {shown}{more}.", "Correct these lines, or leave them out with --skip-invalid."
    )


def _target(device: str, targets: Mapping[str, Target]) -> tuple[Target, str]:
    """The target of a device's column, and a warning if nothing is known of that device."""
    if device in targets:
        return targets[device], ""
    config = _config(device)
    if config is not None:
        return config.target, ""
    near = difflib.get_close_matches(device, device_names(), n=1, cutoff=0.7)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    target = Target(device, "unknown", "unknown")
    return target, f"No device config is called {device!r}; its numbers are kept as {target}.{hint}"


def _config(device: str) -> DeviceConfig | None:
    """None where no file has that name; a file that is there but wrong must still explain itself."""
    try:
        return load_device(device)
    except InputError as error:
        if error.message.startswith("Unknown device"):
            return None
        raise


def _column_warnings(device: str, ms: FloatArray) -> tuple[tuple[str, ...], list[str]]:
    """Flags for a column's rows, and warnings on the column."""
    values = ms[np.isfinite(ms)]
    name = f"{LATENCY_PREFIX}{device}"
    if not values.size:
        return (IMPORTED,), [f"{name} holds no latency."]
    texts = []
    low, high = _PLAUSIBLE_MEDIAN_MS
    if not low <= np.median(values) <= high:
        texts.append(f"{name} has a median of {np.median(values):g} ms: check that its unit is milliseconds.")
    if values.size >= _FEWEST_WHOLE and np.ptp(values) == 0:
        texts.append(f"{name} has the same value everywhere.")
    elif values.size >= _FEWEST_WHOLE and np.array_equal(values, np.round(values)):
        step = 100 * 0.5 / float(np.median(values))
        texts.append(
            f"{name} is in whole milliseconds: rounding alone is up to {step:.1f} % of a typical latency, and small "
            "differences mean nothing."
        )
        return (IMPORTED, WHOLE_MILLISECONDS), texts
    return (IMPORTED,), texts


def _network_rows(
    space: str,
    keys: NDArray[np.str_],
    columns: list[tuple[Target, FloatArray, tuple[str, ...]]],
    progress: Progress,
) -> Iterator[Measurement]:
    """One row a network and device. Sorted, because a B-tree takes sorted rows several times as fast."""
    for target, ms, flags in sorted(columns, key=lambda column: str(column[0])):
        present = np.isfinite(ms)
        samples = np.rint(ms[present] * NS_PER_MS).astype(np.int64)
        names = keys[present]
        order = np.lexsort((samples, names))
        names, samples = names[order], samples[order]
        prefix = _content_prefix(space, target, "latency", names.tolist(), samples.tolist())
        repetition = _repetitions(names)
        rows = zip(names.tolist(), samples.tolist(), repetition.tolist(), strict=True)
        for rank, (key, sample, round_) in enumerate(rows):
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
