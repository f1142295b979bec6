"""``profile --batch 1,64``: one campaign a batch, and the errors of their fits side by side."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

from fleetfront.cli.console import print_json, print_table
from fleetfront.errors import BarMissed
from fleetfront.targets import Target

Json = dict[str, Any]


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


def summarise_batches(targets: Sequence[Target], space: str) -> None:
    """The held-out errors of each batch's newest fit, apart, on stdout. Nothing for batches without a fit.

    A dash stands where no held-out network was measured.
    """
    from fleetfront.predictors.table.fit_files import list_fits, report_path
    from fleetfront.workspace import Workspace

    names = [str(target) for target in targets]
    rows = []
    for path in list_fits(Workspace.default(), space):
        try:
            report = json.loads(report_path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # A fit whose report is gone still predicts; there is only nothing to say of its error.
            continue
        if report.get("target") in names:
            rows.append((names.index(report["target"]), report["clock"], report))
    shown = [
        (
            str(targets[place].batch),
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
