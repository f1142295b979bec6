"""``fleetfront search``: one run, one front a device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.console import hint, print_json, progress, warn
from fleetfront.cli.options import (
    MOST_EVALUATIONS,
    MOST_NETWORKS,
    Count,
    ModelChoices,
    accuracy_option,
    json_option,
    model_options,
    quiet_option,
    seed_option,
    space_option,
    split_names,
    store_path,
)
from fleetfront.cli.search.text import show_strategies, tell_idle
from fleetfront.errors import InputError, unknown

if TYPE_CHECKING:
    from fleetfront.cli.device_models import ChosenModels
    from fleetfront.pipelines.accuracy_workers import Workers
    from fleetfront.pipelines.search import SearchOptions
    from fleetfront.predictors.base import AccuracyModel
    from fleetfront.progress import Progress
    from fleetfront.search.problem import ProblemTarget
    from fleetfront.search.results import Fronts
    from fleetfront.spaces.base import SearchSpace


@click.command()
@model_options
@space_option
@accuracy_option(
    "csv:PATH[:COLUMN], ofa-mlp:PATH, supernet:WEIGHTS, call:FILE.py:FUNCTION, perplexity:TABLE, "
    "bleu:TABLE[:TASK], proxy:synflow|naswot"
)
@click.option("--images", metavar="FOLDER|digits", help="Labelled images for supernet:WEIGHTS.")
@click.option("--classes", multiple=True, metavar="A,B", help="Judge on these classes alone, of supernet:WEIGHTS.")
@click.option(
    "--strategy",
    metavar="NAME[:SETTING=VALUE,...]",
    help="How to search; `help` lists them.  [default: up to 2000 evaluations surrogate, else hybrid]",
)
@click.option(
    "--evaluations",
    type=Count(1, MOST_EVALUATIONS),
    help="Budget: accuracies asked for, over all devices.  [default: 20000; 500 for supernet:]",
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="[DEVICE[:METRIC]=]NUMBER",
    help="Only networks this fast (ms), or within another metric: pixel3:energy=900, size=4MiB; repeatable.",
)
@click.option(
    "--objective",
    "extras",
    multiple=True,
    metavar="METRIC",
    help="A further objective: size (of the file), macs, params, energy or peak_memory; repeatable.",
)
@click.option(
    "--fix", "fixed", multiple=True, metavar="GENE=VALUE", help="Hold a gene, e.g. resolution=224; repeatable."
)
@click.option(
    "--exclude", "excluded", multiple=True, metavar="GENE=VALUE", help="Bar a value, e.g. resolution=160; repeatable."
)
@click.option(
    "--precisions",
    metavar="NAME[,NAME]",
    help="Search each network in each of these, such as fp32,int8: a gene more, with times and accuracies of its own.",
)
@click.option(
    "--drop",
    "drops",
    multiple=True,
    metavar="PRECISION=POINTS+-STD",
    help="What a precision costs in accuracy, where you know it.  [default: learnt]",
)
@click.option(
    "--share", type=Count(1, MOST_NETWORKS), metavar="K", help="Also name the K networks that serve all best."
)
@click.option(
    "--verify", metavar="top:K", help="Measure each front's best K, refit, search again: --evaluations twice."
)
@click.option(
    "--start-from",
    type=click.Path(path_type=Path),
    help="Folder of a finished search that devices join; of another accuracy, a prior.",
)
@click.option(
    "--retry-failed", is_flag=True, help="Ask again for networks whose accuracy failed in an earlier sitting."
)
@click.option(
    "--workers",
    default="1",
    show_default=True,
    metavar="N|dask://HOST:PORT",
    help="Processes that judge accuracies of supernet: and call:; a Dask cluster those of supernet:.",
)
@click.option("--trust-network", is_flag=True, help="With --workers: a scheduler elsewhere may lack TLS.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("fronts"), show_default=True, help="Folder of the results."
)
@seed_option
@json_option
@quiet_option
def search(
    models: ModelChoices,
    space: str,
    accuracy: str,
    images: str | None,
    classes: tuple[str, ...],
    strategy: str | None,
    evaluations: int | None,
    limits: tuple[str, ...],
    extras: tuple[str, ...],
    fixed: tuple[str, ...],
    excluded: tuple[str, ...],
    precisions: str | None,
    drops: tuple[str, ...],
    share: int | None,
    verify: str | None,
    start_from: Path | None,
    retry_failed: bool,
    workers: str,
    trust_network: bool,
    out: Path,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find the best accuracy/latency trade-offs of every device at once.

    Accuracy is evaluated once an architecture, however many devices there are. A killed search goes on when the same
    command is typed again. --verify measures the best before you believe them: what a search picks by a prediction
    tends to be slower than predicted.

    \b
    Examples:
      fleetfront search --device cpu
      fleetfront search --devices all --limit pixel3=60 --share 3
      fleetfront search --device cpu --verify top:10
      fleetfront search --device cpu --precisions fp32,int8
      fleetfront search --device cpu --accuracy supernet:weights.safetensors --images photos/ --workers 8
      fleetfront search --devices pixel3,gold_6240 --space nasbench201 --accuracy csv:nets.csv:acc_cifar100
    """
    from fleetfront.pipelines.search import search_space
    from fleetfront.predictors.accuracy.chosen_classes import parse_classes, spell_classes

    if _asks_for_help(strategy):
        return
    accuracy, (family, searched) = spell_classes(accuracy, parse_classes(classes)), _spaces(space, precisions, drops)
    options = _options(accuracy, strategy, evaluations, seed, extras, fixed, excluded, start_from, searched)
    options = replace(options, share=share, explain=True, retry_failed=retry_failed)
    with progress(quiet) as shown, _judges(workers, accuracy, trust_network) as judges:
        tell_idle(options.strategy, judges.processes)
        # A table tells which networks latencies are wanted of; what takes longer waits until the devices are known.
        known = _accuracy(accuracy, images, family, judges, shown) if _is_quick(accuracy) else None
        targets, devices = _targets(models, searched, limits, extras, known)
        checking = _verify(verify, family, models.store, shown)
        known = known or _accuracy(accuracy, images, family, judges, shown)
        targets, known = _completed(searched, targets, known, extras, drops, shown)
        fronts = search_space(searched, targets, known, options, out=out, verify=checking, progress=shown)
    _tell(fronts, out, as_json, share is not None, images, devices)
    devices.check()


def _judges(workers: str, accuracy: str, trust_network: bool) -> AbstractContextManager[Workers]:
    from fleetfront.pipelines.accuracy_workers import open_workers

    return open_workers(workers, accuracy=accuracy, trusts_network=trust_network)


def _asks_for_help(strategy: str | None) -> bool:
    """Show the strategies if they are asked for. Raises InputError for one that there is not."""
    from fleetfront.search.strategies.catalogue import find_strategy

    if strategy == "help":
        show_strategies()
    elif strategy is not None:
        # A slip in its name is not to hide behind what the devices lack.
        find_strategy(strategy.partition(":")[0])
    return strategy == "help"


def _tell(fronts: Fronts, out: Path, as_json: bool, is_shared: bool, images: str | None, devices: ChosenModels) -> None:
    """Print what was found, note it for later verbs, and name the next one."""
    from fleetfront.cli.search.text import next_deploy, show_fronts
    from fleetfront.pipelines.knowledge.remembered import remember_fronts
    from fleetfront.predictors.accuracy.call import CALLS_FILE
    from fleetfront.workspace import Workspace

    if as_json:
        print_json(fronts.to_json() | ({"refused": devices.refusals()} if devices.refused else {}))
    else:
        show_fronts(fronts)
        beside = [f"{fronts.audit[part]} {part}" for part in ("recalled", "adopted", "failed") if fronts.audit[part]]
        spent = f"{fronts.evaluations} evaluations" + (f" ({', '.join(beside)})" if beside else "")
        hint(f"{spent} in {fronts.seconds:.1f} s; all points: {out / 'fronts.json'}")
    if fronts.audit["failed"] and (out / CALLS_FILE).is_file():
        hint(
            f"{out / CALLS_FILE} says why networks failed. To ask for them again: the same command with --retry-failed"
        )
    try:
        remember_fronts(out, Workspace.default())
    except InputError as error:
        # The fronts are written; only later verbs must be told where.
        warn(f"{error.message} {error.remedy}")
    if any(front.points for front in fronts.devices):
        next_deploy(fronts, out, "--shared" if is_shared else "--knee", images)
    else:
        hint("\nEvery front is empty: search again with more --evaluations or a higher --limit.")


def _accuracy(spec: str, images: str | None, space: SearchSpace, workers: Workers, shown: Progress) -> AccuracyModel:
    from fleetfront.cli.device_models import tell_accuracy
    from fleetfront.pipelines.supernet_accuracy import judged_accuracy
    from fleetfront.search.part import listed_part

    if images is not None and not spec.startswith("supernet:"):
        raise InputError(
            f"Nothing looks at --images with --accuracy {spec}.", "Leave them out, or give --accuracy supernet:WEIGHTS."
        )
    known = judged_accuracy(spec, space, images, workers, shown)
    tell_accuracy(known)
    listed = listed_part(space, known)
    if listed is not None:
        most = math.prod(len(values) for values in space.choices)
        hint(
            f"The table holds {len(listed):,} of the {most:.2g} networks of {space.name}: the search looks "
            "at these alone. An accuracy that answers for every network finds better fronts."
        )
    return known


def _spaces(name: str, precisions: str | None, drops: Sequence[str]) -> tuple[SearchSpace, SearchSpace]:
    """The space of a name, and with the gene that ``--precisions`` asks for. Raises InputError on a wrong ``--drop``,
    too."""
    from fleetfront.predictors.accuracy.precisions import parse_drop
    from fleetfront.spaces.base import OfUserFile
    from fleetfront.spaces.catalogue import load_space
    from fleetfront.spaces.precisions import with_precisions

    space = load_space(name)
    if precisions is None:
        if drops:
            raise InputError("--drop says what a precision costs, and none is searched.", "Add --precisions fp32,int8.")
        return space, space
    for drop in drops:
        parse_drop(drop)
    chosen = split_names((precisions,))
    if isinstance(space, OfUserFile):
        from fleetfront.pipelines.deploy.own_family import check_handed_out

        check_handed_out(space, chosen)
    return space, with_precisions(space, chosen)


def _completed(
    space: SearchSpace,
    targets: list[ProblemTarget],
    known: AccuracyModel,
    objectives: Sequence[str],
    drops: Sequence[str],
    shown: Progress,
) -> tuple[list[ProblemTarget], AccuracyModel]:
    """Targets with the sizes of their files, where these are asked for, and accuracies of each precision of a space."""
    from fleetfront.pipelines.file_sizes import with_sizes
    from fleetfront.pipelines.precision_drops import accuracy_in_precisions
    from fleetfront.predictors.accuracy.precisions import parse_drop

    # What nobody can say of a precision is asked for before files are written.
    narrowed = accuracy_in_precisions(space, known, targets, dict(map(parse_drop, drops)), progress=shown)
    return with_sizes(space, targets, known, objectives, progress=shown), narrowed


def _is_quick(accuracy: str) -> bool:
    return not accuracy.startswith(("supernet:", "call:"))


def _targets(
    choices: ModelChoices,
    space: SearchSpace,
    limits: tuple[str, ...],
    objectives: tuple[str, ...],
    accuracy: AccuracyModel | None,
) -> tuple[list[ProblemTarget], ChosenModels]:
    from fleetfront.cli.device_models import chosen_models
    from fleetfront.pipelines.fleet import parse_limits, search_targets
    from fleetfront.search.part import listed_part
    from fleetfront.spaces.base import plain_space

    listed = listed_part(plain_space(space), accuracy)
    found = chosen_models(choices, space, everywhere=listed is None, parts=True, asked=listed)
    allowed = parse_limits(limits, [device.name for device in found])
    store = store_path(choices.store)
    targets = search_targets(found.found, space, limits=allowed, objectives=objectives, store=store, listed=listed)
    return targets, found


def _options(
    accuracy: str,
    strategy: str | None,
    evaluations: int | None,
    seed: int,
    extras: tuple[str, ...],
    fixed: tuple[str, ...],
    excluded: tuple[str, ...],
    start_from: Path | None,
    space: SearchSpace,
) -> SearchOptions:
    from fleetfront.pipelines.search import SearchOptions, default_evaluations, default_strategy
    from fleetfront.search.checkpoints import ARCHIVE_FILE

    evaluations = evaluations or default_evaluations(accuracy)
    archive = start_from / ARCHIVE_FILE if start_from is not None and start_from.is_dir() else start_from
    return SearchOptions(
        _current(strategy) if strategy else default_strategy(evaluations),
        evaluations,
        seed,
        extras,
        _held(fixed, space),
        archive,
        is_chosen=strategy is not None,
        excluded=_barred(excluded, space),
    )


def _current(strategy: str) -> str:
    from fleetfront.search.strategies.catalogue import current_spelling

    today = current_spelling(strategy)
    if today != strategy:
        hint(f"The strategy {strategy.partition(':')[0]} is now called {today.partition(':')[0]}.")
    return today


def _held(texts: Sequence[str], space: SearchSpace) -> dict[str, Any]:
    held: dict[str, Any] = {}
    for name, value in (_gene_value(text, space, "--fix") for text in texts):
        if held.setdefault(name, value) != value:
            raise InputError(f"--fix holds {name} at {held[name]} and at {value}.", "Give each gene one value.")
    return held


def _barred(texts: Sequence[str], space: SearchSpace) -> dict[str, tuple[Any, ...]]:
    barred: dict[str, tuple[Any, ...]] = {}
    for name, value in (_gene_value(text, space, "--exclude") for text in texts):
        barred[name] = (*barred.get(name, ()), value)
    return barred


def _gene_value(text: str, space: SearchSpace, option: str) -> tuple[str, Any]:
    """``resolution=224`` as the gene and that of its values which is spelled so."""
    name, separator, value = text.partition("=")
    if not separator:
        raise InputError(f"{option} {text!r} has no value.", f"Write GENE=VALUE, e.g. {option} resolution=224.")
    if name not in space.gene_names:
        raise unknown("gene", name, space.gene_names)
    choices = {str(choice): choice for choice in space.choices[space.gene_names.index(name)]}
    if value not in choices:
        raise unknown(f"value of {name}", value, choices)
    return name, choices[value]


def _verify(text: str | None, space: SearchSpace, store: Path | None, shown: Any) -> Any:
    if text is None:
        return None
    from fleetfront.pipelines.measure.verify import DeviceVerifier
    from fleetfront.pipelines.search_verify import Verify, parse_verify
    from fleetfront.profilers.store.store import Store
    from fleetfront.workspace import Workspace

    top = parse_verify(text)
    return Verify(top, DeviceVerifier(space, Store(store_path(store)), Workspace.default(), progress=shown))
