"""Compare searches with chance and with each other: hypervolume over evaluations, by strategy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import FleetfrontError, InputError
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.predictors.base import CostModel
from fleetfront.report.figures.specifications import Figure, figure_spec, nominal, quantitative, slug, tooltip
from fleetfront.report.figures.theme import series_colour
from fleetfront.report.markdown import escape, table_lines
from fleetfront.report.section import Section, Words
from fleetfront.report.sources import SearchResult, Sources, front_key
from fleetfront.report.tables import Table
from fleetfront.search.archive import Archive
from fleetfront.search.front import FULL, hypervolume, target_front
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.results import DeviceFront
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.base import SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

RANDOM = "random"
#: The key of the curves that average over devices.
ALL_DEVICES = "all devices (mean share of the best)"
#: Random search beyond this says no more: its curve is flat by then.
_MOST_EVALUATIONS = 20_000
#: A stored latency may differ from today's prediction by rounding, not by more.
_UNCHANGED = 1e-4
#: Columns of the archive that never vary in this many architectures were held fixed.
_ENOUGH_TO_TELL = 50
_GRID = 60
#: A trace of fewer points is no curve; so many are made of the archive instead.
_FEWEST_POINTS, _RETRACED = 12, 30


@dataclass(frozen=True, slots=True)
class Curve:
    """Hypervolume on the way, of all runs of one strategy. Arrays float64[k] over ``evaluations``, over seeds."""

    strategy: str
    seeds: int
    evaluations: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class BaselineView:
    """Strategies against each other on one set of targets.

    Attributes:
        unit: of costs.
        curves: label of a device (or of all together) -> the curves. For one device in ``unit`` x percent, for all as
            share of the best hypervolume that any run reached, averaged over devices.
        final: for each strategy: (its name, seeds, evaluations, mean, lowest and highest share of the best at the end).
        note: what is missing and why, in words.
    """

    space: str
    unit: str
    curves: Mapping[str, tuple[Curve, ...]]
    final: tuple[tuple[str, int, int, float, float, float], ...]
    note: str


@dataclass(frozen=True, slots=True)
class _Run:
    """One search as a curve: evaluations[k] and, by target, hypervolume[k]."""

    strategy: str
    seed: int
    evaluations: FloatArray
    hypervolume: Mapping[str, FloatArray]


def baseline_views(sources: Sources) -> tuple[BaselineView, ...]:
    """Runs of one problem against each other. A problem that nobody searched at random is searched so now,
    ``sources.random_seeds`` times, if its accuracy is quick to ask for.
    """
    problems: dict[tuple[object, ...], list[SearchResult]] = {}
    for result in sources.results:
        problems.setdefault(_problem_key(result), []).append(result)
    return tuple(_view(sources, results) for results in problems.values())


def _problem_key(result: SearchResult) -> tuple[object, ...]:
    fronts = result.fronts
    targets = sorted(
        (front_key(f), f.metric.name, *(round(value, 6) for value in f.reference_point)) for f in fronts.devices
    )
    return (fronts.space, fronts.accuracy_source, *targets)


def _view(sources: Sources, results: Sequence[SearchResult]) -> BaselineView:
    fronts = results[0].fronts
    runs = [run for run in map(_from_file, results) if run is not None]
    notes = [] if len(runs) == len(results) else ["A front file whose trace does not lead to its fronts is left out."]
    if sources.random_seeds and not any(run.strategy == RANDOM for run in runs):
        try:
            runs += _random_runs(sources, results[0])
        except FleetfrontError as error:
            notes.append(f"Random search is missing: {error.message} {error.remedy}".strip())
    runs = list({(run.strategy, run.seed, len(run.evaluations)): run for run in runs}.values())
    labels = {front_key(front): sources.label(front.name, front.target) for front in fronts.devices}
    unit = " or ".join(dict.fromkeys(front.metric.unit for front in fronts.devices))
    return BaselineView(fronts.space, unit, _curves(runs, labels), _final(runs), " ".join(notes))


def _from_file(result: SearchResult) -> _Run | None:
    """The curve in a front's file; None if there is none, or its end is not the hypervolume of the fronts."""
    fronts = result.fronts
    retraced = _retraced(result) if len(fronts.trace) < _FEWEST_POINTS else None
    if retraced is not None:
        return retraced
    values = np.array([point["hypervolume"] for point in fronts.trace], np.float64)
    ends = [front.hypervolume for front in fronts.devices]
    if values.ndim != 2 or values.shape[1] != len(ends) or not np.allclose(values[-1], ends, rtol=1e-6):
        return None
    columns = {front_key(front): values[:, i] for i, front in enumerate(fronts.devices)}
    return _Run(fronts.strategy, fronts.seed, np.array([p["evaluations"] for p in fronts.trace], np.float64), columns)


def _retraced(result: SearchResult) -> _Run | None:
    """The curve from the archive, which keeps the order of evaluation: a strategy that asks for everything at once
    leaves no points on the way. None where the archive is not that of this run alone.
    """
    fronts, archive = result.fronts, result.archive
    is_whole = archive is not None and len(archive) == fronts.evaluations and fronts.verification is None
    if archive is None or not is_whole or any(len(front.reference_point) != 2 for front in fronts.devices):
        return None
    if not {front.name for front in fronts.devices} <= set(archive.targets):
        return None
    evaluations, columns = _retraced_archive(archive, fronts.devices)
    ends = [columns[front_key(front)][-1] for front in fronts.devices]
    if not np.allclose(ends, [front.hypervolume for front in fronts.devices], rtol=1e-6):
        return None
    return _Run(fronts.strategy, fronts.seed, evaluations, columns)


def _retraced_archive(archive: Archive, fronts: Sequence[DeviceFront]) -> tuple[FloatArray, dict[str, FloatArray]]:
    evaluations = np.unique(np.geomspace(1, len(archive), _RETRACED).round().astype(np.intp))
    columns = {front_key(front): _volumes(archive, front, evaluations) for front in fronts}
    return np.append(0.0, evaluations), columns


def _volumes(archive: Archive, front: DeviceFront, evaluations: NDArray[np.intp]) -> FloatArray:
    """Hypervolume of a target after so many evaluations each, 0 before the first: float64[1 + k]."""
    cost, accuracy = archive.cost[:, archive.column(front.name)], archive.accuracy
    rows, seen, values = np.zeros(0, np.intp), 0, [0.0]
    for count in evaluations.tolist():
        among = np.concatenate([rows, np.arange(seen, count)])
        rows, seen = among[target_front(cost[among], accuracy[among], front.limit_ms)], count
        values.append(hypervolume(np.stack([cost[rows], FULL - accuracy[rows]], axis=1), front.reference_point))
    return np.array(values)


def _random_runs(sources: Sources, result: SearchResult) -> list[_Run]:
    """Random search for the same fronts, against the same reference points.

    Raises InputError, in words for the reader, if the problem cannot be set up again.
    """
    fronts = result.fronts
    space = sources.space(fronts.space)
    again = f"Run: fleetfront search --strategy {RANDOM} with the same options, and give its folder too: --front."
    if space is None or not fronts.devices:
        raise InputError("there is nothing to search.", again)
    if fronts.accuracy_source.startswith("supernet:"):
        raise InputError("accuracy is measured on images, which takes too long for a report.", again)
    if any(len(front.reference_point) != 2 for front in fronts.devices):
        raise InputError("the search had further objectives.", again)
    accuracy = load_accuracy(fronts.accuracy_source, space)
    targets = [_target(sources, space, front, again) for front in fronts.devices]
    fixed = _fixed_genes(space, result)
    references = tuple(front.reference_point for front in fronts.devices)
    budget = min(fronts.evaluations, _MOST_EVALUATIONS)
    runs = []
    sources.progress.start("Searching at random", sources.random_seeds)
    for seed in range(sources.random_seeds):
        problem = Problem(space, tuple(targets), accuracy, (), fixed, budget)
        run = run_search(problem, make_strategy(RANDOM, problem, seed), name=RANDOM, seed=seed, references=references)
        if len(run.trace) < _FEWEST_POINTS:
            evaluations, by_target = _retraced_archive(problem.archive, fronts.devices)
        else:
            columns = np.array([point.hypervolume for point in run.trace])
            by_target = {front_key(front): columns[:, i] for i, front in enumerate(fronts.devices)}
            evaluations = np.array([point.evaluations for point in run.trace], np.float64)
        runs.append(_Run(RANDOM, seed, evaluations, by_target))
        sources.progress.advance()
    sources.progress.finish()
    return runs


def _target(sources: Sources, space: SearchSpace, front: DeviceFront, again: str) -> ProblemTarget:
    model = sources.model(space, front.target, front.clock, front.metric)
    if model is None:
        raise InputError(f"there is no {front.metric.title} model of {front.name} here.", again)
    if front.points and not _is_unchanged(space, model, front):
        raise InputError(f"the {front.metric.title} model of {front.name} has changed since this search.", again)
    return ProblemTarget(front.name, model, front.target, front.limit_ms)


def _is_unchanged(space: SearchSpace, model: CostModel, front: DeviceFront) -> bool:
    told = np.array([point.latency_ms for point in front.points])
    try:
        today = model.predict(space.parse([point.arch for point in front.points])).mean
    except InputError:
        # A table that lacks a point of the front is not the one it was searched with.
        return False
    return bool(np.allclose(today, told, rtol=_UNCHANGED))


def _fixed_genes(space: SearchSpace, result: SearchResult) -> dict[str, object]:
    """Genes that the search held at one value (``--fix``), as far as its archive shows."""
    archive = result.archive
    if archive is None or len(archive) < _ENOUGH_TO_TELL:
        return {}
    genotypes, active = archive.genotypes, space.active(archive.genotypes)
    fixed: dict[str, object] = {}
    for gene, (name, choices) in enumerate(zip(space.gene_names, space.choices, strict=True)):
        values = np.unique(genotypes[active[:, gene], gene])
        if len(choices) > 1 and len(values) == 1:
            fixed[name] = choices[int(values[0])]
    return fixed


def _curves(runs: Sequence[_Run], labels: Mapping[str, str]) -> dict[str, tuple[Curve, ...]]:
    if not runs:
        return {}
    curves: dict[str, tuple[Curve, ...]] = {}
    if len(labels) > 1:
        curves[ALL_DEVICES] = tuple(_curve(name, of, _mean_share(of, runs)) for name, of in _by_strategy(runs))
    for target, label in labels.items():
        curves[label] = tuple(
            _curve(name, of, [run.hypervolume[target] for run in of]) for name, of in _by_strategy(runs)
        )
    return curves


def _by_strategy(runs: Sequence[_Run]) -> list[tuple[str, list[_Run]]]:
    names = dict.fromkeys(run.strategy for run in runs)
    return [(name, [run for run in runs if run.strategy == name]) for name in names]


def _mean_share(of: Sequence[_Run], runs: Sequence[_Run]) -> list[FloatArray]:
    """For each of some runs, float64[k]: the share of the best final hypervolume of all runs, averaged over targets."""
    best = {target: max(float(run.hypervolume[target][-1]) for run in runs) for target in runs[0].hypervolume}
    return [
        np.mean([values / (best[target] or 1.0) for target, values in run.hypervolume.items()], axis=0) for run in of
    ]


def _curve(strategy: str, runs: Sequence[_Run], values: Sequence[FloatArray]) -> Curve:
    """All runs on one grid of evaluations. Between two points of a trace the front is what it was at the first."""
    last = max(float(run.evaluations[-1]) for run in runs)
    # Hypervolume grows fast at first: a grid in equal ratios shows that.
    grid = np.unique(np.concatenate([[0.0], np.geomspace(max(last / 1000, 1.0), max(last, 1.0), _GRID)]).round())
    sampled = np.stack(
        [
            series[np.searchsorted(run.evaluations, grid, side="right") - 1]
            for run, series in zip(runs, values, strict=True)
        ]
    )
    return Curve(strategy, len(runs), grid, sampled.mean(axis=0), sampled.min(axis=0), sampled.max(axis=0))


def _final(runs: Sequence[_Run]) -> tuple[tuple[str, int, int, float, float, float], ...]:
    rows = []
    for name, of in _by_strategy(runs):
        ends = [float(series[-1]) for series in _mean_share(of, runs)]
        spent = max(int(run.evaluations[-1]) for run in of)
        rows.append((name, len(of), spent, sum(ends) / len(ends), min(ends), max(ends)))
    return tuple(sorted(rows, key=lambda row: -row[3]))


def baseline_table(view: BaselineView) -> Table:
    """Where every strategy ended."""
    rows = [
        (name, str(seeds), f"{spent:,}", f"{100 * mean:.2f} %", f"{100 * low:.2f} %", f"{100 * high:.2f} %")
        for name, seeds, spent, mean, low, high in view.final
    ]
    headers = ("strategy", "seeds", "evaluations", "share of the best hypervolume", "lowest seed", "highest seed")
    return Table(f"Strategies on {view.space}", headers, tuple(rows), frozenset({1, 2, 3, 4, 5}))


def _brief(views: Sequence[BaselineView]) -> Iterator[str]:
    for view in views:
        yield from table_lines(baseline_table(view))
    for note in filter(None, (view.note for view in views)):
        yield f"\n{escape(note)}"


def baseline_figures(view: BaselineView) -> Iterator[Figure]:
    """Hypervolume over evaluations, if any run kept it."""
    if view.curves:
        yield _baselines(view)


def _baselines(view: BaselineView) -> Figure:
    """Hypervolume over evaluations: the mean of the seeds, and between which values they lie."""
    strategies = list(dict.fromkeys(curve.strategy for curves in view.curves.values() for curve in curves))
    devices = list(view.curves)
    said = f"Hypervolume over evaluations of {', '.join(strategies)}: mean over seeds, shaded from lowest to highest"
    said += f"; of one device in {view.unit} × %."
    spec = figure_spec(said, _curve_layers(strategies), values=_curve_values(view), height=280)
    spec["params"] = [{"name": "device", "value": devices[0], **_choice("Device ", devices)}]
    spec["transform"] = [{"filter": "datum.device === device"}]
    title = f"Strategies on {view.space}, {devices[0]}"
    return Figure(f"baselines-{slug(view.space)}", title, said, spec)


def _curve_values(view: BaselineView) -> list[dict[str, Any]]:
    return [
        {"device": device, "strategy": c.strategy, "evaluations": e, "mean": m, "low": low, "high": high}
        for device, curves in view.curves.items()
        for c in curves
        for e, m, low, high in zip(
            c.evaluations.tolist(), c.mean.tolist(), c.low.tolist(), c.high.tolist(), strict=True
        )
        # Before the first point of a trace nothing is known.
        if m > 0
    ]


def _curve_layers(strategies: Sequence[str]) -> list[dict[str, Any]]:
    """Shade between the seeds, their mean, and unseen points on it that can be pointed at."""
    scale = {"domain": list(strategies), "range": [series_colour(i) for i in range(len(strategies))]}
    colour = nominal("strategy", "strategy", scale=scale)
    colour["legend"] = {"symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1}
    x = quantitative("evaluations", "evaluations", log=True)
    low, mean = (quantitative(name, "hypervolume", zero=False) for name in ("low", "mean"))
    told = tooltip(strategy="strategy", evaluations="evaluations", mean="mean", low="lowest", high="highest")
    return [
        {
            "mark": {"type": "area", "opacity": 0.2, "interpolate": "step-after", "aria": False},
            "encoding": {"x": x, "y": low, "y2": {"field": "high"}, "color": colour},
        },
        {
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "aria": False},
            "encoding": {"x": x, "y": mean, "color": colour},
        },
        {
            "mark": {"type": "point", "opacity": 0, "size": 90},
            "encoding": {"x": x, "y": mean, "color": colour, "tooltip": told},
        },
    ]


def _choice(name: str, options: Sequence[str]) -> dict[str, Any]:
    return {"bind": {"input": "select", "options": list(options), "name": name}} if len(options) > 1 else {}


BASELINES = Section(
    "baselines",
    "baselines",
    "Baselines",
    "Baselines",
    baseline_views,
    gap="Nothing was searched, so there is nothing to compare.",
    command="fleetfront search --devices all",
    figures=baseline_figures,
    tables=lambda view: (baseline_table(view),) if view.final else (),
    brief=_brief,
    words=lambda view: Words(note=view.note),
    are_tables_folded=False,
)
