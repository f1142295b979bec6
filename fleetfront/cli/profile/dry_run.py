"""``profile --dry-run``: what would be measured, on what, and what that changes on a device. Nothing is measured."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from fleetfront.cli.console import hint, print_json, print_table, progress
from fleetfront.cli.profile.adb_file import sustained_seconds, tflite_bytes
from fleetfront.cli.profile.adb_options import AdbChoices
from fleetfront.errors import InputError
from fleetfront.profilers.adb.opening import is_adb
from fleetfront.targets import Target

_PLURAL = {"block": "blocks", "calibration": "calibration networks", "validation": "validation networks"}


def dry_run_file(
    device: str, target: Target, file: Path, sustained: str | None, adb: AdbChoices, as_json: bool, quiet: bool
) -> None:
    """Say how one file would be timed. Raises what opening the device raises, and InputError for a wrong file."""
    seconds = sustained_seconds(device, sustained)
    try:
        size = len(tflite_bytes(file)) if is_adb(device) else file.stat().st_size
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).", "Give the path of a model file.") from error
    facts: dict[str, Any] = {"file": str(file), "file_bytes": size}
    if seconds is not None:
        facts["sustained_seconds"] = seconds
    _tell(device, target, facts, adb, as_json, quiet)


def dry_run_space(
    device: str,
    target: Target,
    space: str,
    budget: str,
    few: int | None,
    calibration: int | None,
    validation: int,
    adb: AdbChoices,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say what of a space would be measured.

    Args:
        device: as the user typed it.
        target: what the measurements would belong to.
        space: its name.
        budget: as the user typed it.
        few: networks instead of blocks and calibration networks, or None.
        calibration: calibration networks; None leaves it to the budget.
        validation: held-out networks.
        adb: the user's choices about devices over ADB.
        as_json: print JSON.
        quiet: no progress.

    Raises:
        FleetfrontError: whatever would end the command itself before its first visit.
    """
    from fleetfront.pipelines.measure.profile import check_precision, parse_budget, suffix_of
    from fleetfront.profilers.plan import PlanOptions, make_plan
    from fleetfront.spaces.catalogue import load_space

    suffix_of(target)
    check_precision(target)
    allowed = parse_budget(budget)
    count = few or (allowed.calibration if calibration is None else calibration)
    options = PlanOptions(calibration=count, validation=validation, blocks="spread" if few is None else "none")
    plan = make_plan(load_space(space), options)
    counts = Counter(item.role.value for item in plan.items)
    anchors = -(-len(plan.items) // options.anchor_every) + 1
    facts = {
        "space": space,
        "planned": {role: counts[role] for role in sorted(counts)},
        "visits_per_round": len(plan.items) + anchors,
        "runs_per_visit": options.warm_runs + options.timed_runs,
        "budget_seconds": allowed.seconds,
    }
    _tell(device, target, facts, adb, as_json, quiet)


def _tell(device: str, target: Target, facts: dict[str, Any], adb: AdbChoices, as_json: bool, quiet: bool) -> None:
    facts = {"schema": "fleetfront.profile-plan/1", "target": str(target), **facts}
    if is_adb(device):
        with progress(quiet) as shown, closing(adb.agent(device, target, shown)) as agent:
            facts |= {"device": agent.describe(), "changes": list(agent.changes)}
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
            rows += [(key.replace("_", " "), _text(fact)) for key, fact in value.items() if _is_known(fact)]
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
