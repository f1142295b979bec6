"""``fleetfront profile``: measure a space's blocks and networks on a device, or time one model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from fleetfront.cli.options import (
    device_option,
    json_option,
    quiet_option,
    split_names,
    store_option,
    target_options,
)
from fleetfront.cli.profile.batches import Variant, profile_variants, summarise_variants, targets_of, variants_of
from fleetfront.cli.profile.each_file import profile_each_file
from fleetfront.cli.profile.energy import profile_energy
from fleetfront.cli.profile.file import TimedFiles, check_file_request, file_target, profile_file_there, timed_options
from fleetfront.cli.profile.file_operators import profile_file_operators
from fleetfront.cli.profile.many import profile_each
from fleetfront.cli.profile.operators import profile_device_operators
from fleetfront.cli.profile.settings import Settings, check_can, choices_of, kind_for, refuse_words, settings_options
from fleetfront.cli.profile.space import ProfileChoices, profile_family, wanted_options
from fleetfront.errors import InputError
from fleetfront.profilers.kinds.base import Capability, DeviceKind


@click.command()
@click.argument("words", nargs=-1, metavar="", expose_value=False, callback=refuse_words)
@device_option
@target_options
@wanted_options
@timed_options
@click.option(
    "--operators",
    is_flag=True,
    help="What operators cost: with --file, those of the file; else the device's own model.",
)
@settings_options
@store_option
@json_option
@quiet_option
def profile(
    devices: tuple[str, ...],
    runtime: str | None,
    precision: str | tuple[str, ...],
    threads: int,
    batch: int | tuple[int, ...],
    wanted: ProfileChoices,
    timed: TimedFiles,
    settings: Settings,
    operators: bool,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure a space's blocks and networks, or one model file.

    Rounds of interleaved visits, until the budget or --target-error ends them. Every visit is kept at once: stop
    whenever you like, and type the same command to go on.

    \b
    Examples:
      fleetfront profile --device cpu --runtime onnxruntime --space ofa-mbv3-w1.0 --budget quick
      fleetfront profile --device adb:SERIAL --from-front fronts --budget 2m
      fleetfront profile --devices ssh:pi/cpu,ssh:lab/adb:SERIAL --file model.tflite
      fleetfront profile --device cuda:0 --runtime torch --batch 1,64 --target-error 2.5
      fleetfront profile --device cpu --runtime onnxruntime --precision fp32,int8
      fleetfront profile --file detector.onnx --shape images=1,3,640,640
      fleetfront profile --file model.onnx --operators
      fleetfront profile --device cpu --runtime onnxruntime --operators
    """
    names = split_names(devices)
    if len(names) > 1:
        profile_each(names, as_json)
        return
    name, file = names[0], timed.file
    if timed.is_several:
        profile_each_file(timed.files, as_json)
        return
    check_file_request(file, variants := variants_of(batch, precision))
    kind = kind_for(name)
    check_can(kind, name, _abilities(timed, wanted, variants, operators))
    choices = choices_of(name, kind, settings, is_sustained=(timed.sustained or wanted.energy) is not None)
    if file is not None or timed.sustained is not None:
        target = file_target(kind, name, runtime, variants[0].precision, threads, variants[0].batch, file)
        time = profile_file_operators if operators else profile_file_there
        time(kind, target, choices, timed, store, wanted.dry_run, as_json, quiet)
        return
    runtime = runtime or (None if operators else _runtime_of(wanted.space, kind))
    targets = targets_of(variants, lambda one: kind.target(name, runtime=runtime, threads=threads, **one))
    if len(targets) == 1:
        measure = profile_device_operators if operators else profile_energy if wanted.energy else profile_family
        measure(kind, targets[0], choices, wanted, store, as_json, quiet)
        return
    each = click.get_current_context()
    profile_variants(variants, lambda one: each.invoke(profile, **{**each.params, **one.to_options()}), as_json)
    if wanted.with_fit and not (as_json or wanted.dry_run):
        summarise_variants(targets, wanted.space)


def _runtime_of(space: str, kind: DeviceKind) -> str | None:
    """The runtime of networks of a user's file, which are quickest written as ONNX; None for those that the device may
    choose for.
    """
    from fleetfront.runtimes.catalogue import places
    from fleetfront.spaces.base import OfUserFile
    from fleetfront.spaces.catalogue import load_space

    family = load_space(space)
    if not isinstance(family, OfUserFile):
        return None
    return next((place.name for place in places(kind.name).values() if place.file_format == "onnx"), None)


def _abilities(
    timed: TimedFiles, wanted: ProfileChoices, variants: Sequence[Variant], operators: bool
) -> dict[str, Capability]:
    """The wishes of the user beyond a space's profile, in words, and what a device must be able to do for it.

    Raises InputError for wishes that exclude each other.
    """
    file, sustained, energy, few = timed.file, timed.sustained, wanted.energy, wanted.few
    if wanted.from_front and (energy is not None or few is not None or operators):
        raise InputError(
            "--from-front is an order of a space's blocks, of which --few, --energy and --operators measure none.",
            "Leave one of them out.",
        )
    if energy is not None and (file is not None or sustained is not None or few is not None or operators):
        raise InputError(
            "--energy is of the networks of a space's profile, which it needs first.",
            "Leave out --file, --sustained, --few and --operators; --sustained tells the energy of one file.",
        )
    if operators and file is None and wanted.dry_run:
        raise InputError("--operators has no --dry-run: it takes the minutes of its --budget.", "Leave one out.")
    if operators and file is None:
        from fleetfront.pipelines.measure.operators import check_operators

        for one in variants:
            check_operators(one.precision)
    wishes = {
        "A time for one file": (file is not None, Capability.FILES),
        "--sustained": (sustained is not None, Capability.SUSTAINED),
        # Where energy is measured with the profile itself, nothing is run without rest for it.
        "--energy": (energy is not None, Capability.SUSTAINED),
        "--few": (few is not None, Capability.FEW_SHOT),
        "--operators": (operators, Capability.OPERATORS),
        "Several batches": (len({one.batch for one in variants}) > 1, Capability.BATCHES),
    }
    return {words: capability for words, (is_asked, capability) in wishes.items() if is_asked}
