"""Read ``manifest.json``, which outsiders rely on and others may have changed: typed, finite, of numbers that can be.

The types say what a file may hold; keys that are not known here are kept.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, NotRequired, TypeAlias

from annotated_types import Ge, Gt, Le, Len
from pydantic import ConfigDict, StringConstraints, with_config
from typing_extensions import TypedDict

from fleetfront.plain import from_plain

_Amount: TypeAlias = Annotated[float, Ge(0)]
_Percent: TypeAlias = Annotated[float, Ge(0), Le(100)]
_Count: TypeAlias = Annotated[int, Ge(0)]
_Name: TypeAlias = Annotated[str, Len(1, 10_000)]
_Sha256: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_open = with_config(ConfigDict(extra="allow"))


@_open
class _Port(TypedDict):
    name: str
    shape: list[int | str]
    dtype: str
    layout: NotRequired[str]
    preprocessing: NotRequired[dict[str, Any]]


@_open
class _Judged(TypedDict):
    top1: NotRequired[_Percent | None]
    drop: NotRequired[Annotated[float, Ge(-100), Le(100)] | None]
    images: NotRequired[_Count]


@_open
class _File(TypedDict):
    path: str
    sha256: _Sha256
    format: _Name
    precision: _Name
    input: _Port
    output: _Port
    checks: dict[str, Any]
    minimum_runtime: NotRequired[str]
    bytes: NotRequired[_Count]
    accuracy: NotRequired[_Judged]
    layout: NotRequired[dict[str, Any]]
    contract: NotRequired[dict[str, Any]]
    bound_to: NotRequired[dict[str, Any]]
    inputs: NotRequired[list[_Port]]
    outputs: NotRequired[list[_Port]]


@_open
class _Accuracy(TypedDict):
    value: _Percent
    std: NotRequired[_Amount | None]
    tier: NotRequired[str]
    source: NotRequired[str]


@_open
class _Latency(TypedDict):
    target: _Name
    #: None where the file could not be measured.
    ms: NotRequired[Annotated[float, Gt(0)] | None]
    std_ms: NotRequired[_Amount | None]
    tier: NotRequired[str]
    clock: NotRequired[str | None]
    is_prediction: NotRequired[bool]
    is_of_files: NotRequired[bool]


@_open
class _Size(TypedDict):
    target: _Name
    bytes: Annotated[float, Gt(0)]
    std_bytes: NotRequired[_Amount | None]
    tier: NotRequired[str | None]


@_open
class _Weights(TypedDict):
    random: NotRequired[bool]
    id: NotRequired[str | None]


@_open
class _Manifest(TypedDict):
    arch: str
    space: str
    weights: _Weights
    files: list[_File]
    accuracy: list[_Accuracy]
    latency: list[_Latency]
    size: NotRequired[list[_Size]]
    labels: NotRequired[list[str]]
    made_with: NotRequired[dict[str, str]]


def checked_manifest(plain: dict[str, Any]) -> dict[str, Any]:
    """Check a manifest's finite JSON. Raises ValueError where it is no manifest, naming the place."""
    return dict(from_plain(_Manifest, json.dumps(plain)))
