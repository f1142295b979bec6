"""``fleetfront profile``: measure a space's blocks and networks on a device, or time one model file."""

from __future__ import annotations

from pathlib import Path

import click

from fleetfront.cli.options import (
    device_option,
    json_option,
    local_target,
    quiet_option,
    seed_option,
    space_option,
    split_names,
    store_option,
    target_options,
)
from fleetfront.cli.profile.adb_options import AdbChoices, adb_options, warn_of_unused
from fleetfront.cli.profile.family import Wanted, is_adb, profile_family
from fleetfront.cli.profile.file import check_file_request, precision_of, profile_local_file
from fleetfront.cli.profile.gpu import check_gpu_request, profile_batches, summarise_batches
from fleetfront.errors import DeviceError, FleetfrontError, InputError, unknown
from fleetfront.runtimes.cuda_device import is_cuda
from fleetfront.targets import Target


@click.command()
@device_option
@target_options
@space_option
@click.option(
    "--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="Time this .onnx or .tflite file."
)
@click.option(
    "--budget",
    default="standard",
    show_default=True,
    metavar="quick|standard|long|10m",
    help="Time in all: 1, 5 or 10 minutes, or any duration. `long` calibrates on 80 networks.",
)
@click.option(
    "--target-error", type=float, metavar="PERCENT", help="Stop as soon as the model is this good; else exit 1."
)
@click.option(
    "--few",
    type=click.IntRange(1),
    metavar="K",
    help="Only K networks, chosen to tell most; other devices teach the rest.",
)
@click.option("--calibration", type=click.IntRange(0), help="Calibration networks.  [default: 20, or the budget's]")
@click.option("--validation", type=click.IntRange(0), default=50, show_default=True, help="Held-out networks.")
@click.option("--fit/--no-fit", "with_fit", default=True, show_default=True, help="Fit the model afterwards.")
@click.option("--sustained", metavar="10m", help="ADB, with --file: run without rest; what heat leaves of the speed.")
@click.option("--dry-run", is_flag=True, help="Say what would be measured, where, and what that changes; do nothing.")
@adb_options
@seed_option
@store_option
@json_option
@quiet_option
def profile(
    devices: tuple[str, ...],
    runtime: str | None,
    precision: str,
    threads: int,
    batch: int | tuple[int, ...],
    space: str,
    file: Path | None,
    budget: str,
    target_error: float | None,
    few: int | None,
    calibration: int | None,
    validation: int,
    with_fit: bool,
    sustained: str | None,
    dry_run: bool,
    cores: str,
    runner: str,
    benchmark_model: Path | None,
    litert_wheel: Path | None,
    max_temp: float | None,
    cooldown: str | None,
    seed: int,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure a space's blocks and networks, or one model file.

    Rounds of interleaved visits over blocks, calibration networks and held-out networks, until the budget or
    --target-error ends them. Every visit is kept at once: stop whenever you like, and type the same command to go on.

    \b
    Examples:
      fleetfront profile --device cpu --runtime litert
      fleetfront profile --device cpu --runtime onnxruntime --space ofa-mbv3-w1.0 --budget quick
      fleetfront profile --device adb:SERIAL --cores big --max-temp 38
      fleetfront profile --device adb:SERIAL --few 10 --validation 10
      fleetfront profile --device cuda:0 --runtime torch --precision fp16 --batch 1,64
      fleetfront profile --target-error 2.5 --budget 20m
      fleetfront profile --file model.tflite --threads 2
    """
    names = split_names(devices)
    if len(names) > 1:
        from fleetfront.cli.profile.many import profile_each

        profile_each(names, as_json)
        return
    if is_cuda(names[0]):
        check_gpu_request(file, sustained, few)
    if file is not None:
        check_file_request()
    name = _full_name(names[0])
    wanted = Wanted(space, budget, target_error, few, calibration, validation, with_fit, seed, dry_run)
    if isinstance(batch, tuple):
        _each_batch(name, batch, runtime, precision, wanted, as_json)
        return
    adb = AdbChoices(cores, runner, benchmark_model, litert_wheel, max_temp, cooldown)
    if file is not None:
        precision = precision_of(file, runtime, precision)
    target = _target(name, runtime, precision, threads, batch, file)
    if file is None and sustained is None:
        profile_family(name, target, wanted, adb, store, as_json, quiet)
    elif dry_run and file is not None:
        from fleetfront.cli.profile.dry_run import dry_run_file

        dry_run_file(name, target, file, sustained, adb, as_json, quiet)
    elif sustained is not None or is_adb(name):
        from fleetfront.cli.profile.adb_file import profile_adb_file

        profile_adb_file(name, target, file, sustained, adb, store, as_json, quiet)
    elif file is not None:
        profile_local_file(file, target, store, as_json, quiet)


def _each_batch(
    name: str, batches: tuple[int, ...], runtime: str | None, precision: str, wanted: Wanted, as_json: bool
) -> None:
    if not is_cuda(name):
        raise InputError("Several batches are profiled on a GPU only.", "Give one --batch.")
    each = click.get_current_context()
    profile_batches(batches, lambda one: each.invoke(profile, **{**each.params, "batch": one}), as_json)
    if wanted.with_fit and not (as_json or wanted.dry_run):
        summarise_batches(runtime, name, precision, batches, wanted.space)


def _full_name(name: str) -> str:
    """The device's name; ``adb`` alone stands for the only one attached."""
    if not is_adb(name):
        warn_of_unused(name)
        return name
    from fleetfront.profilers.adb.opening import full_name

    return full_name(name)


def _target(name: str, runtime: str | None, precision: str, threads: int, batch: int, file: Path | None) -> Target:
    if is_adb(name):
        from fleetfront.profilers.adb.opening import adb_target

        return adb_target(name, runtime=runtime, precision=precision, threads=threads, batch=batch)
    if is_cuda(name):
        from fleetfront.profilers.gpu.opening import gpu_target

        return gpu_target(name, runtime, precision, batch, threads)
    if name != "cpu":
        raise _not_here(name)
    if file is not None and runtime is None:
        from fleetfront.runtimes.catalogue import runtime_for_file

        runtime = runtime_for_file(file).name
    return local_target(name, runtime, precision, threads, batch)


def _not_here(name: str) -> FleetfrontError:
    from fleetfront.device_configs.loader import device_names

    if name not in device_names():
        return unknown("device", name, ["cpu", *device_names()])
    return DeviceError(
        f"The device {name!r} cannot be measured from here by this version.",
        "Profile this machine with --device cpu, or bring measurements in with `fleetfront import`.",
    )
