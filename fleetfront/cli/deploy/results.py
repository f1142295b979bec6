"""Print what ``fleetfront deploy`` did: one row a file, or JSON; then what failed, and the exit code for it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fleetfront.cli.console import hint, next_command, print_json, print_table, warn
from fleetfront.errors import BarMissed, FleetfrontError
from fleetfront.predictors.scores import Z90
from fleetfront.quantities import format_spread

if TYPE_CHECKING:
    from fleetfront.pipelines.deploy.deploy import Deployed
    from fleetfront.pipelines.deploy.records import PartTimes, Pick, WrittenFile
    from fleetfront.pipelines.measure.files import FileLatency

_HEADERS = (
    "pick",
    "file",
    "off from torch",
    "torch's class",
    "accuracy",
    "drop",
    "predicted ms",
    "measured ms",
    "target and clock",
)


#: Columns of ``promise_cells``.
PROMISES = ("target", "measured", "as profiled", "", "as of today", "")
_VERDICTS = {True: "holds", False: "MISSED", None: "not judged"}

#: Picks that a warning names.
_NAMED = 3


def report(done: Sequence[Deployed], as_json: bool) -> None:
    """Print everything. Raises what a pick failed with: its own error if no pick was written, else BarMissed."""
    if as_json:
        print_json([_as_json(one) for one in done])
    else:
        print_table(_HEADERS, [row for one in done for row in _rows(one)])
        _tell_promises(done)
        _tell_app_times(done)
        for one in done:
            _hints(one)
        _tell_sittings(done)
        _tell_untimed(done)
    _tell_times_left_out(done)
    _raise_failures(done)
    hint("")
    next_command(shlex.join(["ls", str(done[0].folder)]))


def _tell_app_times(done: Sequence[Deployed]) -> None:
    """Print what an app feels of each file that was timed, in a table of its own; the one above is of the least."""
    timed = [(one, latency) for one in done for latency in one.measured if latency.app is not None]
    if timed:
        hint("\nAs an app runs them (wall clock, ms):")
        rows = [(one.pick.name, str(latency.target), *latency.app.cells()) for one, latency in timed if latency.app]
        print_table(("pick", "target", "cold start", "median", "p90", "sustained mean"), rows)


def _tell_promises(done: Sequence[Deployed]) -> None:
    """Print what the models promise of each file that was timed, for any sitting and for this one, and what holds."""
    timed = [(one, latency) for one in done for latency in one.measured if latency.promises is not None]
    if timed:
        hint("\nPromised, 90 % (ms), whenever they are run, and in today's sitting by networks measured in it:")
        rows = [(one.pick.name, *promise_cells(latency)) for one, latency in timed]
        print_table(("pick", *PROMISES), rows)
        tell_unpromised(latency for _, latency in timed)


def tell_unpromised(latencies: Iterable[FileLatency]) -> None:
    """Say, once a target, why nothing is promised of files for when they are run."""
    said = {str(one.target): one.promises.not_promised for one in latencies if one.promises is not None}
    for target, why in said.items():
        if why:
            hint(f"{target}: nothing is promised for whenever they are run: its model is {why}.")


def promise_cells(latency: FileLatency) -> tuple[str, ...]:
    """Cells under ``PROMISES`` of a file that was timed."""
    promises = latency.promises
    if promises is None or latency.ms is None:
        return (str(latency.target), *("-" for _ in PROMISES[1:]))
    cells = [
        cell
        for promise in (promises.any_sitting, promises.this_sitting)
        for cell in (
            ("-", "-")
            if promise is None
            else ("{:.4g} to {:.4g}".format(*promise.interval), _VERDICTS[promises.verdict(promise)])
        )
    ]
    return (str(latency.target), f"{latency.ms:.4g}", *cells)


def _tell_sittings(done: Sequence[Deployed]) -> None:
    """How this sitting ran against the profile's, a line a target."""
    levels: dict[str, list[float]] = {}
    busy: dict[str, str] = {}
    for latency in (latency for one in done for latency in one.measured):
        if latency.sitting is not None:
            levels.setdefault(str(latency.target), []).append(latency.sitting)
        if latency.is_busy:
            others = latency.others
            busy[str(latency.target)] = str(others) if others and others.is_much else "other programs disturbed it"
    for target, words in busy.items():
        warn(f"{target}: {words} while these files were timed; what was predicted is not promised beside them.")
    for target, values in levels.items():
        percent = 100 * (sum(values) / len(values) - 1)
        direction = "slower" if percent > 0 else "faster"
        hint(f"{target}: {abs(percent):.1f} % {direction} in this sitting than in that of its profile")


def _tell_untimed(done: Sequence[Deployed]) -> None:
    """Say how to time the files on devices of the picks that can be reached, where others were timed alone."""
    from fleetfront.profilers.kinds.base import Capability
    from fleetfront.profilers.kinds.catalogue import find_kind
    from fleetfront.targets import split_spelled

    timed = {latency.target.device for one in done for latency in one.measured}
    promised = {split_spelled(row["target"])[0] for one in done for row in one.pick.latency}
    for device in sorted(promised - timed) if timed else ():
        kind = find_kind(device)
        if kind is not None and Capability.FILES in kind.can:
            hint(f"{device}: no file was timed there; that takes --measure {device}")


def _tell_times_left_out(done: Sequence[Deployed]) -> None:
    """Warn of times that were known of a pick, but are of other files than its bundle has."""
    from fleetfront.pipelines.deploy.records import formats_timed_on
    from fleetfront.targets import narrow_precision, precision_in

    for one in done:
        for target in one.without_files:
            other = f"{narrow_precision(precision_in(target)) or 'float'} .{formats_timed_on(target)[0]}"
            limit = one.pick.max_latency_ms
            kept = "" if limit is None else f" Nobody knows whether it keeps its limit of {limit:g} ms."
            warn(f"{one.pick.name}: times on {target} are of {other} files, of which it has none: left out.{kept}")


def _raise_failures(done: Sequence[Deployed]) -> None:
    """Warn of what failed, once a reason, and raise; a single reason for everything is raised alone."""
    reasons: dict[str, list[str]] = {}
    errors: dict[str, FleetfrontError] = {}
    for one in done:
        if one.error is not None:
            reason = str(one.error).removeprefix(f"{one.pick.name}: ")
            reasons.setdefault(reason, []).append(one.pick.name)
            errors.setdefault(reason, one.error)
    if not reasons:
        return
    first, failed = next(iter(errors.values())), sum(map(len, reasons.values()))
    nothing_done = failed == len(done) and not isinstance(first, BarMissed)
    if nothing_done and len(reasons) == 1:
        raise type(first)(first.message if failed == 1 else _said(*next(iter(reasons.items())), first), first.remedy)
    for reason, names in reasons.items():
        warn(f"{_names(names)}: {reason}" if len(names) > 1 else str(errors[reason]))
    if nothing_done:
        raise type(first)(f"None of {failed} picks was written.", "See the warnings above.")
    raise BarMissed(f"{failed} of {len(done)} picks missed a bar or failed.", "See the warnings above.")


def _said(reason: str, names: Sequence[str], error: FleetfrontError) -> str:
    return f"{_names(names)}: {reason.removesuffix(error.remedy).strip()}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def told_promise(pick: Pick, accuracy: float, images: int) -> str:
    """Say what the front promised of an accuracy that was measured, where it had measured, too, and whether it held."""
    row = next(iter(pick.accuracy), None)
    if row is None or not row["source"].startswith("supernet:"):
        return ""
    if row.get("split") != "test":
        return f"; {row['value']:.2f} % on the images that the search chose by, which flatter what they chose"
    share = (accuracy * images / 100 + 1) / (images + 2)
    error = Z90 * math.hypot(row["std"], 100 * math.sqrt(share * (1 - share) / images))
    missed = "" if abs(accuracy - row["value"]) <= error else ": these images are harder or easier than its own"
    return f"; the front says {row['value']:.2f} +-{row['std']:.2f} %{missed}"


def accuracy_lines(one: Deployed, in_torch: float) -> list[str]:
    """Tell the accuracy in torch and, where the front promised that of another precision, of each file in it."""
    images = one.test_images
    if not images:  # judged by the user's own function
        judged = [(file.name, file.accuracy) for file in one.files if file.accuracy is not None]
        return [f"torch in fp32: {in_torch:.2f} %", *(f"{name}: {found:.2f} %" for name, found in judged)]
    said = f"torch in fp32: {in_torch:.2f} % of {images} held-out images"
    if one.pick.precision in ("", "fp32"):
        return [f"{said}{told_promise(one.pick, in_torch, images)}"]
    judged = [(file.name, file.accuracy) for file in one.files if file.accuracy is not None]
    return [said, *(f"{name}: {found:.2f} %{told_promise(one.pick, found, images)}" for name, found in judged)]


def _hints(one: Deployed) -> None:
    if one.folder is None:
        return
    hint(f"{one.pick.name}: {one.folder}")
    if one.torch_accuracy is not None:
        for line in accuracy_lines(one, one.torch_accuracy):
            hint(f"  {line}")
    elif one.test_images:
        hint("  accuracy is not judged: the folders of --images are not the network's classes")
    for said in _sizes(one):
        hint(f"  {said}")
    for file in one.files:
        if file.proof.is_weak:
            warn(
                f"{file.name}: torch names one class on {100 * (file.proof.commonest_class or 0):.0f} % of images, so "
                f"that agreement proves little{_followed(file)}. Give --images of all classes."
            )
        layout = file.layout
        if layout.float_weights:
            hint(f"  {file.name}: weights of {', '.join(layout.float_weights)} stay in float")
        if not layout.is_clean or layout.undelegated:
            hint(
                f"  {file.name}: {layout.transposes} transposes, {layout.casts} casts"
                f"{', left by delegates: ' + ', '.join(layout.undelegated) if layout.undelegated else ''}"
            )


def _sizes(one: Deployed) -> Iterator[str]:
    """Tell what was predicted of the size of each file, beside what it is."""
    from fleetfront.pipelines.deploy.records import formats_timed_on
    from fleetfront.targets import precision_in

    for row in one.pick.size:
        formats, precision = formats_timed_on(row["target"]), precision_in(row["target"])
        spread = "" if row["std_bytes"] is None else f" +-{row['std_bytes']:,.0f}"
        for file in one.files:
            if file.kind.name in formats and file.precision == precision and file.path.is_file():
                written = file.path.stat().st_size
                yield f"{file.name}: {written:,} bytes; the front says {row['bytes']:,.0f}{spread}"


def _followed(file: WrittenFile) -> str:
    explained = file.proof.explained
    return (
        "" if explained is None else f"; of what images change in its outputs the file follows {100 * explained:.0f} %"
    )


def _rows(one: Deployed) -> list[tuple[str, ...]]:
    if not one.files:
        state = "not written" if one.folder is None else "was there"
        return [(one.pick.name, state, *("-" for _ in _HEADERS[2:]))]
    rows: list[tuple[str, ...]] = []
    shown: set[str] = set()
    for file in one.files:
        begin = (
            one.pick.name if not rows else "",
            file.name,
            f"{file.proof.relative_to_spread:.1e}",
            "-" if file.proof.agreement is None else f"{100 * file.proof.agreement:.1f} %",
            "-" if file.accuracy is None else f"{file.accuracy:.2f} %",
            "-" if file.drop is None else f"{file.drop:+.2f}",
        )
        for latency in _latencies(one, file):
            if not one.parts:
                shown.add(latency[3])
            rows.append((*begin, *latency[:3]))
            begin = ("", "", "", "", "", "")
        if any(begin):
            rows.append((*begin, "-", "-", ""))
    whole = {str(timed.target): timed for timed in one.measured} if one.parts else {}
    promised = {row["target"]: row for row in one.pick.latency if row["target"] not in shown}
    for target in dict.fromkeys((*promised, *whole)):
        row, timed = promised.get(target), whole.get(target)
        clock = timed.clock.value if timed else (row or {}).get("clock", "")
        cells = (_promised(row) if row else "-", _measured(timed) if timed else "-", f"{target} {clock}")
        rows.append(("", "all calls" if one.parts else "", "", "", "", "", *cells))
    return rows


def _measured(latency: FileLatency) -> str:
    return f"{latency.ms:.4g}" if latency.ms is not None else f"failed: {latency.error}"


def _promised(row: Mapping[str, Any]) -> str:
    spread = "" if row["std_ms"] is None else f"{format_spread(row['ms'], row['std_ms'], row['tier'])} "
    return f"{row['ms']:.4g} {spread}[{row['tier']}]"


def _latencies(one: Deployed, file: WrittenFile) -> list[tuple[str, str, str, str]]:
    """Predicted, measured, target and clock, target alone; of the targets that this file is for."""
    from fleetfront.pipelines.deploy.records import is_timed_on

    kinds = [other.kind for other in one.files]
    part = one.parts.get(file.key.partition(".")[0])
    measured = part.measured if part else one.measured
    timed = [latency for latency in measured if is_timed_on(latency.target, file.kind, file.precision, kinds)]
    seen = {str(latency.target): latency for latency in timed}
    promised = {row["target"]: row for row in one.pick.latency}
    rows = []
    for target, latency in seen.items():
        where = f"{target} {latency.clock.value}"
        if part:
            share = part.predicted_ms.get(target)
            cells = ("-" if share is None else f"{share:.4g}", _measured(latency))
            rows.append((*cells, f"{where}, a call of {part.calls}", target))
            continue
        said = promised.get(target)
        rows.append((_promised(said) if said else "-", _measured(latency), where, target))
    return rows


def _as_json(one: Deployed) -> dict[str, Any]:
    from fleetfront.pipelines.deploy.bundling import app_facts, sitting_facts

    return {
        "pick": one.pick.name,
        "arch": one.pick.arch,
        "folder": None if one.folder is None else str(one.folder),
        "checks": {name: proof.as_checks() for name, proof in one.proofs.items()},
        "torch_accuracy": one.torch_accuracy,
        "test_images": one.test_images,
        "files": [_file_as_json(file) for file in one.files],
        "predicted": [dict(row) for row in one.pick.latency],
        **({"predicted_size": [dict(row) for row in one.pick.size]} if one.pick.size else {}),
        "measured": [
            {
                "target": str(latency.target),
                "clock": latency.clock.value,
                "ms": latency.ms,
                "std_ms": latency.std_ms,
                "statistic": latency.statistic,
                "error": latency.error,
                **sitting_facts(latency),
                **app_facts(latency),
            }
            for latency in one.measured
        ],
        **({"parts": {name: _part_as_json(part) for name, part in one.parts.items()}} if one.parts else {}),
        "error": None if one.error is None else str(one.error),
    }


def _part_as_json(part: PartTimes) -> dict[str, Any]:
    measured = [
        {"target": str(one.target), "clock": one.clock.value, "ms": one.ms, "std_ms": one.std_ms, "error": one.error}
        for one in part.measured
    ]
    return {"calls": part.calls, "predicted_ms_a_call": dict(part.predicted_ms), "measured_a_call": measured}


def _file_as_json(file: WrittenFile) -> dict[str, Any]:
    return {
        "path": str(file.path),
        **({"bytes": file.path.stat().st_size} if file.path.is_file() else {}),
        "format": file.kind.name,
        "precision": file.precision,
        "accuracy": file.accuracy,
        "drop": file.drop,
        "layout": file.layout.to_dict(),
        "minimum_runtime": file.minimum_runtime,
    }
