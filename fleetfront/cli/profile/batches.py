"""``profile --batch 1,64 --precision fp32,int8``: one campaign each, and the errors of their fits side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fleetfront.cli.console import kept_output, print_json, print_table
from fleetfront.errors import BarMissed
from fleetfront.targets import Target

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """A target of a device among several that one command profiles."""

    batch: int
    precision: str

    def to_options(self) -> dict[str, Any]:
        """The values of the command's options."""
        return asdict(self)


def variants_of(batch: int | tuple[int, ...], precision: str | tuple[str, ...]) -> list[Variant]:
    """Every precision at every batch that the options name."""
    batches = batch if isinstance(batch, tuple) else (batch,)
    precisions = precision if isinstance(precision, tuple) else (precision,)
    return [Variant(one, name) for name in precisions for one in batches]


def targets_of(variants: Sequence[Variant], make: Callable[[Mapping[str, Any]], Target]) -> list[Target]:
    """The target of each, made of its options.

    Raises InputError, before any of several is measured, for one in a precision that it is not profiled in.
    """
    from fleetfront.pipelines.measure.profile import check_precision

    targets = [make(one.to_options()) for one in variants]
    for target in targets if len(targets) > 1 else ():
        check_precision(target)
    return targets


def profile_variants(variants: Sequence[Variant], run: Callable[[Variant], None], as_json: bool) -> None:
    """Profile one after the other, each a target and campaign of its own.

    One that misses its bar does not keep the next from being measured.

    Args:
        variants: what to profile.
        run: the command for one, which prints its result.
        as_json: print one list of what each printed.

    Raises BarMissed at the end if any missed its bar.
    """
    documents: list[Json] = []
    missed: list[str] = []
    for variant in variants:
        said: list[str] = []
        try:
            if as_json:
                with kept_output() as said:
                    run(variant)
            else:
                run(variant)
        except BarMissed as error:
            missed.append(f"{variant.precision}, batch {variant.batch}: {error.message}")
        if said:
            documents.append(json.loads("\n".join(said)))
    if as_json:
        print_json(documents)
    if missed:
        raise BarMissed(" ".join(missed), "Run again with a longer --budget: it goes on from here.")


def summarise_variants(targets: Sequence[Target], space: str) -> None:
    """The held-out errors of each target's newest fit, apart, on stdout. Nothing for targets without a fit.

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
            targets[place].precision,
            str(targets[place].batch),
            clock,
            _shown(report, "held_out", "mape", ".2f"),
            _shown(report, "held_out", "within_10", ".0%"),
            _shown(report, "floor", "mape", ".2f"),
        )
        for place, clock, report in sorted(rows, key=lambda row: row[:2])
    ]
    if shown:
        print_table(("precision", "batch", "clock", "MAPE %", "within 10 %", "floor MAPE %"), shown)


def _shown(report: Json, group: str, name: str, form: str) -> str:
    value = report.get(group, {}).get(name)
    return "-" if value is None else format(value, form)
