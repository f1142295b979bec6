"""``fleetfront profile``: measure a space's blocks and networks on a device, or time one model file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.adb_options import AdbChoices, adb_options, warn_of_unused
from fleetfront.cli.console import hint, next_command, print_json, print_table, progress, warn
from fleetfront.cli.options import (
    device_option,
    is_given,
    json_option,
    local_target,
    quiet_option,
    seed_option,
    space_option,
    split_names,
    store_option,
    store_path,
    target_options,
)
from fleetfront.cli.profile_gpu import (
    check_gpu_request,
    gpu_agent,
    launch_bound,
    profile_batches,
    summarise_batches,
    tell_launch_bound,
)
from fleetfront.errors import BarMissed, DeviceError, FleetfrontError, InputError, unknown
from fleetfront.runtimes.cuda_device import is_cuda
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.pipelines.profile import ProfileOutcome
    from fleetfront.progress import Progress

ADB = "adb"


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
        from fleetfront.cli.profile_many import profile_each

        profile_each(names, as_json)
        return
    name = _full_name(names[0])
    if isinstance(batch, tuple):
        if not is_cuda(name):
            raise InputError("Several batches are profiled on a GPU only.", "Give one --batch.")
        each = click.get_current_context()
        profile_batches(batch, lambda one: each.invoke(profile, **{**each.params, "batch": one}), as_json)
        if with_fit and not (as_json or dry_run):
            summarise_batches(runtime, name, precision, batch, space)
        return
    if is_cuda(name):
        check_gpu_request(file, sustained, few)
    adb = AdbChoices(cores, runner, benchmark_model, litert_wheel, max_temp, cooldown)
    target = _target(name, runtime, precision, threads, batch, file)
    if dry_run:
        from fleetfront.cli.profile_dry import dry_run_file, dry_run_space

        if file is not None:
            dry_run_file(name, target, file, adb, as_json, quiet)
        else:
            held_out = validation if few is None or is_given("validation") else 0
            dry_run_space(name, target, space, budget, few, calibration, held_out, adb, as_json, quiet)
        return
    if sustained is not None or (file is not None and _is_adb(name)):
        from fleetfront.cli.profile_adb_file import profile_adb_file

        profile_adb_file(name, target, file, sustained, adb, store, as_json, quiet)
        return
    if file is not None:
        _profile_file(file, target, store, as_json, quiet)
        return
    wanted = _Wanted(space, budget, target_error, calibration, validation, with_fit, seed)
    if few is not None:
        _profile_few(few, name, target, wanted, adb, store, as_json, quiet)
        return
    with progress(quiet) as shown:
        outcome, report = _profile_space(name, target, wanted, adb, store, shown)
    more = {"launches": launch_bound(store, outcome.result.campaign)} if is_cuda(name) else {}
    _tell(outcome, report, as_json, more)
    if target_error is not None and outcome.result.ended_by != "target":
        raise BarMissed(
            f"The target error of {target_error:g} % was not reached within the budget {budget}.",
            "Run again with a longer --budget: it goes on from here.",
        )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be measured of a space, and how well."""

    space: str
    budget: str
    target_error: float | None
    calibration: int | None
    validation: int
    with_fit: bool
    seed: int


def _is_adb(name: str) -> bool:
    return name == ADB or name.startswith(f"{ADB}:")


def _full_name(name: str) -> str:
    """The device's name; ``adb`` alone stands for the only one attached."""
    if not _is_adb(name):
        warn_of_unused(name)
        return name
    from fleetfront.profilers.adb.opening import full_name

    return full_name(name)


def _target(name: str, runtime: str | None, precision: str, threads: int, batch: int, file: Path | None) -> Target:
    if _is_adb(name):
        from fleetfront.profilers.adb.opening import adb_target

        return adb_target(name, runtime=runtime or "tflite-cpu", precision=precision, threads=threads, batch=batch)
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


def _profile_space(
    device: str, target: Target, wanted: _Wanted, adb: AdbChoices, store: Path | None, shown: Progress
) -> tuple[ProfileOutcome, dict[str, object] | None]:
    from fleetfront.pipelines.fit import fit_report, fit_target, quick_error
    from fleetfront.pipelines.profile import TargetError, parse_budget, profile_space
    from fleetfront.profilers.plan import PlanOptions
    from fleetfront.profilers.store import Store
    from fleetfront.spaces.catalogue import load_space

    family, allowed = load_space(wanted.space), parse_budget(wanted.budget)
    count = allowed.calibration if wanted.calibration is None else wanted.calibration
    options = PlanOptions(seed=wanted.seed, calibration=count, validation=wanted.validation)
    percent = wanted.target_error
    rule = TargetError(lambda seen: quick_error(seen, family), percent) if percent is not None else None
    more = _agent_of(device, target, adb, shown)
    with Store(store_path(store)) as opened:
        outcome = profile_space(
            family, target, store=opened, budget=allowed, rule=rule, options=options, progress=shown, **more
        )
        report = fit_report(fit_target(opened, target, family)) if wanted.with_fit else None
    return outcome, report


def _agent_of(device: str, target: Target, adb: AdbChoices, shown: Progress) -> dict[str, Any]:
    """Who measures and under which clock, as the pipelines want it; empty for this machine's CPU."""
    if is_cuda(device):
        return gpu_agent(target, shown)
    if not _is_adb(device):
        return {}
    agent = adb.agent(device, target, shown)
    # The runner decides which clocks there are: Google's has no thread-CPU time.
    return {"open_agent": lambda _: agent, "clock": agent.clocks[0]}


def _profile_few(
    count: int,
    device: str,
    target: Target,
    wanted: _Wanted,
    adb: AdbChoices,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    from fleetfront.cli.profile_few import tell_few
    from fleetfront.pipelines.few_profile import profile_few
    from fleetfront.pipelines.profile import parse_budget
    from fleetfront.profilers.store import Store
    from fleetfront.spaces.catalogue import load_space

    if wanted.target_error is not None:
        raise InputError("--target-error does not go with --few.", "Check the error with --validation 10 instead.")
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        outcome = profile_few(
            load_space(wanted.space),
            target,
            count,
            store=opened,
            # A check costs more than the few themselves, so it must be asked for.
            validation=wanted.validation if is_given("validation") else 0,
            seed=wanted.seed,
            seconds=parse_budget(wanted.budget).seconds,
            progress=shown,
            **_agent_of(device, target, adb, shown),
        )
    tell_few(outcome, as_json)


def _profile_file(file: Path, target: Target, store: Path | None, as_json: bool, quiet: bool) -> None:
    from fleetfront.profilers.single_file import profile_file
    from fleetfront.profilers.store import Store

    with Store(store_path(store)) as opened, progress(quiet) as shown:
        result = profile_file(file, target, store=opened, progress=shown)
    if as_json:
        print_json(result.to_json())
        return
    print_table(("what", "value"), result.rows())
    for text in result.warnings:
        warn(text)


def _tell(
    outcome: ProfileOutcome, report: dict[str, object] | None, as_json: bool, more: dict[str, dict[str, Any]]
) -> None:
    target, space = outcome.observations.target, outcome.observations.space
    if as_json:
        print_json({**outcome.to_json(), "fit": report, **more})
        return
    _show(outcome)
    if more:
        tell_launch_bound(more["launches"])
    if report is not None:
        from fleetfront.cli.fit_text import show_fit

        show_fit(report, details=False)
    next_command(f"fleetfront search --device {target.device} --runtime {target.runtime} --space {space}")


def _show(outcome: ProfileOutcome) -> None:
    result, verdict = outcome.result, outcome.verdict
    measured = ", ".join(
        f"{outcome.measured.get(role, 0)}/{count} {role.value}" for role, count in outcome.planned.items()
    )
    hint(f"{result.rounds} rounds in {result.seconds:.0f} s, ended by {result.ended_by}; measured {measured}")
    word = click.style("stable", fg="green") if verdict.is_stable else click.style("unstable", fg="yellow")
    hint(
        f"Verdict: {word}. Noise floor {verdict.floor.mape:.2f} % ({verdict.floor_role.value}), "
        f"drift {verdict.drift.percent:+.1f} %, statistic {verdict.statistic}."
    )
    for reason, count in verdict.discarded.items():
        hint(f"  {count} visits left out: {reason}")
    for doubt in verdict.reasons:
        warn(f"{doubt.text} {doubt.remedy}")
    hint("")
