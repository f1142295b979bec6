"""``profile --operators``: measure what operators cost on a device, and say how well that is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetfront.cli.console import echo, hint, next_command, print_json, print_table, progress
from fleetfront.cli.options import store_path
from fleetfront.cli.profile.space import ProfileChoices
from fleetfront.profilers.kinds.base import Choices, DeviceKind
from fleetfront.quantities import format_duration, parse_duration_s
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.predictors.operators.costs import OperatorCosts

#: Measuring takes so long unless the user says otherwise; writing files and fitting come on top.
_BUDGETS = {"quick": 60.0, "standard": 240.0, "long": 600.0}


def profile_device_operators(
    kind: DeviceKind,
    target: Target,
    choices: Choices,
    wanted: ProfileChoices,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure, learn, save, print. Raises what ``measure.operators.profile_operators`` raises."""
    from fleetfront.pipelines.measure.operators import profile_operators
    from fleetfront.predictors.operators.cost_files import save_costs
    from fleetfront.profilers.store.store import Store
    from fleetfront.workspace import Workspace

    budget = wanted.budget
    seconds = _BUDGETS[budget] if budget in _BUDGETS else parse_duration_s(budget)
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        costs = profile_operators(
            target,
            store=opened,
            seconds=seconds,
            seed=wanted.seed,
            open_agent=lambda one: kind.open(one, choices, shown),
            progress=shown,
        )
    path = save_costs(costs, Workspace.default())
    if as_json:
        print_json(costs_to_json(costs, path))
        return
    echo(f"Operators on {costs.target}  [{costs.clock.value} clock, {format_duration(costs.seconds)}]")
    rows = [
        (
            one.kind,
            str(one.samples),
            f"{one.mape:.1f}",
            "roofline" if one.trees is None else "roofline + XGBoost",
        )
        for one in sorted(costs.kinds.values(), key=lambda one: -one.samples)
    ]
    print_table(("kind", "samples", "MAPE %", "model"), rows)
    for heading, words in rules_in_words(costs).items():
        hint(f"{heading}: {words}")
    scales = costs.scales
    hint(
        f"Networks of families left out: {100 * scales.rms:.1f} % off (root mean square, {scales.networks} networks). "
        f"Model: {path}"
    )
    next_command(f"fleetfront predict --file FILE --device {costs.target.device}")


def rules_in_words(costs: OperatorCosts) -> dict[str, str]:
    """The savings of neighbours, for people."""
    rules = costs.rules
    found = {"Fused": ", ".join(f"{head} + {tail}" for head, tail in rules.fused) or "nothing that was tried"}
    if rules.saved_ms:
        found["Layout of its own"] = ", ".join(rules.inside)
        found["Either layout"] = ", ".join(rules.through) or "none"
        found["Changing to it and back"] = f"{1e3 * rules.saved_ms:.3g} us a million elements"
    return found


def costs_to_json(costs: OperatorCosts, path: Path) -> dict[str, Any]:
    """Plain values for ``--json``."""
    return {
        "schema": "fleetfront.operator-profile/1",
        "target": str(costs.target),
        "clock": costs.clock.value,
        "seconds": costs.seconds,
        "model": str(path),
        "kinds": [
            {"kind": one.kind, "samples": one.samples, "mape": one.mape, "trees": one.trees is not None}
            for one in costs.kinds.values()
        ],
        "rules": rules_in_words(costs),
        "networks": costs.scales.networks,
        "rms": costs.scales.rms,
    }
