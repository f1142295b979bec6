"""``profile --device cuda:N``: its agent, one campaign a batch, and what is said of launch-bound networks."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetfront.cli.console import hint, print_json, print_table, warn
from fleetfront.cli.options import store_path
from fleetfront.errors import BarMissed, InputError
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.progress import Progress

Json = dict[str, Any]


def check_gpu_request(file: Path | None, sustained: str | None, few: int | None) -> None:
    """Raise InputError for what is not done on GPUs."""
    if file is not None:
        raise InputError(
            "Single files are not timed on GPUs by this version.",
            "Use trtexec --exportTimes, then: fleetfront import trtexec TIMES.json --device NAME",
        )
    if sustained is not None:
        raise InputError("--sustained is for devices over ADB.", "Leave it out.")
    if few is not None:
        raise InputError("--few learns from devices of other kinds, not for GPUs yet.", "Profile without --few.")


def gpu_agent(target: Target, shown: Progress) -> Json:
    """Who measures and under which clock, as the pipelines want it."""
    from fleetfront.pipelines.measure.profile import default_clock
    from fleetfront.profilers.gpu.opening import open_gpu_agent
    from fleetfront.workspace import Workspace

    cache = Workspace.default().cache
    return {
        "open_agent": lambda wanted: open_gpu_agent(wanted, cache, progress=shown),
        "clock": default_clock(target),
    }


def profile_batches(batches: tuple[int, ...], run: Callable[[int], None], as_json: bool) -> None:
    """Profile one batch after the other, each a target and campaign of its own, then state their errors apart.

    A batch that misses its bar does not keep the next from being measured.

    Args:
        batches: ascending.
        run: the command for one batch, which prints its result.
        as_json: print one list of what each printed.

    Raises BarMissed at the end if any batch missed its bar.
    """
    documents: list[Json] = []
    missed: list[str] = []
    for batch in batches:
        said = io.StringIO()
        try:
            if as_json:
                with redirect_stdout(said):
                    run(batch)
            else:
                run(batch)
        except BarMissed as error:
            missed.append(f"batch {batch}: {error.message}")
        if said.getvalue().strip():
            documents.append(json.loads(said.getvalue()))
    if as_json:
        print_json(documents)
    if missed:
        raise BarMissed(" ".join(missed), "Run again with a longer --budget: it goes on from here.")


def launch_bound(store: Path | None, campaign: str) -> Json:
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


def tell_launch_bound(found: Json) -> None:
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


def summarise_batches(runtime: str | None, device: str, precision: str, batches: tuple[int, ...], space: str) -> None:
    """The held-out errors of each batch's newest fit, apart, on stdout. Nothing for batches without a fit.

    A dash stands where no held-out network was measured.
    """
    from fleetfront.predictors.table.fit_files import list_fits, report_path
    from fleetfront.profilers.gpu.opening import gpu_target
    from fleetfront.workspace import Workspace

    targets = [str(gpu_target(device, runtime, precision, batch)) for batch in batches]
    rows = []
    for path in list_fits(Workspace.default(), space):
        try:
            report = json.loads(report_path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # A fit whose report is gone still predicts; there is only nothing to say of its error.
            continue
        if report.get("target") in targets:
            rows.append((targets.index(report["target"]), report["clock"], report))
    shown = [
        (
            str(batches[place]),
            clock,
            _shown(report, "held_out", "mape", ".2f"),
            _shown(report, "held_out", "within_10", ".0%"),
            _shown(report, "floor", "mape", ".2f"),
        )
        for place, clock, report in sorted(rows, key=lambda row: row[:2])
    ]
    if shown:
        print_table(("batch", "clock", "MAPE %", "within 10 %", "floor MAPE %"), shown)


def _shown(report: Json, group: str, name: str, form: str) -> str:
    value = report.get(group, {}).get(name)
    return "-" if value is None else format(value, form)
