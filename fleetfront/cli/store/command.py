"""``fleetfront store``: say what the store of measurements holds, make it smaller, save what a damaged one holds."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.console import echo, hint, next_command, print_json, print_table, progress, warn
from fleetfront.cli.options import json_option, quiet_option, store_option, store_path

if TYPE_CHECKING:
    from fleetfront.profilers.store.contents import StoreContents


@click.group()
def store() -> None:
    """Say what the store of measurements holds, make it smaller, save what a damaged one holds.

    \b
    Examples:
      fleetfront store info
      fleetfront store compact
      fleetfront store rescue --out saved.sqlite
      fleetfront store info --store colleague/store.sqlite --json
    """


@store.command("info")
@click.option("--discards", is_flag=True, help="Read every sample, too: what statistics leave out, and damaged rows.")
@store_option
@json_option
@quiet_option
def info(discards: bool, store: Path | None, as_json: bool, quiet: bool) -> None:
    """Count what lies in the store: targets, machines, visits, samples, bytes, runs that were cut short.

    \b
    Examples:
      fleetfront store info
      fleetfront store info --discards
      fleetfront store info --json
    """
    from fleetfront.profilers.store.contents import count_contents

    path = store_path(store)
    contents = count_contents(path)
    left_out, damage = _read_all(path, contents, quiet) if discards else (None, [])
    if as_json:
        print_json(_as_json(path, contents, left_out, damage))
        return
    each = contents.bytes_a_sample
    visits = sum(one.visits for one in contents.targets)
    echo(
        f"{path}: {contents.samples:,} samples of {visits:,} visits in {contents.bytes / 1e6:,.1f} MB"
        + (f", {each:.1f} bytes a sample." if each is not None else ".")
    )
    _show_targets(contents)
    _show_machines(contents)
    _show_runs(contents)
    if left_out is not None:
        told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items())) or "none"
        echo(f"\nRows that statistics leave out: {told}.")
    for sentence in damage:
        warn(sentence)
    next_command("fleetfront devices")


@store.command("compact")
@store_option
@json_option
@quiet_option
def compact(store: Path | None, as_json: bool, quiet: bool) -> None:
    """Make the store smaller: rows of older versions are packed as new ones are, and no page stays empty.

    No row and no value is lost, whatever ends the command; the same command does the rest. It needs room for a copy of
    the store on its disk. Older versions of fleetfront refuse the store afterwards.

    \b
    Examples:
      fleetfront store compact
      fleetfront store compact --store lab.sqlite --json
    """
    from dataclasses import asdict

    from fleetfront.profilers.store.compacting import compact_store

    path = store_path(store)
    with progress(quiet) as shown:
        done = compact_store(path, progress=shown)
    if as_json:
        print_json({"file": str(path), **asdict(done)})
        return
    before, after = done.bytes_before / 1e6, done.bytes_after / 1e6
    echo(f"{path}: {before:,.1f} MB before, {after:,.1f} MB now; {done.rows:,} rows, {done.packed:,} packed anew.")
    next_command("fleetfront store info")


@store.command("rescue")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new store, which must not exist.")
@store_option
@json_option
@quiet_option
def rescue(out: Path, store: Path | None, as_json: bool, quiet: bool) -> None:
    """Save what can be read of a damaged store into a new one. The damaged one stays as it is.

    Rows on pages that cannot be read are lost, and those whose name, conditions or source lay there. If the very first
    page is damaged, nothing can be saved.

    \b
    Examples:
      fleetfront store rescue --out saved.sqlite
      fleetfront store rescue --store lab.sqlite --out saved.sqlite --json
    """
    from dataclasses import asdict

    from fleetfront.profilers.store.rescuing import rescue_store

    path = store_path(store)
    with progress(quiet) as shown:
        done = rescue_store(path, out, progress=shown)
    if as_json:
        print_json({"file": str(path), "out": str(out), **asdict(done)})
        return
    echo(f"{out}: {done.rows:,} rows saved; {done.without_rest:,} more have lost what they belong to.")
    if done.holes:
        hint(f"Pages that cannot be read lay in {done.holes:,} places: nobody can say how many rows they held.")
    next_command(f"fleetfront store info --store {out}")


def _read_all(path: Path, contents: StoreContents, quiet: bool) -> tuple[dict[str, int], list[str]]:
    """Reason -> rows left out of statistics, and sentences on what cannot be read."""
    from fleetfront.profilers.reading.observations import count_discards
    from fleetfront.profilers.store.store import Store
    from fleetfront.targets import Target

    found: Counter[str] = Counter()
    with Store(path, read_only=True) as opened, progress(quiet) as shown:
        shown.start("Reading samples", sum(one.rows for one in contents.targets))
        for one in contents.targets:
            if one.is_known:
                found.update(count_discards(opened, Target.parse(one.target), one.space))
            shown.advance(one.rows, one.target)
        shown.finish()
        return dict(found), opened.find_damage()


def _show_targets(contents: StoreContents) -> None:
    if not contents.targets:
        return
    echo("")
    rows = [
        (
            one.target,
            one.space or "(files)",
            f"{one.visits}",
            f"{one.failed}",
            f"{one.samples}",
            _day(one.last_started_ns),
            "" if one.is_known else "unknown to this version",
        )
        for one in contents.targets
    ]
    print_table(("target", "space", "visits", "rows failed", "samples", "newest", ""), rows)


def _day(started_ns: int) -> str:
    return datetime.fromtimestamp(started_ns / 1e9, UTC).strftime("%Y-%m-%d") if started_ns > 0 else "-"


def _show_machines(contents: StoreContents) -> None:
    if contents.machines:
        echo("")
        print_table(
            ("device", "machine", "system"),
            [(one.device, one.name or "-", one.system or "-") for one in contents.machines],
        )


def _show_runs(contents: StoreContents) -> None:
    cut = contents.interrupted
    echo(f"\n{contents.campaigns} runs, {len(cut)} of them cut short; {contents.sources} imported files.")
    if cut:
        print_table(
            ("cut short", "target", "space", "why"),
            [(one.campaign, one.target, one.space or "(files)", one.reason or "killed, or still runs") for one in cut],
        )
        hint("The command that began one continues it.")


def _as_json(path: Path, contents: StoreContents, left_out: dict[str, int] | None, damage: list[str]) -> dict[str, Any]:
    from dataclasses import asdict

    each = contents.bytes_a_sample
    return {
        "file": str(path),
        **asdict(contents),
        "visits": sum(one.visits for one in contents.targets),
        "samples": contents.samples,
        "bytes_a_sample": None if each is None else round(each, 2),
        "discards": left_out,
        "damage": damage,
    }
