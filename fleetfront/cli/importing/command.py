"""``fleetfront import``: bring measurements made by others into the store, marked as such."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import echo, hint, next_command, print_json, progress, warn
from fleetfront.cli.importing.store import import_store_command
from fleetfront.cli.importing.trtexec import import_trtexec_command
from fleetfront.cli.options import DEFAULT_SPACE, json_option, opened_space, quiet_option, store_option, store_path
from fleetfront.cli.search.text import next_search

if TYPE_CHECKING:
    from fleetfront.pipelines.importing.importers import ImportReport
    from fleetfront.profilers.store.store import Source


@click.group("import")
def import_() -> None:
    """Bring in measurements made by others, marked as imported with their source and licence.

    \b
    Examples:
      fleetfront import table nets.csv --space nasbench201 --source "HELP" --licence MIT
      fleetfront import ofa-lut note10_tables/ --device note10
      fleetfront import store colleague/store.sqlite --as lab
      fleetfront import trtexec times.json --device cuda:0 --space ofa-mbv3-w1.2 --arch ARCH
    """


import_.add_command(import_trtexec_command)
import_.add_command(import_store_command)


@import_.command("table")
@click.argument("path", metavar="TABLE", type=click.Path(path_type=Path))
@click.option(
    "--space",
    default=DEFAULT_SPACE,
    show_default=True,
    metavar="NAME",
    callback=opened_space,
    help="Space that the networks are of.",
)
@click.option("--source", help="Where the numbers come from.  [default: the file's name]")
@click.option("--licence", default="unknown", show_default=True, help="Licence of the numbers.")
@click.option("--metric", type=click.Choice(["latency", "energy", "peak_memory"]), default="latency", show_default=True)
@click.option("--unit", default="", metavar="UNIT", help="Of the numbers: s, us, mJ, MiB, ...  [default: ms]")
@click.option("--skip-invalid", is_flag=True, help="Leave wrong lines out instead of refusing the file.")
@store_option
@json_option
@quiet_option
def import_table_command(
    path: Path,
    space: str,
    source: str | None,
    licence: str,
    metric: str,
    unit: str,
    skip_invalid: bool,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Latencies of whole networks: a table with a column `arch` and one column `lat_DEVICE` a device, in milliseconds.

    A table is a CSV, plain or gzipped, or a Parquet file. Energies are in columns `energy_DEVICE`, peak memory in
    columns `memory_DEVICE`, both with their unit given. A folder is read in the layout of HELP's own data.

    \b
    Examples:
      fleetfront import table nb201.csv --space nasbench201
      fleetfront import table joules.csv --space nasbench201 --metric energy --unit mJ
    """
    from fleetfront.pipelines.importing.importers import import_table
    from fleetfront.predictors.table.networks import holds_whole_space
    from fleetfront.profilers.store.store import Source, Store
    from fleetfront.quantities import metric_named
    from fleetfront.spaces.catalogue import load_space

    origin: Source | None = Source(source or path.name, licence)
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        family = load_space(space)
        report = import_table(
            path,
            family,
            opened,
            source=origin,
            skip_invalid=skip_invalid,
            progress=shown,
            metric=metric_named(metric),
            unit=unit,
        )
    # A search asks for any network of the space; a table that lacks some must be learnt from.
    _show(report, as_json, "search" if holds_whole_space(family, report.items) else "fit")


@import_.command("hwgpt")
@click.argument("path", metavar="CSV", type=click.Path(path_type=Path))
@click.option("--space", default="hw-gpt-s", show_default=True, metavar="NAME", help="hw-gpt-s, hw-gpt-m or hw-gpt-l.")
@click.option("--metric", type=click.Choice(["latency", "energy", "peak_memory"]), default="latency", show_default=True)
@click.option("--licence", default="Apache-2.0", show_default=True, help="Licence of the numbers.")
@store_option
@json_option
@quiet_option
def import_hwgpt_command(
    path: Path, space: str, metric: str, licence: str, store: Path | None, as_json: bool, quiet: bool
) -> None:
    """Language models of HW-GPT-Bench: its tables of latency (ms), energy (Wh) and memory (MB), plain or gzipped.

    \b
    Example:
      fleetfront import hwgpt gpt_s.csv.gz --space hw-gpt-s --metric energy
    """
    from fleetfront.pipelines.importing.importers import import_table
    from fleetfront.pipelines.importing.tabular import costs_of
    from fleetfront.predictors.accuracy.hwgpt_table import read_hwgpt
    from fleetfront.profilers.store.store import Source, Store
    from fleetfront.quantities import metric_named
    from fleetfront.spaces.catalogue import load_space

    family, whole = load_space(space), read_hwgpt(path)
    own = whole.of_space(family)
    if len(own.rows) < len(whole.rows):
        hint(f"{len(whole.rows) - len(own.rows)} of {len(whole.rows)} networks are of another space: left out.")
    table = costs_of(own, metric_named(metric))
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        origin = Source("HW-GPT-Bench", licence, "https://github.com/automl/HW-GPT-Bench (Sukthanker et al., 2024)")
        report = import_table(
            path, family, opened, source=origin, progress=shown, metric=table.metric, unit="converted", table=table
        )
    _show(report, as_json, f"search --accuracy perplexity:{path}")


@import_.command("hat")
@click.argument("path", metavar="CSV", type=click.Path(path_type=Path))
@click.option("--device", required=True, metavar="NAME", help="Device that the file was measured on.")
@click.option("--space", default="hat-wmt14", show_default=True, metavar="NAME", help="Space that the networks are of.")
@click.option("--licence", default="MIT", show_default=True, help="Licence of the numbers.")
@store_option
@json_option
@quiet_option
def import_hat_command(
    path: Path, device: str, space: str, licence: str, store: Path | None, as_json: bool, quiet: bool
) -> None:
    """Latencies of transformers: a file of Hardware-Aware Transformers, encoder and decoder apart.

    They are kept as three devices: NAME, the time of a translation, NAME_encoder and NAME_decoder.

    \b
    Example:
      fleetfront import hat wmt14ende_cpu_xeon_all.csv --device xeon
    """
    from fleetfront.pipelines.importing.importers import import_table
    from fleetfront.pipelines.importing.tabular import read_hat
    from fleetfront.profilers.store.store import Source, Store
    from fleetfront.spaces.catalogue import load_space

    table, family = read_hat(path, device), load_space(space)
    source = "https://github.com/mit-han-lab/hardware-aware-transformers (Wang et al., ACL 2020)"
    origin = Source("hardware-aware-transformers", licence, source)
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        report = import_table(path, family, opened, source=origin, progress=shown, unit="converted", table=table)
    _show(report, as_json, "search --accuracy bleu:TABLE")


@import_.command("ofa-lut")
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option("--device", required=True, metavar="NAME", help="Device that the tables were measured on.")
@click.option("--unit", default="", metavar="UNIT", help="Of the numbers: ms, s, us or ns.  [default: ms]")
@click.option("--skip-invalid", is_flag=True, help="Leave wrong entries out instead of refusing the folder.")
@store_option
@json_option
def import_ofa_lut_command(
    folder: Path, device: str, unit: str, skip_invalid: bool, store: Path | None, as_json: bool
) -> None:
    """Latencies of blocks: once-for-all's YAML lookup tables, one file a resolution.

    \b
    Example:
      fleetfront import ofa-lut note10_lut_w12/ --device note10
    """
    from fleetfront.pipelines.importing.importers import import_ofa_lut
    from fleetfront.profilers.store.store import Store

    with Store(store_path(store)) as opened:
        report = import_ofa_lut(folder, device, opened, skip_invalid=skip_invalid, unit=unit)
    _show(report, as_json)


def _show(report: ImportReport, as_json: bool, next_verb: str = "search") -> None:
    devices = [target.device for target in report.targets]
    if as_json:
        print_json(
            {
                "source": report.source.name,
                "licence": report.source.licence,
                "space": report.space,
                "targets": [str(target) for target in report.targets],
                "items": report.items,
                "new": report.new,
                "known": report.known,
                "warnings": list(report.warnings),
                "problems": [str(problem) for problem in report.problems],
            }
        )
    else:
        echo(f"{report.items} of {report.space} for {', '.join(devices)}: {report.new} rows new, {report.known} known.")
    for text in report.warnings:
        warn(text)
    for problem in report.problems[:10]:
        hint(f"left out: {problem}")
    where = f"--devices {','.join(devices)}"
    if next_verb == "search":
        next_search(where, report.space)
    else:
        next_command(f"fleetfront {next_verb} {where} --space {report.space}")
