"""Searching a space for a fleet: problem, strategy, loop, files; resuming; measuring the best before believing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleetfront import __version__
from fleetfront.errors import InputError
from fleetfront.files import check_folder
from fleetfront.pipelines.accuracy_workers import open_workers
from fleetfront.pipelines.file_sizes import with_sizes
from fleetfront.pipelines.fleet import fleet_targets
from fleetfront.pipelines.precision_drops import accuracy_in_precisions
from fleetfront.pipelines.search_archives import describe_search, load_start, recall_archive
from fleetfront.pipelines.search_verify import Verify, search_verified
from fleetfront.pipelines.supernet_accuracy import judged_accuracy
from fleetfront.predictors.accuracy.precisions import Drop
from fleetfront.predictors.accuracy.sources import DEFAULT_ACCURACY
from fleetfront.predictors.base import AccuracyModel, KeepsCalls
from fleetfront.progress import SILENT, Progress
from fleetfront.search.checkpoints import Checkpoints
from fleetfront.search.collect import collect_fronts
from fleetfront.search.fronts_file import write_fronts
from fleetfront.search.part import Part, listed_part, searchable_part
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.results import Fronts
from fleetfront.search.run import SearchRun, run_search
from fleetfront.search.sharing import share
from fleetfront.search.strategies.base import LeavesGenerator, TakesPrior
from fleetfront.search.strategies.catalogue import StrategyChoice, make_strategy, spell_strategy
from fleetfront.search.strategies.listed import ListedNetworks
from fleetfront.spaces.base import OfUserFile, SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.precisions import with_precisions
from fleetfront.workspace import Workspace

DEFAULT_STRATEGY = "hybrid"
DEFAULT_EVALUATIONS = 20_000
#: The default where every accuracy is measured on images: some tenths of a second each.
DEFAULT_MEASURED_EVALUATIONS = 500
#: Where a user names no strategy, this one serves up to so many evaluations, and ``DEFAULT_STRATEGY`` beyond.
FEW_EVALUATIONS, FEW_STRATEGY = 2000, "surrogate"

#: What a search is called that looks at the networks of a table alone.
TABLE_STRATEGY = "table"


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The choices of a user about a search.

    Attributes:
        strategy: as ``make_strategy`` takes it: a name, a name with settings, settings, a class.
        evaluations: budget, over all devices together.
        extras: further objectives, ``macs`` or ``params``.
        fixed: gene name -> the one value that it may take, e.g. ``{"resolution": 224}``.
        excluded: gene name -> values that it may not take, e.g. ``{"kernel_1": (7,)}``.
        start_from: an archive of a finished search of the same space and accuracy, whose architectures need no
            evaluation: so a device joins later. Of another accuracy it is a prior.
        share: so many networks that together serve all devices best are named too.
        explain: fronts also say what they chose (``DeviceFront.choices``).
        retry_failed: networks whose accuracy could not be told in an earlier sitting are asked for again.
        is_chosen: somebody named the strategy, so that no other may take its place.
    """

    strategy: StrategyChoice = DEFAULT_STRATEGY
    evaluations: int = DEFAULT_EVALUATIONS
    seed: int = 0
    extras: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    start_from: Path | None = None
    share: int | None = None
    is_chosen: bool = False
    excluded: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    explain: bool = False
    retry_failed: bool = False


def default_strategy(evaluations: int) -> str:
    """The strategy that searches best with so many evaluations.

    On OFA2's problem (hypervolume, three seeds) ``surrogate`` reaches 762 with 1,000 evaluations, ``hybrid`` 710 and,
    with 5,000, 765. But each hundred costs ``surrogate`` seconds, and its model learns from 700 networks at most.
    """
    return FEW_STRATEGY if evaluations <= FEW_EVALUATIONS else DEFAULT_STRATEGY


def default_evaluations(source: str) -> int:
    """A budget that fits an accuracy's ``source``: a supernet's networks, and a user's own, are measured on the way."""
    return DEFAULT_MEASURED_EVALUATIONS if source.startswith(("supernet:", "call:")) else DEFAULT_EVALUATIONS


def search_space(
    space: SearchSpace,
    targets: Sequence[ProblemTarget],
    accuracy: AccuracyModel,
    options: SearchOptions | None = None,
    *,
    out: Path | None = None,
    verify: Verify | None = None,
    progress: Progress = SILENT,
) -> Fronts:
    """Search, and write ``fronts.json``, ``fronts.csv`` and the archive into ``out`` if it is given.

    A killed search goes on when it is called again with the same arguments, and comes to the result of an undisturbed
    run: from the state of its strategy, or, where that has none, by repeating its steps with what the archive recalls.

    Where tables hold a part of the space, the search stays within what all of them know; a device whose table knows
    none of it has an entry among ``Fronts.errors`` instead of a front.

    With ``verify`` the best of each front are measured, the latency models refitted, and everything searched again with
    them; ``Fronts.verification`` then shows how much faster than true the first fronts looked.

    Raises:
        InputError: on wrong options, a strategy that somebody named and that asks for networks beyond a table,
            tables that no network is common to, limits that nothing meets, an ``out`` that holds another search or
            cannot be written, a device that ``verify`` cannot measure, a full disk.
    """
    part = searchable_part(space, targets, accuracy)
    options = _within_tables(space, accuracy, part, options or SearchOptions())
    problem = Problem(
        space,
        part.targets,
        accuracy,
        options.extras,
        dict(options.fixed),
        options.evaluations,
        recall_archive(out, space, accuracy, retry_failed=options.retry_failed),
        excluded=dict(options.excluded),
        part=part.networks,
    )
    if verify is not None:
        verify.check(problem)
    if out is not None:
        check_folder(out, out)
        if isinstance(accuracy, KeepsCalls):
            out.mkdir(parents=True, exist_ok=True)
            accuracy.keep_calls(out)
    if options.start_from is not None:
        _start(problem, options.start_from, progress)
    run = _run(problem, options, out, progress)
    verification = None
    if verify is not None:
        problem, run, verification = search_verified(
            problem, run, verify, lambda again: _run(again, options, out, progress), progress
        )
    shared = None if options.share is None else share(problem, run.references, options.share).to_json()
    fronts = collect_fronts(problem, run, verification, shared, part.errors, explain=options.explain)
    if out is not None:
        write_fronts(fronts, out)
    return fronts


def search(
    space: SearchSpace | str,
    devices: Sequence[str | ProblemTarget] | str,
    accuracy: AccuracyModel | str = DEFAULT_ACCURACY,
    strategy: StrategyChoice | None = None,
    budget: int | None = None,
    *,
    limits: Mapping[str, float] | None = None,
    objectives: Sequence[str] = (),
    fixed: Mapping[str, Any] | None = None,
    excluded: Mapping[str, Sequence[Any]] | None = None,
    share: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    start_from: Path | None = None,
    images: str | None = None,
    workspace: Workspace | None = None,
    precisions: Sequence[str] = (),
    drops: Mapping[str, Drop] | None = None,
    workers: int | str = 1,
    progress: Progress = SILENT,
) -> Fronts:
    """Fronts of a space for devices, as ``fleetfront search`` finds them; also ``fleetfront.search(...)``.

    Args:
        space: one, or its name.
        devices: names (``all`` for every known one), or targets of your own; a single name serves, too.
        accuracy: a model, or a spelling of ``--accuracy``.
        strategy: a name with or without settings, settings, or a class; by default what suits the budget.
        budget: accuracies asked for, over all devices; by default what suits the accuracy.
        limits: ``{"pixel3": 60, "pixel3:energy": 900, "macs": 6e8, "size": 4e6}``; latency is in ms, size in bytes.
        objectives: further metrics: ``size``, ``macs``, ``params``, ``energy``, ``peak_memory``.
        fixed: gene name -> the one value that it may take.
        excluded: gene name -> values that it may not take.
        share: so many networks that serve all devices best are named too.
        seed: of every draw.
        out: a folder of the results; a killed search goes on from it.
        start_from: the archive of a finished search, which devices join.
        images: labelled images, for ``supernet:WEIGHTS``.
        workspace: where measurements and models are, by default the user's own.
        precisions: such as ``("fp32", "int8")``: each network is searched in each of them.
        drops: what a precision costs in accuracy, where somebody knows; else it is learnt (``find_drops``).
        workers: processes that judge accuracies, each of which imports your script; or ``dask://HOST:PORT``.
        progress: is told how far it is.

    Raises:
        InputError: wrong or unknown names and values, as in ``search_space``; a device without a fit in a precision.
    """
    with open_workers(workers, accuracy=accuracy if isinstance(accuracy, str) else "a model") as judges:
        family, searched = _spaces(space, precisions)
        if isinstance(accuracy, str):
            accuracy = judged_accuracy(accuracy, family, images, judges, progress)
        evaluations = default_evaluations(accuracy.source) if budget is None else budget
        how, extras, held = strategy or default_strategy(evaluations), tuple(objectives), dict(fixed or {})
        options = SearchOptions(how, evaluations, seed, extras, held, start_from, share, strategy is not None)
        options = replace(options, excluded=dict(excluded or {}), explain=True)
        targets = fleet_targets(devices, searched, limits or {}, objectives, workspace, listed_part(family, accuracy))
        known = accuracy_in_precisions(searched, accuracy, targets, drops or {}, workspace=workspace, progress=progress)
        targets = with_sizes(searched, targets, accuracy, objectives, workspace=workspace, progress=progress)
        return search_space(searched, targets, known, options, out=out, progress=progress)


def _spaces(space: SearchSpace | str, precisions: Sequence[str]) -> tuple[SearchSpace, SearchSpace]:
    """A space, and the same with the gene that several precisions are."""
    family = load_space(space) if isinstance(space, str) else space
    if isinstance(family, OfUserFile) and precisions:
        from fleetfront.pipelines.deploy.own_family import check_handed_out

        check_handed_out(family, precisions)
    return family, with_precisions(family, precisions) if precisions else family


def _within_tables(space: SearchSpace, accuracy: AccuracyModel, part: Part, options: SearchOptions) -> SearchOptions:
    """Options whose strategy asks for nothing that the accuracy or a table of costs cannot answer."""
    if part.networks is None and listed_part(space, accuracy) is None:
        return options
    if options.is_chosen:
        holder = accuracy.source if part.networks is None else "A table of latencies"
        raise InputError(
            f"{holder} holds a part of {space.name}, and the strategy {spell_strategy(options.strategy)} asks "
            "for any network.",
            "Leave --strategy out: every network of the table is looked at then.",
        )
    return replace(options, strategy=ListedNetworks)


def _start(problem: Problem, path: Path, progress: Progress) -> None:
    """Adopt an archive of the same accuracy; learn from one of another."""
    archive, problem.prior = load_start(path, problem.space, problem.accuracy)
    if problem.prior is None:
        problem.adopt(archive)
        return
    said = "it says where to look first, and none of its accuracies count here."
    progress.note(f"{path} is of another accuracy, {problem.prior.source}: {said}")


def _run(problem: Problem, options: SearchOptions, out: Path | None, progress: Progress) -> SearchRun:
    """Search, keeping the archive now and then and, whatever ends the search, at its end."""
    name = TABLE_STRATEGY if options.strategy is ListedNetworks else spell_strategy(options.strategy)
    strategy = make_strategy(options.strategy, problem, options.seed)
    if problem.prior is not None:
        if not isinstance(strategy, TakesPrior):
            raise InputError(
                f"The archive is of another accuracy, {problem.prior.source}, and {name} learns nothing from it.",
                "Search with --strategy surrogate, or start from an archive of the same accuracy.",
            )
        strategy.take_prior(problem.prior)
    run = {"strategy": name, "seed": options.seed, "budget": problem.budget, "extras": problem.extras}
    run |= {"fixed": dict(problem.fixed), "version": __version__}
    if problem.prior is not None:
        run["prior"] = problem.prior.source
    if problem.excluded:
        run["excluded"] = {name: list(values) for name, values in problem.excluded.items()}
    kept = Checkpoints(problem, strategy, out, describe_search(problem.space, problem.accuracy), run)
    # The state knows the failures of the networks that are asked for again.
    so_far = None if options.retry_failed else kept.resume()
    try:
        found = run_search(
            problem,
            strategy,
            name=name,
            seed=options.seed,
            progress=progress,
            checkpoint=kept.keep,
            so_far=so_far,
        )
    except BaseException:
        kept.save()
        raise
    kept.finish()
    if out is not None and isinstance(strategy, LeavesGenerator):
        from fleetfront.search.generators.generator import GENERATOR_FILE

        strategy.generator.save(out / GENERATOR_FILE)
    return found
