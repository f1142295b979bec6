"""Write the rows of a store as one table for other programs: a Parquet file, or a CSV, gzipped or not."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from fleetfront.errors import InputError, missing, unknown
from fleetfront.files import whole_file
from fleetfront.profilers.store.cells import Cells
from fleetfront.profilers.store.conditions import pack_facts
from fleetfront.profilers.store.contents import StoreContents
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.targets import Target

FORMATS = ("parquet", "csv")
#: Columns of text that repeat, numbers, samples, and other text, in the order of the table.
_REPEATING = ("target", "device", "runtime", "precision", "delegate", "space", "role", "key", "metric", "unit", "clock")
_NUMBERS = ("threads", "batch", "round", "started_ns")
COLUMNS = (
    "uuid", "target", "device", "runtime", "precision", "threads", "batch", "delegate", "space", "role", "key",
    "metric", "unit", "clock", "campaign", "round", "started_ns", "samples", "before", "after", "flags", "error",
    "source",
)  # fmt: skip
_SAMPLES = COLUMNS.index("samples")
#: The flag of rows that somebody else measured.
_IMPORTED = "imported"
_ROWS_AT_ONCE = 20_000
_SIGNS = (b"PAR1", ",".join(COLUMNS).encode())
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Exported:
    """A table that was written: a row for each visit and clock."""

    path: Path
    format: str
    rows: int
    samples: int
    left_out: int


class _Table(Protocol):
    """An open table that rows are added to."""

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows with the values of ``COLUMNS``; samples are a tuple of integers."""


def format_of(path: Path) -> str | None:
    """The format that a file's name asks for; None if it asks for none."""
    name = path.name.lower()
    return "parquet" if name.endswith(".parquet") else "csv" if name.endswith((".csv", ".csv.gz")) else None


def export_store(
    store: Store,
    path: Path,
    kind: str,
    *,
    devices: Sequence[str] = (),
    force: bool = False,
    progress: Progress = SILENT,
) -> Exported:
    """Write the rows of ``devices`` (none: of all) to ``path``, whole or not at all; memory for some thousand rows.

    ``kind`` is one of ``FORMATS``; a CSV whose name ends in ``.gz`` is gzipped. A file that is no export is replaced
    only with ``force``.

    Raises:
        InputError: nothing is held of a device or at all, or ``path`` cannot be written or is another's file.
        MissingDependency: Parquet was asked for, and pyarrow is not installed.
    """
    with store.at_one_moment() as held:
        return _export(store, held, path, kind, devices, force, progress)


def _export(
    store: Store,
    held: StoreContents,
    path: Path,
    kind: str,
    devices: Sequence[str],
    force: bool,
    progress: Progress,
) -> Exported:
    known = [(Target.parse(one.target), one) for one in held.targets if one.is_known]
    names = sorted({target.device for target, _ in known})
    for device in devices:
        if device not in names:
            raise unknown("device", device, names)
    wanted = [(target, one) for target, one in known if not devices or target.device in devices]
    if not wanted:
        raise InputError(f"{store.path} holds no measurements.", "Run: fleetfront profile --device cpu")
    _check_replaceable(path, store.path, force)
    opened = {"parquet": _parquet, "csv": _csv}[kind]
    rows = samples = 0
    progress.start(f"Writing {path.name}", sum(one.rows for _, one in wanted))
    try:
        with whole_file(path) as unfinished, opened(unfinished, path.suffix.lower() == ".gz") as table:
            for target, one in wanted:
                cells = store.rows(target, one.space)
                made = _rows(cells, "; ".join(f"{s.name} ({s.licence})" for s in store.sources(target, one.space)))
                while piece := list(islice(made, _ROWS_AT_ONCE)):
                    table.add(piece)
                    rows += len(piece)
                    samples += sum(len(row[_SAMPLES]) for row in piece)
                    progress.advance(len(piece))
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror or error}).", "Choose another --out.") from error
    finally:
        progress.finish()
    chosen = sum(one.rows for _, one in wanted)
    unnamed = 0 if devices else sum(one.rows for one in held.targets if not one.is_known)
    return Exported(path, kind, rows, samples, chosen - rows + unnamed)


def _check_replaceable(path: Path, store: Path, force: bool) -> None:
    if path.exists() and path.samefile(store):
        raise InputError(f"{path} is the store itself.", "Name another file with --out.")
    if force or not path.is_file():
        return
    with path.open("rb") as file:
        beginning = file.read(2)
    opened = gzip.open if beginning == _GZIP else open
    try:
        with opened(path, "rb") as file:
            beginning = file.read(len(_SIGNS[1]))
    except (OSError, EOFError):
        beginning = b"?"
    if beginning and not beginning.startswith(_SIGNS):
        raise InputError(f"{path} is there and is no export.", "Choose another --out, or replace it with --force.")


def _rows(cells: Iterator[Cells], source: str) -> Iterator[tuple[Any, ...]]:
    for one in cells:
        t = one.target
        yield (
            one.uuid, str(t), t.device, t.runtime, t.precision, t.threads, t.batch, t.delegate, one.space,
            one.role.value, one.key, one.metric, one.unit, one.clock.value, one.campaign, one.round, one.started_ns,
            one.samples, pack_facts(one.before), pack_facts(one.after), pack_facts(one.flags), one.error,
            source if _IMPORTED in one.flags else None,
        )  # fmt: skip


@contextmanager
def _csv(path: Path, is_gzipped: bool) -> Iterator[_Table]:
    with path.open("xb") as raw:
        binary: AbstractContextManager[Any] = gzip.GzipFile("", "wb", 6, raw, mtime=0) if is_gzipped else raw
        with binary as bytes_, io.TextIOWrapper(bytes_, encoding="utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            yield _CsvTable(writer)


class _CsvTable:
    """Samples are one cell, with blanks between them."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for row in rows:
            self._writer.writerow((*row[:_SAMPLES], " ".join(map(str, row[_SAMPLES])), *row[_SAMPLES + 1 :]))


@contextmanager
def _parquet(path: Path, _: bool) -> Iterator[_Table]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing("pyarrow", "parquet", "Writing Parquet files") from error
    types: dict[str, Any] = dict.fromkeys(_NUMBERS, pyarrow.int64())
    types["samples"] = pyarrow.list_(pyarrow.int64())
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in COLUMNS])
    repeating = [name for name in (*_REPEATING, "campaign", "flags", "source")]
    with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeating) as writer:
        yield _ParquetTable(pyarrow, schema, writer)


class _ParquetTable:
    """Samples are a list of integers; each call of ``add`` is a row group."""

    def __init__(self, pyarrow: Any, schema: Any, writer: Any) -> None:
        self._pyarrow, self._schema, self._writer = pyarrow, schema, writer

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        columns = [
            self._pyarrow.array(column, type=kind.type)
            for column, kind in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        self._writer.write_table(self._pyarrow.Table.from_arrays(columns, schema=self._schema))
