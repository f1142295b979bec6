"""Read once-for-all's lookup tables: which block of a space an entry's name means, and its printed numbers.

An entry is called ``expanded_conv-input:80x80x24-output:40x40x32-expand:72-kernel:3-stride:2-idskip:0-se:0-hs:0`` and
holds ``count``, ``mean`` (ms) and, for most, ``std``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetfront.device_configs.yaml_file import Document, read_yaml
from fleetfront.errors import InputError
from fleetfront.pipelines.importing.table_file import MOST_MS, Problem, number_of
from fleetfront.quantities import LATENCY, NS_PER_MS
from fleetfront.spaces.ofa_mbv3.layout import HEAD, MBCONV, STEM, BlockShape, block_shape
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space

_FILE = re.compile(r"([0-9]{1,5})_lookup_table\.yaml\Z")
_FIELD = re.compile(r"-(\w+):([0-9x]+)")
_MAX_BYTES = 1024 * 1024
_LONGEST_SHOWN = 60

#: Entries that together are the last block of a network.
_HEAD_PARTS = ("AvgPool2D", "Conv_1", "Conv_2", "Logits")

#: (family, kernel, stride, width_in, width_mid, width_out, side_in, has_se, is_hard_swish)
_Signature = tuple[str, int, int, int, int, int, int, bool, bool]


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """One block at one resolution. ``as_printed``: (name, count, mean, std) of each entry that it was made of."""

    key: str
    resolution: int
    mean_ms: float
    as_printed: tuple[tuple[str, int | None, float, float | None], ...]


@dataclass(frozen=True, slots=True)
class LookupFolder:
    """All entries of a folder, what could not be read, and a hash over its files."""

    entries: tuple[BlockEntry, ...]
    problems: tuple[Problem, ...]
    sha256: str


def read_lookup_folder(folder: Path, space: OfaMbv3Space, factor: float = 1.0) -> LookupFolder:
    """Read every ``<resolution>_lookup_table.yaml`` of a folder; ``factor`` milliseconds are one of its unit.

    Raises InputError if there is none, or one is no YAML mapping. Wrong entries are ``problems``.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Name the folder with once-for-all's lookup tables.")
    files = {int(match[1]): path for path in folder.glob("*.yaml") if (match := _FILE.match(path.name))}
    if not files:
        raise InputError(
            f"{folder} holds no <resolution>_lookup_table.yaml.", "Name the folder with once-for-all's lookup tables."
        )
    keys = {_signature(block_shape(block)): block.key for block in space.vocabulary}
    digest = hashlib.sha256()
    entries: list[BlockEntry] = []
    problems: list[Problem] = []
    for resolution, path in sorted(files.items()):
        document = read_yaml(path, _MAX_BYTES)
        digest.update(path.read_bytes())
        if not isinstance(document.value, dict):
            raise InputError(f"{path} holds no entries.", "Download it again.")
        found, wrong = _file_entries(document, resolution, keys, factor)
        entries.extend(found)
        problems.extend(Problem(p.line, path.name, p.text) for p in sorted(wrong, key=lambda p: p.line))
    return LookupFolder(tuple(entries), tuple(problems), digest.hexdigest())


def _signature(shape: BlockShape) -> _Signature:
    swish = shape.activation == "hard_swish"
    return (
        shape.family,
        shape.kernel,
        shape.stride,
        shape.width_in,
        shape.width_mid,
        shape.width_out,
        shape.side_in,
        shape.reduced > 0,
        swish,
    )


def _file_entries(
    document: Document, resolution: int, keys: Mapping[_Signature, str], factor: float
) -> tuple[list[BlockEntry], list[Problem]]:
    entries, problems = [], []
    parts: dict[str, tuple[str, dict[str, str], tuple[str, int | None, float, float | None]]] = {}
    for name, values in document.value.items():
        line = document.line((name,))
        kind, _, rest = name.partition("-")
        fields = dict(_FIELD.findall("-" + rest))
        printed = _printed(name, values, factor)
        if isinstance(printed, str):
            problems.append(Problem(line, "", f"{name}: {printed}"))
        elif kind in _HEAD_PARTS:
            parts[kind] = (name, fields, printed)
        else:
            key = keys.get(_entry_signature(kind, fields) or ("", 0, 0, 0, 0, 0, 0, False, False))
            if key is None:
                problems.append(Problem(line, "", f"{name} is not a block of this space"))
            else:
                entries.append(BlockEntry(key, resolution, factor * printed[2], (printed,)))
    head = _head_entry(parts, resolution, keys, factor)
    if isinstance(head, str):
        problems.append(Problem(1, "", head))
    else:
        entries.append(head)
    return entries, problems


def _printed(name: str, values: Any, factor: float) -> tuple[str, int | None, float, float | None] | str:
    """The printed numbers of an entry, or what is wrong with them."""
    if not isinstance(values, dict) or "mean" not in values:
        return "no mean"
    mean, std, count = values["mean"], values.get("std"), values.get("count")
    for what, value in (("mean", mean), ("std", std), ("count", count)):
        if value is not None and not _is_plain_number(value):
            return f"{what} is {_shortened(value)}"
    if mean is None or not 1 / NS_PER_MS <= factor * mean <= MOST_MS:
        return f"mean is {mean!r}, not {number_of(LATENCY)}"
    return (name, None if count is None else int(count), float(mean), None if std is None else float(std))


def _is_plain_number(value: object) -> bool:
    """Tell whether it is a number from 0 to what 64 bits hold; YAML knows integers of any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**63


def _shortened(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or -(2**63) < value < 2**63 else "a number of too many digits"
    return text if len(text) < _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _sides(text: str) -> tuple[int, int]:
    """Side and channels of ``80x80x24``. Raises ValueError on anything else."""
    height, width, channels = (int(number) for number in text.split("x"))
    if height != width:
        raise ValueError(text)
    return height, channels


def _entry_signature(kind: str, fields: Mapping[str, str]) -> _Signature | None:
    try:
        side_in, width_in = _sides(fields["input"])
        side_out, width_out = _sides(fields["output"])
        if kind == "Conv":
            return (STEM, 3, 2, width_in, 0, width_out, side_in, False, True)
        if kind != "expanded_conv" or int(fields["idskip"]) != (width_in == width_out and side_in == side_out):
            return None
        stride, kernel, mid = int(fields["stride"]), int(fields["kernel"]), int(fields["expand"])
        has_se, is_swish = fields["se"] == "1", fields["hs"] == "1"
        return (MBCONV, kernel, stride, width_in, mid, width_out, side_in, has_se, is_swish)
    except (KeyError, ValueError):
        return None


def _head_entry(
    parts: Mapping[str, tuple[str, dict[str, str], tuple[str, int | None, float, float | None]]],
    resolution: int,
    keys: Mapping[_Signature, str],
    factor: float,
) -> BlockEntry | str:
    lacking = [kind for kind in _HEAD_PARTS if kind not in parts]
    if lacking:
        return f"the last layers lack {', '.join(lacking)}"
    try:
        side, width_in = _sides(parts["Conv_1"][1]["input"])
        _, expand = _sides(parts["Conv_1"][1]["output"])
        _, mix = _sides(parts["Conv_2"][1]["output"])
        key = keys[(HEAD, 1, 1, width_in, expand, mix, side, False, True)]
    except (KeyError, ValueError):
        return f"the last layers ({parts['Conv_1'][0]}, {parts['Conv_2'][0]}) are not those of this space"
    printed = tuple(parts[kind][2] for kind in _HEAD_PARTS)
    return BlockEntry(key, resolution, factor * sum(values[2] for values in printed), printed)
