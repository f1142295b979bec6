"""Print a model from few networks. Choosing, measuring and learning are in ``pipelines.few_profile``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import echo, hint, print_json, print_table, warn
from fleetfront.cli.search.text import next_search

if TYPE_CHECKING:
    from fleetfront.pipelines.measure.few_shot import FewOutcome, Learnt


def tell_few(outcome: FewOutcome, as_json: bool) -> None:
    """Print what was learnt, from whom, and how far off it is to be expected."""
    if as_json:
        print_json(outcome.to_json())
        return
    show_learnt(outcome.learnt)
    for doubt in outcome.profile.verdict.reasons:
        warn(f"{doubt.text} {doubt.remedy}")
    next_search(f"--device {outcome.learnt.target.device}", outcome.learnt.space)


def show_learnt(learnt: Learnt) -> None:
    """Print a model from few measurements beside its errors."""
    report = learnt.fit.report
    echo(click.style(f"{learnt.space} on {learnt.target}", bold=True) + f"  [{learnt.fit.model.tier.value}]")
    opinion = "operator costs" if report.serves == "transfer" else "XGBoost over all devices"
    echo(f"model: {opinion}, from {report.networks} networks of it and {len(report.teachers)} devices")
    rows = [("known devices, each left out in turn", f"{report.mape:.1f}", "-", "-", "-")]
    if report.expected_mape is not None:
        rows.insert(0, ("expected on this device", f"{report.expected_mape:.1f}", "-", "-", "-"))
    held_out = learnt.held_out
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
            f"error may be half of the true one. Import or profile more devices for {learnt.space}, or "
            "check with --validation 10."
        )
    for text in report.warnings:
        warn(text)
    for text in report.left_out:
        warn(f"Could not teach: {text}")
    hint(f"Model: {learnt.path}")
