"""The strict shape of a device YAML, and the words in which a wrong one is explained. Only the loader imports this
file, because it needs pydantic. Reading files and merging ``like`` is the loader's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fleetfront.device_configs.facts import FACT_KINDS, KINDS, FactKind
from fleetfront.targets import PRECISIONS
from fleetfront.text_tables import parse_number

Path = tuple[int | str, ...]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=64)]
Words = Annotated[str, Field(min_length=1, max_length=1000)]

#: Spellings of units that people write in keys, by the unit that the schema wants, with the factor to get there.
_FOREIGN_UNITS: Mapping[str, Mapping[str, float]] = {
    "ghz": {"hz": 1e-9, "khz": 1e-6, "mhz": 1e-3},
    "gflops": {"mflops": 1e-3, "tflops": 1e3},
    "gops": {"mops": 1e-3, "tops": 1e3},
    "gb_per_s": {"mb_per_s": 1e-3, "mbps": 1.25e-4, "gbps": 0.125, "gbs": 1.0, "tb_per_s": 1e3},
    "gib": {"mib": 1 / 1024, "mb": 1e6 / 2**30, "gb": 1e9 / 2**30, "tib": 1024.0},
    "mib": {"kib": 1 / 1024, "kb": 1e3 / 2**20, "mb": 1e6 / 2**20, "gib": 1024.0},
    "ms": {"s": 1e3, "us": 1e-3, "ns": 1e-6},
}


def _no_bool(value: object) -> object:
    """YAML reads ``yes`` and ``on`` as true, which would count as 1, and ``1e3`` as text."""
    if isinstance(value, bool):
        raise ValueError("a number")
    if not isinstance(value, str):
        return value
    try:
        return parse_number(value)
    except ValueError:
        # Pydantic would take 1_0 for 10; as text, it is refused in the words of its key.
        return value.replace("_", " ")


#: Not strict, because YAML 1.1 reads ``1e3`` as text.
Number = Annotated[float, Field(strict=False), BeforeValidator(_no_bool)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class TargetModel(_Strict):
    """How the device is measured by default; the device's own name completes the target."""

    runtime: Name
    precision: Literal[PRECISIONS] = "fp32"  # type: ignore[valid-type]
    threads: int = Field(default=1, ge=1, le=1024)
    batch: int = Field(default=1, ge=1, le=65536)
    delegate: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]*$", max_length=64)] = ""


class FactModel(_Strict):
    """A number and who says so."""

    value: Number
    source: Annotated[str, Field(min_length=8, max_length=600)]


class DeviceModel(_Strict):
    """A device YAML after ``like`` has been merged in."""

    name: Name
    title: Words
    kind: Literal[KINDS]  # type: ignore[valid-type]
    target: TargetModel
    setting: str = Field(default="", max_length=1000)
    facts: dict[str, FactModel] = Field(default_factory=dict)
    aliases: list[Name] = Field(default_factory=list)
    timing_resolution_ms: Annotated[Number, Field(gt=0, le=1000)] | None = None
    notes: str = Field(default="", max_length=2000)


#: What to say instead of pydantic's own words, which speak of Python.
_EXPECTED: Mapping[str, str] = {
    "float_parsing": "a number",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": 'text (put it into quotes, "...")',
    "string_pattern_mismatch": "a name of letters, digits and _ . -",
    "model_type": "keys under it, such as those in docs/devices.md",
    "dict_type": "keys under it, such as those in docs/devices.md",
    "list_type": "a list such as [one, two]",
}

#: Keys of each mapping in a file, by the path of the mapping.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "": ("like", *DeviceModel.model_fields),
    "target": tuple(TargetModel.model_fields),
    "facts": tuple(FACT_KINDS),
    "fact": tuple(FactModel.model_fields),
}


def problems(document: Mapping[str, Any]) -> tuple[DeviceModel | None, list[tuple[Path, str]]]:
    """The validated model, or None and what is wrong with it: (path of the key, explanation) in the file's order."""
    found: list[tuple[Path, str]] = [
        (("facts", key), _unknown_key(key, "facts")) for key in _facts(document) if key not in FACT_KINDS
    ]
    try:
        model = DeviceModel.model_validate(dict(document))
    except ValidationError as error:
        return None, found + [(item["loc"], _explain(item)) for item in error.errors()]
    for key, fact in model.facts.items():
        kind = FACT_KINDS.get(key)
        if kind is not None and not kind.low <= fact.value <= kind.high:
            found.append((("facts", key, "value"), _out_of_range(key, kind, fact.value)))
    return (None if found else model), found


def _facts(document: Mapping[str, Any]) -> list[str]:
    facts = document.get("facts")
    return [key for key in facts if isinstance(key, str)] if isinstance(facts, dict) else []


def _explain(item: Any) -> str:
    path: Path = item["loc"]
    kind = item["type"]
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), _mapping_of(path))
    if kind == "missing":
        return f"the key {path[-1]!r} is missing"
    if kind == "model_type" and path[0] == "facts":
        return f"expected the keys value and source under it, found {_shown(item['input'])}"
    text = _EXPECTED.get(kind) or str(item["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    unit = FACT_KINDS[str(path[1])].unit if _is_fact_value(path) and text == "a number" else ""
    return f"expected {text}{f' of {unit} without the unit' if unit else ''}, found {_shown(item['input'])}"


def _is_fact_value(path: Path) -> bool:
    return len(path) == 3 and path[0] == "facts" and path[2] == "value" and path[1] in FACT_KINDS


def _mapping_of(path: Path) -> str:
    if len(path) == 1:
        return ""
    return "fact" if path[0] == "facts" else str(path[0])


def _unknown_key(key: str, mapping: str) -> str:
    known = _KEYS[mapping]
    for right in known:
        for unit, foreign in _FOREIGN_UNITS.items():
            stem = right.removesuffix(f"_{unit}")
            if stem != right and key == stem:
                return f"unknown key {key!r}: the unit belongs into the key, write {right!r}"
            if stem != right and key.removeprefix(f"{stem}_").lower() in foreign:
                factor = foreign[key.removeprefix(f"{stem}_").lower()]
                return f"unknown key {key!r}: wrong unit, write {right!r} and multiply the value by {factor:.4g}"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"unknown key {key!r}, did you mean {near[0]!r}?"
    return f"unknown key {key!r}, known here: {', '.join(known)}"


def _out_of_range(key: str, kind: FactKind, value: float) -> str:
    text = f"{value:g} is no plausible {key}: expected {kind.low:g} to {kind.high:g} {kind.unit}"
    for unit, foreign in _FOREIGN_UNITS.items():
        if not key.endswith(f"_{unit}"):
            continue
        for name, factor in foreign.items():
            if kind.low <= value * factor <= kind.high:
                return f"{text}; if this is in {name}, write {value * factor:g}"
    return text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
