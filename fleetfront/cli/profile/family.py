"""``fleetfront profile`` of a space: all of its blocks, or few networks; and what is printed of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.console import hint, next_command, print_json, progress, warn
from fleetfront.cli.options import is_given, store_path
from fleetfront.cli.profile.adb_options import AdbChoices
from fleetfront.cli.profile.gpu import gpu_agent, launch_bound, tell_launch_bound
from fleetfront.errors import BarMissed, InputError
from fleetfront.runtimes.cuda_device import is_cuda
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.pipelines.measure.profile import ProfileOutcome
    from fleetfront.progress import Progress

ADB = "adb"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured of a space, and how well; ``validation`` is that of the option, given or not."""

    space: str
    budget: str
    target_error: float | None
    few: int | None
    calibration: int | None
    validation: int
    with_fit: bool
    seed: int
    dry_run: bool

    @property
    def held_out(self) -> int:
        """Held-out networks. With few networks a check costs more than they do, so it must be asked for."""
        return self.validation if self.few is None or is_given("validation") else 0


def is_adb(name: str) -> bool:
    """Whether a device is reached through ADB."""
    return name == ADB or name.startswith(f"{ADB}:")


def profile_family(
    name: str, target: Target, wanted: Wanted, adb: AdbChoices, store: Path | None, as_json: bool, quiet: bool
) -> None:
    """Measure what is wanted, fit, print. Raises BarMissed if ``--target-error`` was not reached."""
    if wanted.dry_run:
        from fleetfront.cli.profile.dry_run import dry_run_space

        count = wanted.calibration
        dry_run_space(
            name, target, wanted.space, wanted.budget, wanted.few, count, wanted.held_out, adb, as_json, quiet
        )
        return
    if wanted.few is not None:
        _profile_few(wanted.few, name, target, wanted, adb, store, as_json, quiet)
        return
    with progress(quiet) as shown:
        outcome, report = _profile_space(name, target, wanted, adb, store, shown)
    more = {"launches": launch_bound(store, outcome.result.campaign)} if is_cuda(name) else {}
    _tell(outcome, report, as_json, more)
    if wanted.target_error is not None and outcome.result.ended_by != "target":
        raise _missed(wanted.target_error, wanted.budget, outcome)


def _missed(percent: float, budget: str, outcome: ProfileOutcome) -> BarMissed:
    missed = f"The target error of {percent:g} % was not reached"
    if outcome.result.ended_by == "rounds":
        return BarMissed(
            f"{missed} in {outcome.result.rounds} rounds, the most that are made.",
            "Give more --calibration networks, or a larger --target-error.",
        )
    return BarMissed(f"{missed} within the budget {budget}.", "Run again with a longer --budget: it goes on from here.")


def _profile_space(
    device: str, target: Target, wanted: Wanted, adb: AdbChoices, store: Path | None, shown: Progress
) -> tuple[ProfileOutcome, dict[str, object] | None]:
    from fleetfront.pipelines.fit.fit import fit_report, fit_target, quick_error
    from fleetfront.pipelines.measure.profile import TargetError, parse_budget, profile_space
    from fleetfront.predictors.table.fitting import FEWEST_FOR_ERROR
    from fleetfront.profilers.plan import PlanOptions
    from fleetfront.profilers.store.store import Store
    from fleetfront.spaces.catalogue import load_space

    family, allowed = load_space(wanted.space), parse_budget(wanted.budget)
    count = allowed.calibration if wanted.calibration is None else wanted.calibration
    options = PlanOptions(seed=wanted.seed, calibration=count, validation=wanted.validation)
    percent, rule = wanted.target_error, None
    if percent is not None:
        rule = TargetError(lambda seen: quick_error(seen, family), percent)
        if count < FEWEST_FOR_ERROR:
            raise InputError(
                f"{count} calibration networks are too few to tell an error by.",
                f"Use --calibration {FEWEST_FOR_ERROR} or more, or leave --target-error out.",
            )
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
    if not is_adb(device):
        return {}
    agent = adb.agent(device, target, shown)
    # The runner decides which clocks there are: Google's has no thread-CPU time.
    return {"open_agent": lambda _: agent, "clock": agent.clocks[0]}


def _profile_few(
    count: int,
    device: str,
    target: Target,
    wanted: Wanted,
    adb: AdbChoices,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    from fleetfront.cli.profile.few_shot import tell_few
    from fleetfront.pipelines.measure.few_shot import profile_few
    from fleetfront.pipelines.measure.profile import parse_budget
    from fleetfront.profilers.store.store import Store
    from fleetfront.spaces.catalogue import load_space

    if wanted.target_error is not None:
        raise InputError("--target-error does not go with --few.", "Check the error with --validation 10 instead.")
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        outcome = profile_few(
            load_space(wanted.space),
            target,
            count,
            store=opened,
            validation=wanted.held_out,
            seed=wanted.seed,
            seconds=parse_budget(wanted.budget).seconds,
            progress=shown,
            **_agent_of(device, target, adb, shown),
        )
    tell_few(outcome, as_json)


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


def percent_or_unknown(value: float, form: str) -> str:
    """A percentage for people; too few visits leave it NaN."""
    return "unknown" if math.isnan(value) else f"{value:{form}} %"


def _show(outcome: ProfileOutcome) -> None:
    result, verdict = outcome.result, outcome.verdict
    measured = ", ".join(
        f"{outcome.measured.get(role, 0)}/{count} {role.value}" for role, count in outcome.planned.items()
    )
    hint(f"{result.rounds} rounds in {result.seconds:.0f} s, ended by {result.ended_by}; measured {measured}")
    word = click.style("stable", fg="green") if verdict.is_stable else click.style("unstable", fg="yellow")
    hint(
        f"Verdict: {word}. Noise floor {percent_or_unknown(verdict.floor.mape, '.2f')} ({verdict.floor_role.value}), "
        f"drift {percent_or_unknown(verdict.drift.percent, '+.1f')}, statistic {verdict.statistic}."
    )
    for reason, count in verdict.discarded.items():
        hint(f"  {count} visits left out: {reason}")
    for doubt in verdict.reasons:
        warn(f"{doubt.text} {doubt.remedy}")
    hint("")
