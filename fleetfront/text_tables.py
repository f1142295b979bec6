"""Read the tables that people keep: numbers as they are printed, rows of a CSV or Parquet file with their lines."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleetfront.errors import FileError, InputError, missing
from fleetfront.files import check_regular

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: The largest public table of this kind has 4 MB; this is a hundred times that.
MAX_BYTES = 512 * 1024 * 1024

#: Python's own ``float`` also reads ``1_0``, full-width digits, ``nan`` and ``infinity``, which nobody measured.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_PLAIN_LETTERS = frozenset("0123456789.eE+- \t")
#: So much of a cell tells what it looks like.
_LOOKED_AT = 100
#: So much of it is shown.
_SHOWN = 40
_BLANKS = " \t\r"

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_WITH_COMMA, _WITH_POINT = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?"), re.compile(r"[+-]?[0-9]*\.[0-9]+.*")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")

#: What a cell looks like that is no number -> what it is, first to last.
_LOOKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]*"), "with thousands separators: write 1234.5"),
    (
        re.compile(r"[+-]?[0-9.]*,[0-9]+(?:[eE][+-]?[0-9]+)?"),
        "with a comma: write a point, and no thousands separators",
    ),
    (re.compile(r"[+-]?[0-9]{1,3}(?:['\u2019 \u00a0\u202f][0-9]{3})+.*"), "with thousands separators: write 1234.5"),
    (re.compile(r"[0-9_.]*_[0-9_.eE+-]*"), "with underscores: write digits alone"),
    (re.compile(r"(?i)[+-]?0x[0-9a-f.p+-]+"), "hexadecimal: write it in decimal"),
    (re.compile(r"(?i)[+-]?(?:inf|infinity|nan)"), "not finite: leave the cell empty if nothing was measured"),
    (
        re.compile(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?\s*[^0-9\s].*"),
        "with a unit or sign behind it: write the number alone",
    ),
)


@dataclass(frozen=True, slots=True)
class TextTable:
    """A CSV file as text.

    Attributes:
        header: names of the columns, without blanks around them, each once.
        rows: cells of each line that is not empty and no comment; all are as long as the header but ``uneven`` ones.
        lines: where each row ends, from 1.
        uneven: (line, cells) of lines that have other cells than the header; they are not among the rows.
        sha256: of the file.
    """

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]
    uneven: tuple[tuple[int, int], ...]
    sha256: str


def parse_number(text: str) -> float:
    """The finite number that a cell prints: digits 0-9, a point, an exponent. Raises ValueError saying what it is."""
    cell = text.strip(_BLANKS)
    if _NUMBER.fullmatch(cell):
        value = float(cell)
        if math.isfinite(value):
            return value
        raise ValueError("beyond all numbers")
    if any(letter.isdigit() and not letter.isascii() for letter in cell):
        raise ValueError("in other digits than 0 to 9")
    raise ValueError(next((what for look, what in _LOOKS if look.fullmatch(cell[:_LOOKED_AT])), "no number"))


def parse_numbers(cells: Sequence[str]) -> FloatArray:
    """float64[n] of ``parse_number``, NaN where a cell is empty or no number."""
    import numpy as np

    if _PLAIN_LETTERS.issuperset("".join(cells)):
        try:
            return np.where(np.isfinite(values := np.array(cells, dtype=np.float64)), values, np.nan)
        except ValueError:
            pass
    return np.array([_number_or_nan(cell) for cell in cells])


def what_is_wrong(cell: str) -> str:
    """Words for a cell that ``parse_numbers`` gave NaN for; empty if it is a number after all."""
    try:
        parse_number(cell)
    except ValueError as error:
        return str(error)
    return ""


def quote_cell(cell: str) -> str:
    """A cell in quotes, as messages show it: what does not fit is cut."""
    return repr(cell) if len(cell) <= _SHOWN else f"{cell[:_SHOWN]!r}... ({len(cell)} letters)"


def read_csv(path: Path) -> TextTable:
    """Read a CSV file as people save it, gzipped or not; or a Parquet file, whose cells are as Python prints them.

    Spreadsheets' byte order mark and first line ``sep=,`` (or ``;``, tab, ``|``) are understood; without that line, a
    header of semicolons or tabs and no comma says the same. Lines that begin with ``#`` are comments, in front of the
    header and behind it. Where columns are not separated by commas, decimal commas become points, if the table shows
    that its commas are no thousands separators and nowhere has a point in a number.

    Raises:
        FileError: it cannot be read, is larger than ``MAX_BYTES``, or no UTF-8 CSV.
        InputError: its columns are separated by something else, or have the same name twice.
        MissingDependency: it is a Parquet file, and pyarrow is not installed.
    """
    data = _bytes(path)
    if _PARQUET in (data[:4], data[-4:]) or path.suffix == ".parquet":
        return _parquet(path, data)
    text = _text(path, _unpacked(path, data))
    said = re.fullmatch(r'(?i)"?sep=(?:(.)|\\t)"?', text.partition("\n")[0].strip(" \r"))
    separator = _separator(text) if said is None else said.group(1) or "\t"
    # An empty line in place of what is no row keeps the numbers of lines.
    kept = ["" if line.lstrip(_BLANKS).startswith("#") else line for line in text.split("\n")]
    if said is not None:
        kept[0] = ""
    reader = csv.reader(io.StringIO("\n".join(kept), newline=""), strict=True, delimiter=separator)
    try:
        numbered = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise FileError(f"{path}: line {reader.line_num}: not CSV: {error}.", "Save it as a plain CSV.") from error
    header = tuple(name.strip() for name in numbered[0][1]) if numbered else ()
    _check_names(path, header)
    _check_separator(path, header)
    body = numbered[1:]
    even = [(line, row) for line, row in body if len(row) == len(header)]
    return TextTable(
        header,
        [row for _, row in even] if separator == "," else _with_points([row for _, row in even]),
        [line for line, _ in even],
        tuple((line, len(row)) for line, row in body if len(row) != len(header)),
        hashlib.sha256(data).hexdigest(),
    )


def _check_names(path: Path, header: Sequence[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{path}: the column {twice[0]!r} occurs twice.", "Rename or remove one of the two.")


def _separator(text: str) -> str:
    """Find what separates columns: what the header has, a comma if it has several or none."""
    lines = (line for line in text.split("\n") if line.strip() and not line.lstrip(_BLANKS).startswith("#"))
    header = next(lines, "")
    found = [one for one in (",", ";", "\t") if one in header]
    return found[0] if len(found) == 1 else ","


def _with_points(rows: list[list[str]]) -> list[list[str]]:
    """The rows with points for decimal commas, where nothing else can be meant. Groups of three digits behind every
    comma may be thousands: then cells stay as they are, and are refused as numbers.
    """
    commas = [cell for row in rows for cell in row if _WITH_COMMA.fullmatch(cell.strip(_BLANKS))]
    is_decimal = any(not _THOUSANDS.fullmatch(cell.strip(_BLANKS)) for cell in commas)
    if not is_decimal or any(_WITH_POINT.fullmatch(cell.strip(_BLANKS)) for row in rows for cell in row):
        return rows
    return [
        [cell.replace(",", ".") if _WITH_COMMA.fullmatch(cell.strip(_BLANKS)) else cell for cell in row] for row in rows
    ]


def _unpacked(path: Path, data: bytes) -> bytes:
    if data[:2] != _GZIP:
        return data
    try:
        text = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path} is a damaged gzip file ({error}).", "Pack it again.") from error
    if len(text) > MAX_BYTES:
        raise FileError(f"{path} unpacks to more than {MAX_BYTES >> 20} MiB.", "Split it into several tables.")
    return text


def _parquet(path: Path, data: bytes) -> TextTable:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing("pyarrow", "parquet", "Reading Parquet files") from error
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        size = sum(file.metadata.row_group(at).total_byte_size for at in range(file.metadata.num_row_groups))
        if size > MAX_BYTES:
            raise FileError(f"{path} unpacks to more than {MAX_BYTES >> 20} MiB.", "Split it into several tables.")
        columns = file.read().to_pydict()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise FileError(
            f"{path} is no Parquet file that can be read ({str(error)[:200]}).", "Write it again."
        ) from error
    header = tuple(name.strip() for name in columns)
    _check_names(path, header)
    cells = [["" if value is None else str(value) for value in values] for values in columns.values()]
    rows = list(zip(*cells, strict=True))
    return TextTable(header, rows, range(1, len(rows) + 1), (), hashlib.sha256(data).hexdigest())


def _number_or_nan(cell: str) -> float:
    try:
        return parse_number(cell)
    except ValueError:
        return math.nan


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileError(f"{path} is larger than {MAX_BYTES >> 20} MiB.", "Split it into several tables.")
        check_regular(path)
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.", "Check path and rights.") from error


def _text(path: Path, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8 text (byte {error.start}).", "Save it as a UTF-8 CSV.") from error
    if "\0" in text:
        raise FileError(f"{path} is not UTF-8 text (byte {text.index(chr(0))} is zero).", "Save it as a UTF-8 CSV.")
    return text


def _check_separator(path: Path, header: Iterable[str]) -> None:
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(separator in cell for cell in header):
            raise InputError(
                f"The columns of {path} are separated by {name}.",
                "Save it with commas between columns and a point in numbers.",
            )
