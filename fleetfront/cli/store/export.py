"""``fleetfront export store``: every raw sample as one table for pandas, polars or a spreadsheet."""

from __future__ import annotations

from pathlib import Path

import click

from fleetfront.cli.console import echo, hint, print_json, progress, warn
from fleetfront.cli.options import json_option, quiet_option, split_names, store_option, store_path
from fleetfront.errors import InputError

#: As ``exporting.FORMATS``, which is not loaded for --help.
_FORMATS = ("parquet", "csv")


@click.command("store")
@click.option("--format", "kind", type=click.Choice(_FORMATS), help="Of the table.  [default: by --out, else parquet]")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: store.parquet, store.csv]"
)
@click.option("--device", "--devices", "devices", multiple=True, metavar="NAME[,NAME]", help="Rows of these alone.")
@click.option("--force", is_flag=True, help="Replace the file even if it is no export.")
@store_option
@json_option
@quiet_option
def export_store_command(
    kind: str | None,
    out: Path | None,
    devices: tuple[str, ...],
    force: bool,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """All rows of the store as one table: a row for each visit and clock, with every sample in it.

    Parquet, which needs the extra `parquet`, has a list of integers in `samples`; a CSV has them in one cell, with
    blanks between, and is gzipped if its name ends in .gz. Conditions (`before`, `after`) are JSON.

    \b
    Examples:
      fleetfront export store --out samples.parquet
      fleetfront export store --format csv --out samples.csv.gz --device cpu
    """
    from fleetfront.profilers.store.exporting import export_store, format_of
    from fleetfront.profilers.store.store import Store

    named = None if out is None else format_of(out)
    if kind and named and kind != named:
        raise InputError(f"--format {kind} and --out {out} contradict each other.", "Leave --format out, or rename it.")
    chosen = kind or named or "parquet"
    path = out or Path(f"store.{chosen}")
    names = split_names(devices) if devices else []
    with Store(store_path(store), read_only=True) as opened, progress(quiet) as shown:
        done = export_store(opened, path, chosen, devices=names, force=force, progress=shown)
    if as_json:
        print_json(
            {
                "file": str(done.path),
                "format": done.format,
                "rows": done.rows,
                "samples": done.samples,
                "left_out": done.left_out,
                "bytes": done.path.stat().st_size,
            }
        )
    else:
        echo(f"{done.path}: {done.rows:,} rows, {done.samples:,} samples, {done.path.stat().st_size / 1e6:.1f} MB.")
    if done.left_out:
        warn(f"{done.left_out} rows are left out: this version of fleetfront does not know what they are of.")
    if not as_json:
        reader = "read_parquet" if chosen == "parquet" else "read_csv"
        hint(f"\nNext, in Python: pandas.{reader}({str(path)!r})")
