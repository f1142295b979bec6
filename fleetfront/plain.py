"""Turn records into plain JSON and back: the one typed, finite and bounded door that files come in through.

A record is a dataclass whose fields are plain values, enums, other records, tuples, mappings, ``FloatArray``, or
classes that say how they are spelled (``Target``). Further bounds are written where the field is declared, with
``annotated_types``: ``accuracy: Annotated[float, Ge(0), Le(100)]``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fleetfront.errors import FileError
from fleetfront.foreign_text import recognise

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

#: No file of ours comes near; a larger one is refused before it is read.
MOST_BYTES = 256 << 20
#: Whole numbers beyond this are nobody's count: 64 bits hold all that is stored.
_LARGEST_INT = 2**63 - 1

#: Made once for each kind of record: that takes milliseconds.
_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def to_plain(record: Any) -> Any:
    """The record as values that ``json.dumps`` takes; ``from_plain`` reads them back equal."""
    return _adapter(type(record)).dump_python(record, mode="json")


def from_plain(kind: type[T], text: str | bytes) -> T:
    """The record of type ``kind`` that JSON ``text`` spells. Unknown keys are passed over: newer files may have more.

    Raises:
        ValueError: ``text`` is no JSON, holds NaN, infinity, a number beyond 64 bits or a lone surrogate, is nested
            deeper than anything of ours, or is not such a record; the message says where.
    """
    from pydantic import ValidationError

    parse_finite_json(text)
    try:
        return _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def parse_finite_json(text: str | bytes) -> Any:
    """Plain values of JSON ``text``, every number finite and within 64 bits. Raises ValueError on anything else."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse, parse_int=_bounded_int, parse_float=_finite_float)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if "\\u" in text:
        _check_surrogates(value)
    return value


def read_record(path: Path, kind: type[T], what: str, remedy: str, most_bytes: int = MOST_BYTES) -> T:
    """The record in the JSON file at ``path``; ``what`` it is called and what to do, for the error.

    Raises:
        FileError: missing, too large, not a regular file, or not such a record.
    """
    return read_file(path, lambda data: from_plain(kind, data), what, remedy, most_bytes)


def read_file(path: Path, parse: Callable[[bytes], T], what: str, remedy: str, most_bytes: int = MOST_BYTES) -> T:
    """Parse the bytes at ``path`` by ``parse``; its ValueError becomes the reason of a FileError.

    Raises FileError, too, if the file is missing, larger than ``most_bytes``, or no regular file: a pipe never ends.
    """
    try:
        if not path.is_file():
            raise FileError(f"{path} is {'no regular file' if path.exists() else 'missing'}.", remedy)
        if path.stat().st_size > most_bytes:
            raise FileError(f"{path} has {path.stat().st_size:,} bytes, more than any {what}.", remedy)
        return parse(path.read_bytes())
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror or error}).", "Check its permissions.") from error
    except ValueError as error:
        printed = recognise(path)
        reason = f"it is {printed}" if printed else str(error)
        raise FileError(f"{path} is no whole {what}: {reason}.", remedy) from error


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    from pydantic import TypeAdapter

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _refuse(constant: str) -> float:
    raise ValueError(f"it holds {constant}, which is no number")


def _bounded_int(digits: str) -> int:
    # Longer ones are not even converted: that takes time beyond all bounds.
    if len(digits) > len(str(_LARGEST_INT)) + 1 or abs(int(digits)) > _LARGEST_INT:
        raise ValueError(f"it holds a whole number of {len(digits)} digits")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"it holds {digits[:20]}, which is beyond all numbers")
    return value


def _check_surrogates(value: Any) -> None:
    pending = [value]
    while pending:
        entry = pending.pop()
        if isinstance(entry, dict):
            pending += [*entry, *entry.values()]
        elif isinstance(entry, list):
            pending += entry
        elif isinstance(entry, str) and any("\ud800" <= letter <= "\udfff" for letter in entry):
            raise ValueError("it holds half a character (a lone surrogate)")
