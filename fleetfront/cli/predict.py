"""``fleetfront predict``: latency and accuracy of architectures given as strings."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Any, TextIO

import click

from fleetfront.cli.console import hint, print_json, print_table
from fleetfront.cli.options import (
    ModelChoices,
    accuracy_option,
    is_given,
    json_option,
    model_options,
    space_option,
    split_names,
)
from fleetfront.cli.predict_files import FileChoices, check_choices, file_options, predict_models
from fleetfront.cli.search.text import next_search, tell_beyond
from fleetfront.errors import InputError
from fleetfront.quantities import FAR_OFF, METRICS, Metric, format_spread
from fleetfront.targets import split_spelled

if TYPE_CHECKING:
    from fleetfront.cli.device_models import ChosenModels
    from fleetfront.spaces.base import SearchSpace

#: Value of --accuracy that predicts latency alone.
NO_ACCURACY = "none"
#: Of the column of architectures in tables of latencies.
HEADING = "arch"


@click.command()
@click.argument("archs", nargs=-1, metavar="[ARCH]...")
@click.option("--archs", "file", type=click.File("r"), help="File of architectures, one a line; - is standard input.")
@model_options
@click.option("--metric", type=click.Choice(list(METRICS)), default="latency", show_default=True)
@accuracy_option("csv:PATH[:COLUMN], ofa-mlp:PATH or none")
@space_option
@file_options
@json_option
def predict(
    archs: tuple[str, ...],
    file: TextIO | None,
    models: ModelChoices,
    metric: str,
    accuracy: str,
    space: str,
    as_json: bool,
    chosen: FileChoices,
) -> None:
    """Predict latency and accuracy of given architectures, or the latency of a model file or torch module.

    \b
    Examples:
      fleetfront predict k33333333333333333333_e33333333333333333333_d22222_r160
      fleetfront predict --archs archs.txt --device cpu --runtime litert --json
      cut -d, -f1 nets.csv | fleetfront predict --archs - --space nasbench201 --accuracy none
      fleetfront predict --file model.onnx --devices all
      fleetfront predict --file model.tflite --device cpu --by operator
      fleetfront predict --torch net.py:make --shape 1,3,224,224 --devices cpu,2080ti_1
    """
    check_choices(chosen, metric)
    if chosen.files or chosen.module is not None:
        if archs or file is not None:
            raise InputError("Architectures and a model were both given.", "Give one of them.")
        predict_models(chosen, models, as_json)
        return
    from fleetfront.spaces.catalogue import load_space

    family = load_space(space)
    wanted = [*archs, *_read(file, family)]
    if not wanted:
        raise InputError("No architecture was given.", "Name some, or give a file of them with --archs FILE.")
    cost = METRICS[metric]
    rows, devices = _predicted(wanted, models, accuracy, family, cost)
    if as_json:
        print_json([*rows, *_refused(rows, devices, cost)])
        devices.check()
        return
    heading = f"{cost.name.replace('_', ' ')} {cost.unit}"
    has_sittings = any(f"{cost.name}_std_same_sitting_{cost.unit}" in row for row in rows)
    spreads = ("+- when you run it", "+- same sitting") if has_sittings else ("+-",)
    judged = next((str(row["accuracy_of"]) for row in rows if "accuracy_of" in row), "accuracy %")
    cells = (_cells(row, cost, has_sittings) for row in rows)
    print_table(("architecture", "device", "runtime", heading, *spreads, "tier", "clock", judged), cells)
    tell_beyond(row.get("accuracy_is_beyond_range") for row in rows)
    if any(row["may_be_far_off"] for row in rows):
        hint(f"? The 90 % interval reaches further than {FAR_OFF:.0%}: measure these before you rely on them.")
    with_accuracy = f" --accuracy {quote(accuracy)}" if is_given("accuracy") and accuracy != NO_ACCURACY else ""
    narrowed = "".join(
        f" --{name} {quote(value)}" for name, value in (("runtime", models.runtime), ("clock", models.clock)) if value
    )
    next_search(f"--devices {','.join(split_names(models.devices))}{narrowed}", space, with_accuracy)
    devices.check()


def _refused(rows: list[dict[str, Any]], devices: ChosenModels, metric: Metric) -> list[dict[str, Any]]:
    """A row an architecture for each device that was left out."""
    archs = dict.fromkeys(row["arch"] for row in rows)
    blank = {f"{metric.name}_{metric.unit}": None}
    return [{"arch": arch, **blank, **refusal} for refusal in devices.refusals() for arch in archs]


def _predicted(
    wanted: list[str], choices: ModelChoices, accuracy: str, family: SearchSpace, metric: Metric
) -> tuple[list[dict[str, Any]], ChosenModels]:
    from fleetfront.cli.device_models import chosen_models, tell_accuracy
    from fleetfront.pipelines.predict.architectures import predict_archs
    from fleetfront.predictors.accuracy.built_in import has_built_in
    from fleetfront.predictors.accuracy.sources import load_accuracy
    from fleetfront.spaces.base import OfUserFile

    brings = isinstance(family, OfUserFile) and family.own_accuracy is not None
    if not (is_given("accuracy") or brings or has_built_in(family.name)):
        accuracy = NO_ACCURACY
        hint(f"Latency alone: no accuracies are shipped for {family.name}; --accuracy csv:PATH brings your own.")
    genotypes = family.parse(wanted)
    found = chosen_models(choices, family, asked=genotypes, metric=metric)
    models = {device.name: device.model for device in found}
    source = None if accuracy == NO_ACCURACY else load_accuracy(accuracy, family)
    if source is not None:
        tell_accuracy(source)
    return predict_archs(family, wanted, models, source), found


def _read(file: TextIO | None, family: SearchSpace) -> list[str]:
    """One architecture a line; the heading of a table's column may stand above them. Raises InputError with the line
    of the first that is not of the space."""
    if file is None:
        return []
    try:
        lines = [line.strip() for line in file.read().removeprefix("\ufeff").split("\n")]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file.name} is not a text file ({error.reason}).", "Give one architecture a line."
        ) from error
    if lines[0] == HEADING:
        lines[0] = ""
    archs = [line for line in lines if line]
    try:
        family.parse(archs)
    except InputError:
        _raise_with_line(file.name, lines, family)
        raise
    return archs


def _raise_with_line(name: str, lines: list[str], family: SearchSpace) -> None:
    for number, line in enumerate(lines, start=1):
        try:
            family.parse([line] if line else [])
        except InputError as error:
            raise InputError(f"{name}, line {number}: {error.message}", error.remedy) from error


def _cells(row: dict[str, Any], metric: Metric, has_sittings: bool) -> tuple[str, ...]:
    """Of one row; with ``has_sittings`` also its spread within the sitting of its model, where it has one."""
    known = row.get("accuracy")
    ms, std, within = (row.get(f"{metric.name}_{part}{metric.unit}") for part in ("", "std_", "std_same_sitting_"))
    mark = "*" if row.get("accuracy_is_beyond_range") else ""
    accuracy = "-" if known is None else f"{known:.2f}{mark} +-{row['accuracy_std']:.2f} [{row['accuracy_tier']}]"
    return (
        row["arch"],
        row["device"],
        split_spelled(row["target"])[1] if "target" in row else "-",
        f"{ms:.4g}{' ?' if row['may_be_far_off'] else ''}",
        "-" if ms is None or std is None else format_spread(ms, std, row["tier"]).lstrip("+-"),
        *(["-" if within is None else f"{within:.2g}"] if has_sittings else []),
        row["tier"],
        row.get("clock", "-"),
        accuracy,
    )
