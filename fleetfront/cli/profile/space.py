"""``fleetfront profile`` of a space: all of its blocks, or few networks; and what is printed of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.console import echo, hint, print_json, print_table, progress, warn
from fleetfront.cli.options import (
    MOST_NETWORKS,
    Amount,
    Count,
    is_given,
    option_group,
    seed_option,
    space_option,
    store_path,
)
from fleetfront.cli.profile.dry_run import plan_space, tell_plan
from fleetfront.cli.search.text import next_search
from fleetfront.errors import BarMissed, FleetfrontError, InputError
from fleetfront.profilers.kinds.base import Choices, DeviceKind
from fleetfront.quantities import LATENCY
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.pipelines.measure.few_shot import FewShotProfile, FewShotResult
    from fleetfront.pipelines.measure.front_blocks import RestWorth
    from fleetfront.pipelines.measure.profile import ProfileOutcome
    from fleetfront.profilers.base import Agent
    from fleetfront.profilers.kinds.catalogue import OpenAgent
    from fleetfront.progress import Progress


@dataclass(frozen=True, slots=True)
class ProfileChoices:
    """The part of a space to measure, and how well; ``validation`` is that of the option, given or not."""

    space: str
    budget: str
    target_error: float | None
    few: int | None
    calibration: int | None
    validation: int
    with_fit: bool
    seed: int
    dry_run: bool
    energy: str | None
    from_front: tuple[Path, ...]

    @property
    def held_out(self) -> int:
        """Held-out networks. With few networks a check costs more than they do, so it must be asked for."""
        return self.validation if self.few is None or is_given("validation") else 0


#: All options of ``ProfileChoices``, handed to the command as its argument ``wanted``.
wanted_options = option_group(
    ProfileChoices,
    "wanted",
    [
        space_option,
        click.option(
            "--budget",
            default="standard",
            show_default=True,
            metavar="quick|standard|long|10m",
            help="Time in all of each precision: 1, 5 or 10 minutes, or any duration. "
            "`long` calibrates on 80 networks.",
        ),
        click.option(
            "--target-error",
            type=Amount(0, 100, is_above=True),
            metavar="PERCENT",
            help="Stop as soon as the model is this good; else exit 1.",
        ),
        click.option(
            "--few",
            type=Count(1, MOST_NETWORKS),
            metavar="K",
            help="Only K networks, chosen to tell most; other devices teach the rest.",
        ),
        click.option(
            "--calibration", type=Count(0, MOST_NETWORKS), help="Calibration networks.  [default: 20, or the budget's]"
        ),
        click.option(
            "--validation", type=Count(0, MOST_NETWORKS), default=50, show_default=True, help="Held-out networks."
        ),
        click.option(
            "--from-front",
            multiple=True,
            type=click.Path(path_type=Path),
            metavar="FRONTS",
            help="Measure what networks of this fronts.json use first, and say what the rest is worth.",
        ),
        click.option("--fit/--no-fit", "with_fit", default=True, show_default=True, help="Fit the model afterwards."),
        click.option(
            "--energy", metavar="3m", help="ADB: what a profile's networks take from the battery, so long each."
        ),
        click.option(
            "--dry-run", is_flag=True, help="Say what would be measured, where, and what that changes; do nothing."
        ),
        seed_option,
    ],
)


def profile_family(
    kind: DeviceKind,
    target: Target,
    choices: Choices,
    wanted: ProfileChoices,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure what is wanted, fit, print. Raises BarMissed if ``--target-error`` was not reached."""
    if wanted.dry_run:
        tell_plan(kind, target, choices, plan_space(target, wanted), as_json, quiet)
        return
    with progress(quiet) as shown:

        def open_agent(one: Target) -> Agent:
            return kind.open(one, choices, shown)

        if wanted.few is not None:
            few_shot = _profile_few_shot(wanted.few, target, wanted, open_agent, store, shown)
        else:
            outcome, report, lost = _profile_space(target, wanted, open_agent, store, shown)
    if wanted.few is not None:
        show_few_shot_profile(few_shot, as_json)
        return
    _tell(outcome, report, as_json, launch_bound(store, outcome.result.campaign), _worth(wanted, outcome, report))
    if lost is not None:
        raise type(lost)(
            f"The second sitting, which ends a long profile, failed: {lost.message} The model above knows the first "
            "alone.",
            f"{lost.remedy} Then run: fleetfront fit {target.options} --space {wanted.space} --recalibrate",
        )
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
    target: Target, wanted: ProfileChoices, open_agent: OpenAgent, store: Path | None, shown: Progress
) -> tuple[ProfileOutcome, dict[str, Any] | None, FleetfrontError | None]:
    from fleetfront.pipelines.fit.fit import fit_all, quick_error
    from fleetfront.pipelines.fit.recalibrate import end_long_profile
    from fleetfront.pipelines.measure.front_blocks import read_front_use
    from fleetfront.pipelines.measure.profile import TargetError, parse_budget, profile_space
    from fleetfront.predictors.table.fitting import FEWEST_FOR_ERROR
    from fleetfront.profilers.plan import PlanOptions
    from fleetfront.profilers.reading.verdict import judge
    from fleetfront.profilers.store.store import Store
    from fleetfront.spaces.catalogue import load_space

    family, allowed = load_space(wanted.space), parse_budget(wanted.budget)
    count = allowed.calibration if wanted.calibration is None else wanted.calibration
    first = read_front_use(family, wanted.from_front).first(family) if wanted.from_front else ()
    options = PlanOptions(seed=wanted.seed, calibration=count, validation=wanted.validation, first=first)
    percent, rule = wanted.target_error, None
    if percent is not None:
        rule = TargetError(lambda seen: quick_error(seen, family), percent)
        if count < FEWEST_FOR_ERROR:
            raise InputError(
                f"{count} calibration networks are too few to tell an error by.",
                f"Use --calibration {FEWEST_FOR_ERROR} or more, or leave --target-error out.",
            )
    with Store(store_path(store)) as opened:
        outcome = profile_space(
            family,
            target,
            store=opened,
            budget=allowed,
            rule=rule,
            options=options,
            open_agent=open_agent,
            progress=shown,
        )
        if not wanted.with_fit:
            return outcome, None, None
        lost = None
        try:
            end_long_profile(opened, family, outcome.observations, open_agent=open_agent, progress=shown)
        except FleetfrontError as error:
            # What the profile measured is there all the same.
            lost = error
        report = fit_all(opened, target, family)
    return replace(outcome, verdict=judge(outcome.observations, report["statistic"])), report, lost


def _worth(wanted: ProfileChoices, outcome: ProfileOutcome, report: dict[str, Any] | None) -> RestWorth | None:
    """Say what fronts use and the rest is worth; None where no fronts were given."""
    if not wanted.from_front:
        return None
    from fleetfront.pipelines.measure.front_blocks import read_front_use, rest_worth
    from fleetfront.predictors.table.fit_files import load_fit
    from fleetfront.profilers.records import Role
    from fleetfront.spaces.catalogue import load_space

    family = load_space(wanted.space)
    table = None if report is None else load_fit(Path(report["path"])).table
    measured = list(outcome.observations.visits.get(Role.BLOCK, ()))
    return rest_worth(family, read_front_use(family, wanted.from_front), measured, table)


def _profile_few_shot(
    count: int, target: Target, wanted: ProfileChoices, open_agent: OpenAgent, store: Path | None, shown: Progress
) -> FewShotProfile:
    from fleetfront.pipelines.measure.few_shot import profile_few_shot
    from fleetfront.pipelines.measure.profile import parse_budget
    from fleetfront.profilers.store.store import Store
    from fleetfront.spaces.catalogue import load_space

    if wanted.target_error is not None:
        raise InputError("--target-error does not go with --few.", "Check the error with --validation 10 instead.")
    with Store(store_path(store)) as opened:
        return profile_few_shot(
            load_space(wanted.space),
            target,
            count,
            store=opened,
            validation=wanted.held_out,
            seed=wanted.seed,
            seconds=parse_budget(wanted.budget).seconds,
            open_agent=open_agent,
            progress=shown,
        )


def _tell(
    outcome: ProfileOutcome,
    report: dict[str, object] | None,
    as_json: bool,
    launches: dict[str, Any],
    worth: RestWorth | None,
) -> None:
    target, space = outcome.observations.target, outcome.observations.space
    if as_json:
        more = {"launches": launches} if launches["networks"] else {}
        more |= {} if worth is None else {"from_front": worth.to_json()}
        print_json({**outcome.to_json(), "fit": report, **more})
        return
    _show(outcome, with_floor=report is None)
    tell_launch_bound(launches)
    if report is not None:
        from fleetfront.cli.fit_text import show_fit

        show_fit(report, details=False)
    for line in () if worth is None else worth.lines():
        echo(line)
    next_search(target.search_options, space)


def launch_bound(store: Path | None, campaign: str) -> dict[str, Any]:
    """How many of a campaign's networks are launch-bound if run eagerly, and by how much, from the store."""
    from fleetfront.profilers.gpu.visit_timing import LAUNCH_BOUND
    from fleetfront.profilers.records import Role
    from fleetfront.profilers.store.store import Store
    from fleetfront.quantities import Clock

    flagged: dict[str, bool] = {}
    ratios: dict[str, float] = {}
    with Store(store_path(store), read_only=True) as opened:
        for row in opened.measurements(campaigns=[campaign], clock=Clock.WALL):
            if row.role not in (Role.BLOCK, Role.ANCHOR) and "eager_ratio" in row.after:
                flagged[row.key] = flagged.get(row.key, False) or LAUNCH_BOUND in row.flags
                ratios[row.key] = float(row.after["eager_ratio"])
    middle = sorted(ratios.values())[len(ratios) // 2] if ratios else None
    return {"networks": len(ratios), "launch_bound": sum(flagged.values()), "median_eager_ratio": middle}


def tell_launch_bound(found: dict[str, Any]) -> None:
    """Say it to people; nothing where the runtime does not let it be known."""
    if not found["networks"]:
        return
    if found["launch_bound"]:
        warn(
            f"{found['launch_bound']} of {found['networks']} networks are launch-bound: run eagerly they"
            f" take {found['median_eager_ratio']:.1f} times their time on the GPU (median). The clock 'device' is"
            " theirs under a CUDA graph, 'wall' without. Ship CUDA graphs or TensorRT plans, or use a larger batch."
        )
    else:
        hint(f"None of {found['networks']} networks is launch-bound.")


def percent_or_unknown(value: float, form: str) -> str:
    """A percentage for people; too few visits leave it NaN."""
    return "unknown" if math.isnan(value) else f"{value:{form}} %"


def _show(outcome: ProfileOutcome, with_floor: bool = True) -> None:
    """Say how the campaign ended and what it is worth; without its floor where the fit that follows prints it."""
    result, verdict = outcome.result, outcome.verdict
    measured = ", ".join(
        f"{outcome.measured.get(role, 0)}/{count} {role.value}" for role, count in outcome.planned.items()
    )
    hint(f"{result.rounds} rounds in {result.seconds:.0f} s, ended by {result.ended_by}; measured {measured}")
    word = click.style("stable", fg="green") if verdict.is_stable else click.style("unstable", fg="yellow")
    floor = f"Noise floor {percent_or_unknown(verdict.floor.mape, '.2f')} ({verdict.floor_role.value}), "
    hint(
        f"Verdict: {word}. {floor if with_floor else ''}drift {percent_or_unknown(verdict.drift.percent, '+.1f')}, "
        f"statistic {verdict.statistic}."
    )
    hint(f"Meanwhile {outcome.observations.others or 'nothing is known of other programs on this device'}.")
    for reason, count in verdict.discarded.items():
        hint(f"  {count} visits left out: {reason}")
    for weak in verdict.reasons:
        warn(f"{weak.text} {weak.remedy}")
    hint("")


def show_few_shot_profile(outcome: FewShotProfile, as_json: bool) -> None:
    """Print what was learnt, from whom, and how far off it is to be expected."""
    if as_json:
        print_json(outcome.to_json())
        return
    show_few_shot(outcome.result)
    for reason in outcome.profile.verdict.reasons:
        warn(f"{reason.text} {reason.remedy}")
    next_search(f"--device {outcome.result.target.device}", outcome.result.space)


def show_few_shot(result: FewShotResult) -> None:
    """Print a few-shot model beside its errors."""
    report = result.fit.report
    model = result.fit.model
    of_what = "" if model.metric == LATENCY else f"{model.metric.title} of "
    echo(click.style(f"{of_what}{result.space} on {result.target}", bold=True) + f"  [{model.tier.value}]")
    opinion = "operator costs" if report.serves == "transfer" else "XGBoost over all devices"
    echo(f"model: {opinion}, from {report.networks} networks of it and {len(report.teachers)} devices")
    rows = [("known devices, each left out in turn", f"{report.mape:.1f}", "-", "-", "-")]
    if report.expected_mape is not None:
        rows.insert(0, ("expected on this device", f"{report.expected_mape:.1f}", "-", "-", "-"))
    held_out = result.held_out
    if held_out is not None:
        rows.append(
            (
                f"found on {held_out.networks} held-out networks",
                f"{held_out.mape:.1f}",
                f"{held_out.within_10:.0%}",
                "-" if held_out.spearman is None else f"{held_out.spearman:.3f}",
                "-" if held_out.coverage_90 is None else f"{held_out.coverage_90:.0%}",
            )
        )
    print_table(("error", "MAPE %", "within 10 %", "Spearman", "in 90 % interval"), rows)
    estimated = [name for name in report.teachers if name.endswith("(estimated)")]
    if estimated:
        warn(
            f"{len(estimated)} of {len(report.teachers)} teaching devices are estimates themselves, so the expected "
            f"error may be half of the true one. Import or profile more devices for {result.space}, or "
            "check with --validation 10."
        )
    for text in report.warnings:
        warn(text)
    for text in report.left_out:
        warn(f"Could not teach: {text}")
    hint(f"Model: {result.path}")
