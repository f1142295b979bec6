"""Read what NVIDIA's ``trtexec`` exports as JSON: times of each inference, times of layers, and what layers there are.

The formats are those that trtexec of TensorRT 7 to 11 writes (``--exportTimes``, ``--exportProfile``,
``--exportLayerInfo``). What becomes of the numbers is decided in ``pipelines.import_trtexec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetfront.errors import InputError
from fleetfront.files import check_regular
from fleetfront.foreign_text import recognise
from fleetfront.plain import parse_finite_json

_NS_PER_MS = 1e6
#: A trace of an hour of small inferences is some hundred megabytes; beyond that it is not one file of times.
_MOST_BYTES = 1 << 30
#: Twelve days for one inference: a mistake.
_MOST_MS = 1e9


@dataclass(frozen=True, slots=True)
class TrtTimes:
    """One entry an inference, nanoseconds: on the GPU, and from the host's first byte in to its last byte out.

    ``latency_ns`` is empty where a version of trtexec did not write it.
    """

    compute_ns: tuple[int, ...]
    latency_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TrtLayer:
    """Milliseconds of one layer, mean and (None in old versions) median over the profiled runs."""

    name: str
    average_ms: float
    median_ms: float | None


@dataclass(frozen=True, slots=True)
class TrtProfile:
    """Layers in the order in which they run, over ``runs`` inferences. Profiling slows a network down."""

    runs: int
    layers: tuple[TrtLayer, ...]


def read_times(path: Path) -> TrtTimes:
    """A file of ``--exportTimes``. Raises InputError with file, entry and value."""
    entries = _list(path, "--exportTimes")
    if not entries:
        raise InputError(f"{path} holds no inference.", "Run trtexec longer, e.g. with --iterations=200.")
    compute = tuple(_ns(path, place, entry, "computeMs") for place, entry in enumerate(entries))
    has_latency = all("latencyMs" in entry for entry in entries)
    latency = tuple(_ns(path, place, entry, "latencyMs") for place, entry in enumerate(entries)) if has_latency else ()
    return TrtTimes(compute, latency)


def read_profile(path: Path) -> TrtProfile:
    """A file of ``--exportProfile``. Raises InputError with file, entry and value."""
    entries = _list(path, "--exportProfile")
    if not entries or not isinstance(entries[0].get("count"), int) or entries[0]["count"] < 1:
        raise _wrong(path, "--exportProfile", "its first entry has no count of runs")
    layers = []
    for place, entry in enumerate(entries[1:], start=1):
        name = entry.get("name")
        if not isinstance(name, str):
            raise _wrong(path, "--exportProfile", f"entry {place} has no name")
        median = _number(path, place, entry, "medianMs") if "medianMs" in entry else None
        layers.append(TrtLayer(name, _number(path, place, entry, "averageMs"), median))
    return TrtProfile(int(entries[0]["count"]), tuple(layers))


def read_layers(path: Path) -> tuple[str, ...]:
    """The names of the layers in a file of ``--exportLayerInfo``; with detailed verbosity they are objects.

    Raises InputError if it is no such file.
    """
    data = _loaded(path, "--exportLayerInfo")
    layers = data.get("Layers") if isinstance(data, dict) else None
    if not isinstance(layers, list):
        raise _wrong(path, "--exportLayerInfo", "it has no list Layers")
    names: list[Any] = [layer.get("Name") if isinstance(layer, dict) else layer for layer in layers]
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise _wrong(path, "--exportLayerInfo", f"layer {place} has no Name")
    return tuple(names)


def _list(path: Path, option: str) -> list[Mapping[str, Any]]:
    data = _loaded(path, option)
    if not isinstance(data, list):
        raise _wrong(path, option, "it is not a list")
    for place, entry in enumerate(data):
        if not isinstance(entry, dict):
            raise _wrong(path, option, f"entry {place} is not an object")
    return data


def _loaded(path: Path, option: str) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _wrong(path, option, f"it is larger than {_MOST_BYTES >> 20} MiB")
        check_regular(path)
        return parse_finite_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).", "Give the file that trtexec wrote.") from error
    except ValueError as error:
        # trtexec writes "nan" where it divided by zero, and leaves half a file when it is killed.
        printed = recognise(path)
        raise _wrong(path, option, f"it is {printed}" if printed else f"it is not JSON: {error}") from error


def _ns(path: Path, place: int, entry: Mapping[str, Any], key: str) -> int:
    return max(1, round(_number(path, place, entry, key) * _NS_PER_MS))


def _number(path: Path, place: int, entry: Mapping[str, Any], key: str) -> float:
    value = entry.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < float(value or 0) <= _MOST_MS:
        raise InputError(
            f"{path}: entry {place} has {key} {repr(value)[:40]}: no positive milliseconds up to {_MOST_MS:g}.",
            "Run trtexec again; a failed inference is not a measurement.",
        )
    return float(value or 0)


def _wrong(path: Path, option: str, why: str) -> InputError:
    return InputError(f"{path} is not a file of trtexec {option} ({why}).", f"Write it with: trtexec {option}=FILE")
