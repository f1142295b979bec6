"""Comparing two results: fronts and latency models before and after a change, with the bars that a user sets.

A result is a ``fronts.json``, a fit's JSON, what ``profile --file --json`` printed, a measured network in parts, or a
folder with such files.
Nothing is searched, fitted or measured here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from fleetfront.errors import FileError, InputError, unknown
from fleetfront.pipelines.compare_files import FILE_SCHEMA, READERS, FileKey, MeasuredFile, noise_between
from fleetfront.pipelines.compare_precisions import quantise_fronts
from fleetfront.pipelines.deploy.parts import MANIFEST as PARTS_FILE
from fleetfront.pipelines.fit.report import SCHEMA as FIT_SCHEMA
from fleetfront.plain import from_plain, parse_finite_json, read_file
from fleetfront.search.front import FULL, hypervolume
from fleetfront.search.fronts_file import FRONTS_FILE, load_fronts
from fleetfront.search.results import SCHEMA as FRONTS_SCHEMA
from fleetfront.search.results import DeviceFront, Fronts, front_arrays
from fleetfront.spaces.precisions import SEPARATOR
from fleetfront.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that two results are compared in.

    Attributes:
        meaning: for people, with the unit of a change that is not in percent.
        more_is_better: which way a change improves.
    """

    name: str
    meaning: str
    more_is_better: bool


#: In the order in which they are shown.
QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity("hypervolume", "hypervolume of a front against the first result's reference point", True),
        Quantity("accuracy", "highest accuracy of a front, percentage points", True),
        Quantity("loss", "lowest of a front where lower is better (perplexity), in its own unit", False),
        Quantity("latency", "latency of a file, or at the accuracy of the first result's knee, ms", False),
        Quantity("p90", "90th percentile of a file's wall clock, ms", False),
        Quantity(
            "optimism", "how much slower measured networks of a front are than predicted, percentage points", False
        ),
        Quantity("error", "mean absolute error of a latency model on held-out networks, percentage points", False),
        Quantity("within_10", "share of held-out networks predicted within 10 %, percentage points", True),
        Quantity("coverage", "share of held-out networks inside their 90 % interval, percentage points", True),
    )
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A change that fails a comparison: below ``limit`` if that is negative or -0, above it otherwise.

    Attributes:
        is_relative: ``limit`` is in percent of the first value; otherwise in the quantity's own unit.
        is_lower: whether falling below ``limit`` fails.
        is_noise: the limit is what two measurements of one thing differ by; ``limit`` is then 0.
    """

    quantity: str
    limit: float
    is_relative: bool
    is_lower: bool
    is_noise: bool = False

    def is_missed(self, before: float, after: float, noise: float | None = None) -> bool:
        """Tell whether the change from ``before`` to ``after`` goes beyond the bar."""
        if self.is_noise:
            change = after - before
            return noise is not None and (change < -noise if self.is_lower else change > noise)
        change = relative_change(before, after) if self.is_relative else after - before
        # Differences of rounding in the last digits are no change.
        slack = 1e-9 * max(abs(before), abs(after), 1.0)
        return change < self.limit - slack if self.is_lower else change > self.limit + slack

    @property
    def fails_improvements(self) -> bool:
        """True if the bar is on the side where the quantity gets better. More coverage is neither."""
        return self.quantity != "coverage" and self.is_lower != QUANTITIES[self.quantity].more_is_better

    def __str__(self) -> str:
        sign = "-" if self.is_lower else "+"
        if self.is_noise:
            return f"{self.quantity}:{sign}noise"
        return f"{self.quantity}:{sign}{abs(self.limit):g}{'%' if self.is_relative else ''}"


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of one subject (a device's front, or a latency model) in both results; None where it is missing.

    Attributes:
        missed: the bar that the change went beyond, if any. What vanished from the second result misses every bar.
        noise: what two measurements of an unchanged thing differ by at most, nine times of ten; None if not known.
    """

    subject: str
    quantity: str
    before: float | None
    after: float | None
    missed: str = ""
    noise: float | None = None

    @property
    def change(self) -> float | None:
        """after - before, in the quantity's unit."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def change_percent(self) -> float | None:
        """The same in percent of ``before``."""
        if self.before is None or self.after is None:
            return None
        change = relative_change(self.before, self.after)
        return change if math.isfinite(change) else None


@dataclass(frozen=True, slots=True)
class _Scores:
    """The compared part of a fit's report."""

    mape: Annotated[float, Ge(0)] | None = None
    within_10: Annotated[float, Ge(0), Le(1)] | None = None
    coverage_90: Annotated[float, Ge(0), Le(1)] | None = None


@dataclass(frozen=True, slots=True)
class _Fit:
    space: str
    target: str
    clock: str
    held_out: _Scores | None = None


@dataclass(frozen=True, slots=True)
class _Report(_Fit):
    other_clocks: tuple[_Fit, ...] = ()


_Found = tuple[Fronts, DeviceFront]
#: A baseline, not a result: in a folder that has fronts of other strategies too, theirs are compared.
_BASELINE = "random"


@dataclass(slots=True)
class _Result:
    """The contents of the files of one result. A device of a space may have fronts of several strategies and seeds."""

    fronts: dict[tuple[str, str], list[_Found]] = field(default_factory=dict)
    fits: dict[tuple[str, str, str], Mapping[str, float]] = field(default_factory=dict)
    files: dict[FileKey, MeasuredFile] = field(default_factory=dict)


def compare_results(
    before: Path, after: Path, bars: Sequence[Bar] = (), *, quantised_by: Workspace | None = None
) -> tuple[Row, ...]:
    """Every quantity of every front and latency model that either result has, with the bars that were missed.

    With ``quantised_by``, fronts of ``before`` are of searches in float whose networks are quantised afterwards, by the
    fits of that workspace, in the precisions that ``after`` searched (``quantise_fronts``); nothing else is compared.

    Raises:
        InputError: a result cannot be read or holds nothing to compare, the two have nothing in common, or a bar is set
            on a quantity that the first result does not have.
        MissingDependency: moocore is missing and a hypervolume must be computed.
    """
    first, second = _read(before), _read(after)
    if quantised_by is not None:
        first = _Result(quantise_fronts(first.fronts, second.fronts, quantised_by))
        second = _Result({key: found for key, found in second.fronts.items() if key in first.fronts})
    rows = [*_front_rows(first, second), *_fit_rows(first, second), *_file_rows(first, second)]
    shared = [row for row in rows if row.before is not None and row.after is not None]
    if not shared:
        raise InputError(
            f"{before} and {after} have no device and space, and no file and target in common.",
            _quantised_instead(before, after, first, second)
            or "Compare results of the same devices and space, or of files of the same name.",
        )
    for bar in bars:
        judged = [row for row in rows if row.quantity == bar.quantity and row.before is not None]
        if judged and bar.is_noise and all(row.noise is None for row in judged if row.after is not None):
            raise InputError(
                f"Nobody knows the noise of {bar.quantity} here, so --fail-on {bar} cannot be judged.",
                "Only files measured with `profile --file --json` have it: say how much is allowed, e.g. latency:+3%.",
            )
        if not judged:
            known = sorted({row.quantity for row in shared})
            models = bar.quantity in ("error", "within_10", "coverage")
            remedy = " Keep the output of `fleetfront fit --json` as fit.json beside the fronts." if models else ""
            raise InputError(
                f"{before} has no {bar.quantity}, so --fail-on {bar} cannot be judged.",
                f"It has: {', '.join(known)}.{remedy}",
            )
    return tuple(_judged(row, bars) for row in rows)


def _quantised_instead(before: Path, after: Path, first: _Result, second: _Result) -> str:
    """The command that compares a search in float with one of the same space in several precisions, if these are so."""
    pairs = ((before, after, first, second), (after, before, second, first))
    for float_path, joint_path, floats, joint in pairs:
        spaces = {space.partition(SEPARATOR)[0] for space, _ in joint.fronts if SEPARATOR in space}
        if spaces & {space for space, _ in floats.fronts}:
            command = f"fleetfront compare --quantised {quote(str(float_path))} {quote(str(joint_path))}"
            return f"{joint_path} was searched in several precisions, {float_path} in one. Run: {command}"
    return ""


def parse_bars(text: str) -> list[Bar]:
    """``hypervolume:-1%,error:+1``: what must not happen. A sign is needed, for it says which way.

    Raises InputError on anything else.
    """
    bars = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        # Pages and editors set a minus in place of a hyphen.
        spelled = re.sub(r"\s", "", part).replace("\N{MINUS SIGN}", "-")
        match = re.fullmatch(r"([A-Za-z_0-9]+):([+-])(\d+(?:\.\d*)?|\.\d+|noise)(%?)", spelled)
        if match is None or (match[3] == "noise" and (match[4] or match[1] != "latency")):
            raise InputError(
                f"--fail-on {part!r} is not a bar.",
                "Write QUANTITY:-NUMBER[%] or QUANTITY:+NUMBER[%], e.g. hypervolume:-1%,error:+1; or latency:+noise.",
            )
        name, sign, number, percent = match.groups()
        if name not in QUANTITIES:
            raise unknown("quantity", name, QUANTITIES)
        is_noise = number == "noise"
        limit = 0.0 if is_noise else float(f"{sign}{number}")
        bars.append(Bar(name, limit, bool(percent), sign == "-", is_noise))
    if not bars:
        raise InputError("--fail-on is empty.", "Write for example hypervolume:-1%,error:+1.")
    return bars


def relative_change(before: float, after: float) -> float:
    """Percent of ``before``; infinite where that is 0 and ``after`` is not."""
    if before == after:
        return 0.0
    return 100 * (after - before) / abs(before) if before else math.copysign(math.inf, after - before)


def _judged(row: Row, bars: Sequence[Bar]) -> Row:
    missed = [bar for bar in bars if bar.quantity == row.quantity and row.before is not None and _misses(bar, row)]
    return replace(row, missed=str(missed[0])) if missed else row


def _misses(bar: Bar, row: Row) -> bool:
    return row.after is None or (row.before is not None and bar.is_missed(row.before, row.after, row.noise))


def _front_rows(first: _Result, second: _Result) -> Iterator[Row]:
    for space, device in dict.fromkeys([*first.fronts, *second.fronts]):
        pair = [_without_baselines(result.fronts.get((space, device), [])) for result in (first, second)]
        spelled = _spelling(pair)
        # Of files that nothing tells apart the first counts.
        named = [{spelled(found): found for found in reversed(all_)} for all_ in pair]
        for name in sorted({*named[0], *named[1]}):
            before, after = named[0].get(name), named[1].get(name)
            values = [_front_values(found, before or after) for found in (before, after)]
            for quantity in dict.fromkeys([*values[0], *values[1]]):
                yield Row(f"{space} on {device}{name}", quantity, values[0].get(quantity), values[1].get(quantity))


def _without_baselines(found: list[_Found]) -> list[_Found]:
    return [one for one in found if one[0].strategy != _BASELINE] or found


def _spelling(pair: Sequence[list[_Found]]) -> Callable[[_Found], str]:
    """How the fronts of one device are told apart: not at all where each result has one, else by strategy and seed."""
    spellings: tuple[Callable[[_Found], str], ...] = (
        lambda found: "",
        lambda found: f", {found[0].strategy}",
        lambda found: f", {found[0].strategy}, seed {found[0].seed}",
    )
    for spelled in spellings:
        if all(len({spelled(one) for one in found}) == len(found) for found in pair):
            return spelled
    return spellings[-1]


def _front_values(found: _Found | None, against: _Found | None) -> dict[str, float]:
    """The worth of one front, measured by the reference point and the knee of ``against``."""
    if found is None or against is None:
        return {}
    fronts, front = found
    reference, latency_of = against[1].reference_point, front_arrays(front)
    values = {"hypervolume": _volume(front, reference)}
    if front.points:
        latency, accuracy = latency_of
        best = "accuracy" if front.quality.is_higher_better else "loss"
        values[best] = float(front.quality.shown(accuracy.max()))
        if against[1].points:
            enough = accuracy >= front.quality.score(against[1].points[against[1].knee].accuracy)
            if enough.any():
                values["latency"] = float(latency[enough].min())
    checked = (fronts.verification or {}).get("devices", {}).get(front.name, {})
    if isinstance(checked.get("optimism_percent"), int | float):
        values["optimism"] = float(checked["optimism_percent"])
    return values


def _volume(front: DeviceFront, reference: tuple[float, ...]) -> float:
    # With further objectives the points of the file do not hold all of them; then only equal references compare.
    if front.reference_point == reference or len(reference) != 2:
        return front.hypervolume
    latency, accuracy = front_arrays(front)
    return hypervolume(np.stack([latency, FULL - accuracy], axis=1), reference)


def _fit_rows(first: _Result, second: _Result) -> Iterator[Row]:
    for key in dict.fromkeys([*first.fits, *second.fits]):
        values = [result.fits.get(key, {}) for result in (first, second)]
        subject = f"model of {key[0]} on {key[1]} ({key[2]})"
        for name in dict.fromkeys([*values[0], *values[1]]):
            yield Row(subject, name, values[0].get(name), values[1].get(name))


def _file_rows(first: _Result, second: _Result) -> Iterator[Row]:
    for key in dict.fromkeys([*first.files, *second.files]):
        pair = first.files.get(key), second.files.get(key)
        values = [{} if one is None else one.values for one in pair]
        for name in dict.fromkeys([*values[0], *values[1]]):
            noise = noise_between(*pair) if name == "latency" else None
            subject = f"{key[0]} on {key[1]} ({key[2]})"
            yield Row(subject, name, values[0].get(name), values[1].get(name), noise=noise)


def _read(path: Path) -> _Result:
    result = _Result()
    files = [path]
    if path.is_dir():
        names = (FRONTS_FILE, "*.report.json", "fit*.json", "profile*.json", PARTS_FILE)
        files = sorted({file for name in names for depth in ("", "*/", "*/*/") for file in path.glob(depth + name)})
    for file in files:
        _read_file(file, result, is_named=file == path)
    if not result.fronts and not result.fits and not result.files:
        raise InputError(
            f"{path} holds no front, no latency model and no measured file.",
            "Give a fronts.json, the output of `fit --json` or of `profile --file --json`, or a folder of such files.",
        )
    return result


def _read_file(file: Path, result: _Result, *, is_named: bool) -> None:
    data = read_file(file, parse_finite_json, "result", "Give a fronts.json or a fit's JSON.")
    for part in data if isinstance(data, list) else [data]:
        schema = part.get("schema") if isinstance(part, dict) else None
        if schema == FRONTS_SCHEMA:
            fronts = load_fronts(file)
            for front in fronts.devices:
                result.fronts.setdefault((fronts.space, _subject(front)), []).append((fronts, front))
        elif schema == FIT_SCHEMA:
            _read_fits(file, part, result)
        elif isinstance(schema, str) and schema in READERS:
            result.files |= READERS[schema](file, part)
        elif is_named:
            raise InputError(
                f"{file} is neither a front, a fit's report nor a measured file (schema {str(schema)[:100]!r}).",
                f"Give a file of schema {FRONTS_SCHEMA}, {FIT_SCHEMA} or {FILE_SCHEMA}.",
            )


def _read_fits(file: Path, report: Any, result: _Result) -> None:
    try:
        whole = from_plain(_Report, json.dumps(report))
    except ValueError as error:
        raise FileError(f"{file} is damaged ({error}).", "Make it again with: fleetfront fit --json") from error
    for fit in (whole, *whole.other_clocks):
        scores = fit.held_out or _Scores()
        wanted = (
            ("error", scores.mape, 1.0),
            ("within_10", scores.within_10, 100.0),
            ("coverage", scores.coverage_90, 100.0),
        )
        values = {name: scale * value for name, value, scale in wanted if value is not None}
        result.fits.setdefault((fit.space, fit.target, fit.clock), values)


def _subject(front: DeviceFront) -> str:
    return f"{front.name} ({front.target})" if front.target else front.name
