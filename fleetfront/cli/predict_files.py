"""``fleetfront predict --file`` and ``--torch``: what a model file or a torch module takes on devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.console import echo, hint, next_command, print_json, print_table, shortened, warn
from fleetfront.cli.options import Amount, ModelChoices, is_given, option_group, split_names
from fleetfront.errors import FleetfrontError, InputError, NotPredicted
from fleetfront.quantities import LATENCY, Clock, interval_90
from fleetfront.targets import split_spelled

if TYPE_CHECKING:
    from fleetfront.pipelines.predict.predictions import FilePrediction, Refusal
    from fleetfront.predictors.operators.estimates import OperatorPart

#: Kinds of files that are read.
_SUFFIXES = (".onnx", ".tflite")
#: Bars are so wide where the largest part is all of the time; as many operators are listed.
_BAR, _LISTED = 24, 40
#: So many files that could not be predicted are named again at the end.
_NAMED = 6
#: Options that mean something for files and modules alone, and for architectures alone.
_OF_FILES, _OF_ARCHITECTURES = ("shapes", "by", "least_known"), ("accuracy", "space")


@dataclass(frozen=True, slots=True)
class FileChoices:
    """Which files or module, as typed."""

    files: tuple[Path, ...] = ()
    module: str | None = None
    shapes: tuple[str, ...] = ()
    by: str | None = None
    least_known: float = 0.7


file_options = option_group(
    FileChoices,
    "chosen",
    [
        click.option(
            "--file",
            "files",
            multiple=True,
            type=click.Path(path_type=Path),
            help="Predict this .onnx or .tflite file, or all of a folder.",
        ),
        click.option(
            "--torch",
            "module",
            metavar="FILE.py:make",
            help="Predict the module, or (module, input), it makes; or timm:NAME.",
        ),
        click.option(
            "--shape", "shapes", multiple=True, metavar="NAME=1,3,224,224", help="How large an open input is."
        ),
        click.option(
            "--by", type=click.Choice(["operator"]), help="With --file or --torch: each operator's part, too."
        ),
        click.option(
            "--least-known",
            type=Amount(0, 1),
            default=0.7,
            show_default=True,
            help="Refuse where less of the time lies in operators that are known.",
        ),
    ],
)


def check_choices(chosen: FileChoices, metric: str) -> None:
    """Raise InputError if the running command was given what means nothing for what is predicted."""
    is_of_files = bool(chosen.files) or chosen.module is not None
    strange = [name for name in (_OF_ARCHITECTURES if is_of_files else _OF_FILES) if is_given(name)]
    if strange:
        names = ", ".join("--shape" if name == "shapes" else f"--{name.replace('_', '-')}" for name in strange)
        what = "architectures of a space" if is_of_files else "files and modules"
        raise InputError(f"{names}: for {what} alone.", f"Leave {'it' if len(strange) == 1 else 'them'} out.")
    if is_of_files and metric != LATENCY.name:
        raise InputError(
            f"--metric {metric}: files and modules are predicted in latency alone.",
            "Measure it: fleetfront profile --file FILE says what the device tells of memory.",
        )


def predict_models(chosen: FileChoices, models: ModelChoices, as_json: bool) -> None:
    """Print a row for each file and device, and for what could not be predicted the reason.

    Raises the last error if nothing could be predicted, and InputError once all is printed if a file, or a device that
    was named, was left out.
    """
    from fleetfront.pipelines.predict.predictions import Predictions

    asked = split_names(models.devices)
    rows, refused = _predicted(chosen, models, asked)
    if as_json:
        print_json(Predictions(rows, refused).to_json())
    else:
        _print(rows, refused, chosen)
    for text in dict.fromkeys(f"{one.file}: {one}" if one.device else str(one) for one in refused):
        warn(text)
    for text in dict.fromkeys(text for row in rows for text in row.warnings):
        hint(text)
    _check(rows, refused, asked)
    at_hand = next((row for row in rows if _is_at_hand(row.device)), None)
    if not as_json and chosen.files and at_hand and all(row.tier.value != "measured" for row in rows):
        path = str(chosen.files[0]) if len(chosen.files) == 1 else at_hand.file
        sizes = "".join(f" --shape {quote(shape)}" for shape in chosen.shapes)
        next_command(f"fleetfront profile --device {quote(at_hand.device)} --file {quote(path)}{sizes}")


def _print(rows: Sequence[FilePrediction], refused: Sequence[Refusal], chosen: FileChoices) -> None:
    cells = [
        (
            row.file,
            row.device if len({one.target for one in rows if one.device == row.device}) == 1 else str(row.target),
            f"{row.latency_ms:.4g}",
            _interval(row),
            row.tier.value,
            f"{row.known_share:.0%}",
        )
        for row in rows
    ]
    answered = {row.file for row in rows}
    # What is about no device is a row of its own only where the file has no other.
    cells += [
        (one.file, one.device or "-", "-", "-", "refused" if one.device else "failed", "-")
        for one in refused
        if one.device or one.file not in answered
    ]
    print_table(("file", "device", "latency ms", "90 % interval", "tier", "known"), cells)
    if chosen.by:
        for row in rows:
            _tell_operators(row)


def _check(rows: Sequence[FilePrediction], refused: Sequence[Refusal], asked: Sequence[str]) -> None:
    """Raise InputError for what was named and has no row: a file on a device, or anywhere if all were asked for."""
    answered = {(row.file, name) for row in rows for name in (row.device, None)}
    is_all = "all" in {split_spelled(name)[0] for name in asked}
    named = [(one.file, None if is_all else one.device) for one in refused]
    left_out = dict.fromkeys(
        f"{file} on {device}" if device else file for file, device in named if (file, device) not in answered
    )
    if left_out:
        more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
        raise InputError(
            f"{len(left_out)} of what was asked could not be predicted: {', '.join([*left_out][:_NAMED])}{more}.",
            "Do what the warnings above say, or name the others.",
        )


def _is_at_hand(device: str) -> bool:
    from fleetfront.profilers.kinds.catalogue import find_kind

    return find_kind(device) is not None


def _interval(row: FilePrediction) -> str:
    low, high = interval_90(row.latency_ms, row.latency_std_ms, row.tier)
    return f"{low:.4g}..{high:.4g}"


def _predicted(
    chosen: FileChoices, models: ModelChoices, asked: Sequence[str]
) -> tuple[list[FilePrediction], list[Refusal]]:
    """Raises the last error if nothing could be predicted; one that fails keeps no other from being so."""
    from fleetfront.graphs.input_shapes import parse_shapes
    from fleetfront.pipelines.predict.files import predict
    from fleetfront.pipelines.predict.predictions import Refusal

    runtime = models.runtime
    narrowed = [f"{name}/{runtime}" if runtime and runtime not in split_spelled(name)[1:] else name for name in asked]
    clock = None if models.clock is None else Clock(models.clock)
    more: dict[str, Any] = {"least_known": chosen.least_known, "store": models.store, "clock": clock}
    if chosen.module is not None:
        return _of_module(chosen, narrowed, more)
    shapes = parse_shapes(chosen.shapes)
    rows: list[FilePrediction] = []
    refused: list[Refusal] = []
    failed: FleetfrontError | None = None
    for path in model_files(chosen.files):
        try:
            found = predict(path, devices=narrowed, shapes=shapes, **more)
        except FleetfrontError as error:
            failed = error
            reasons = error.reasons if isinstance(error, NotPredicted) else ()
            refused += [Refusal(str(path), *one) for one in reasons or [(None, error.message, error.remedy)]]
        else:
            rows += found
            refused += found.refused
    if failed is not None and not rows:
        raise failed
    return rows, refused


def _of_module(
    chosen: FileChoices, devices: Sequence[str], more: Mapping[str, Any]
) -> tuple[list[FilePrediction], list[Refusal]]:
    """Raises InputError if nothing could be predicted, with how to make a file of the module."""
    from fleetfront.pipelines.predict.files import predict

    spec = chosen.module or ""
    if chosen.files:
        raise InputError("--file and --torch were both given.", "Give one of them.")
    module, sample = _made(spec, chosen.shapes)
    remedy = f"Write it as a file, and time that: fleetfront export --torch {quote(spec)} --measure"
    if any("int8" in split_spelled(name)[1:] for name in devices):
        remedy = (
            "A module is float. Write it in int8, and predict that file: "
            f"fleetfront export --torch {quote(spec)} --precisions int8 --images FOLDER"
        )
    try:
        found = predict(module, sample, devices, **more)
    except NotPredicted as error:
        raise InputError(error.message, remedy) from error
    return list(found), [replace(one, remedy=remedy) if one.device else one for one in found.refused]


def model_files(paths: tuple[Path, ...]) -> list[Path]:
    """The files named, and those of the folders named, sorted. Raises InputError for a folder without any."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in _SUFFIXES and one.is_file())
        if not inside:
            raise InputError(f"The folder {path} holds no {' or '.join(_SUFFIXES)} file.", "Name the files.")
        found += inside
    return list(dict.fromkeys(found))


def _made(spec: str, shapes: tuple[str, ...]) -> tuple[Any, Any]:
    """The module that a user's function makes, and its input: the function's own, or one of ``--shape``."""
    from fleetfront.deploy.writers.torch_export import load_from_file
    from fleetfront.deploy.writers.torch_zoo import is_zoo_name, load_from_zoo
    from fleetfront.graphs.input_shapes import parse_shapes

    if is_zoo_name(spec):
        import torch

        sizes = parse_shapes(shapes or ("1,3,224,224",))
        return load_from_zoo(spec), tuple(torch.empty(tuple(shape)) for shape in sizes.values())
    text, _, name = spec.rpartition(":")
    if not text or not name.isidentifier():
        raise InputError(f"{spec!r} does not name a function.", "Write --torch FILE.py:make.")
    made = load_from_file(Path(text), name, "Name a function that gives the module, or (module, input).")
    if isinstance(made, tuple) and len(made) == 2:
        if shapes:
            raise InputError(
                f"{spec} gave the input, too, and --shape says another.",
                "Leave --shape out, or return the module alone.",
            )
        return made
    if not shapes:
        raise InputError(
            f"{spec} gave a module without an input.", "Return (module, input), or say --shape 1,3,224,224."
        )
    import torch

    return made, tuple(torch.empty(tuple(shape)) for shape in parse_shapes(shapes).values())


def _told_fused(part: OperatorPart) -> str:
    """How many operators are computed in it, and how many of these in part."""
    if not part.fused:
        return ""
    return f" + {len(part.fused)} fused" + (f", {len(part.partly)} in part" if part.partly else "")


def _tell_operators(row: FilePrediction) -> None:
    if not row.operators:
        return
    echo(f"\n{row.file} on {row.target}")
    largest = max(part.ms for part in row.operators)
    ranked = sorted(row.operators, key=lambda part: -part.ms)
    cells = [
        (
            shortened(part.name),
            part.kind + _told_fused(part),
            f"{part.ms:.4g}{'' if part.is_known else ' ?'}",
            f"{part.ms / row.latency_ms:.1%}",
            "█" * max(1, round(_BAR * part.ms / largest)),
        )
        for part in ranked[:_LISTED]
    ]
    listed = sum(part.ms for part in ranked[:_LISTED])
    smaller = sum(part.ms for part in ranked[_LISTED:])
    more = [("smaller ones", f"{len(ranked) - _LISTED} operators", smaller)] if len(ranked) > _LISTED else []
    more.append(("rest", "what running anything costs", row.latency_ms - listed - smaller))
    cells += [(name, kind, f"{ms:.4g}", f"{ms / row.latency_ms:.1%}", "") for name, kind, ms in more]
    print_table(("operator", "kind", "ms", "share", ""), cells)
    if len(ranked) > _LISTED:
        hint("--json has all operators.")
    if any(not part.is_known for part in row.operators):
        hint("? An allowance: operators of this kind and size were not measured.")
