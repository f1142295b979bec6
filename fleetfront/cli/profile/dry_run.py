"""``profile --dry-run``: what would be measured, on what, and what that changes on a device. Nothing is measured."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from fleetfront.cli.console import hint, print_json, print_table, progress
from fleetfront.profilers.kinds.base import Choices, DeviceKind
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.cli.profile.space import ProfileChoices

#: What a phone calls its mask of cores is a number in hexadecimal, as `taskset` takes it.
_NAMES = {"cores": "cores (mask)"}
_PLURAL = {"block": "blocks", "calibration": "calibration networks", "validation": "validation networks"}


def plan_space(target: Target, wanted: ProfileChoices) -> dict[str, Any]:
    """Say what of a space would be measured. Raises whatever would end the command itself before it opens a device."""
    from fleetfront.pipelines.measure.front_blocks import read_front_use
    from fleetfront.pipelines.measure.profile import check_precision, parse_budget
    from fleetfront.profilers.plan import PlanOptions, make_plan
    from fleetfront.spaces.catalogue import load_space

    check_precision(target)
    allowed, few = parse_budget(wanted.budget), wanted.few
    count = few or (allowed.calibration if wanted.calibration is None else wanted.calibration)
    blocks = "spread" if few is None else "none"
    options = PlanOptions(calibration=count, validation=wanted.held_out, blocks=blocks)
    space = load_space(wanted.space)
    plan = make_plan(space, options)
    first = {"measured_first": read_front_use(space, wanted.from_front).used} if wanted.from_front else {}
    counts = Counter(item.role.value for item in plan.items)
    anchors = -(-len(plan.items) // options.anchor_every) + 1
    return {
        "space": wanted.space,
        "planned": {role: counts[role] for role in sorted(counts)},
        **first,
        "visits_per_round": len(plan.items) + anchors,
        "runs_per_visit": options.warm_runs + options.timed_runs,
        "budget_seconds": allowed.seconds,
    }


def tell_plan(
    kind: DeviceKind, target: Target, choices: Choices, planned: dict[str, Any], as_json: bool, quiet: bool
) -> None:
    """Print what would be measured, and what the device and the changes to it would be. Raises what opening raises."""
    facts = {"schema": "fleetfront.profile-plan/1", "target": str(target), **planned}
    with progress(quiet) as shown:
        facts |= kind.preview(target, choices, shown)
    if as_json:
        print_json(facts)
    else:
        print_table(("what", "value"), list(_rows(facts)))
    hint("\nNothing was measured or changed. Type the same command without --dry-run to begin.")


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, value in facts.items():
        words = name.replace("_", " ")
        if name == "schema":
            continue
        if name == "device":
            rows += [
                (_NAMES.get(key) or key.replace("_", " "), _text(fact))
                for key, fact in value.items()
                if _is_known(fact)
            ]
        else:
            rows.append((words, _text(value)))
    return rows


def _is_known(fact: object) -> bool:
    return any(fact) if isinstance(fact, list) else bool(fact)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {_PLURAL.get(name, name)}" for name, count in value.items())
    if isinstance(value, list):
        return ", ".join("+".join(map(str, item)) if isinstance(item, list) else str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
