"""Judge files that were timed in a sitting by every model that promises something of them. See ``promises.py``."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.deploy.formats import writer_of
from fleetfront.pipelines.fit.fit import fit_target
from fleetfront.pipelines.fit.recalibrate import bring_up_and_learn
from fleetfront.pipelines.fit.today import company_of, with_promises
from fleetfront.pipelines.knowledge.cost_models import newest_fit
from fleetfront.pipelines.knowledge.known import list_known
from fleetfront.pipelines.measure.company import find_company
from fleetfront.pipelines.measure.files import FileLatency, measure_files
from fleetfront.pipelines.measure.profile import suffixes_of
from fleetfront.predictors.scores import Z90, score
from fleetfront.predictors.table.block_model import linear_block_model
from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.fitting import fit_model, measured_networks
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.reading.other_programs import OtherPrograms
from fleetfront.profilers.reading.rows import preferred_campaign
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Estimate, FloatArray, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: How often each profile's networks are split anew, half to calibrate and half to judge.
DRAWS = 60
#: In a folder that is kept, the fits that learn from its sittings.
LEARNT = "learnt"
#: Ways to judge a sitting, and what they are called in print.
JUDGED = {
    "as_profiled": "as profiled",
    "today": "as of today",
    "learnt": "learnt level",
    "recalibrated": "recalibrated before",
}


@dataclass(frozen=True, slots=True)
class Models:
    """What is known of a target before a sitting.

    Attributes:
        profiled: by the profile alone.
        learnt: a cold fit of the profile and of all sittings before.
        recalibrated: the former as `fit --recalibrate` would have left it in the sitting before; None without one.
    """

    profiled: FittedModel
    learnt: FittedModel
    recalibrated: FittedModel | None


def models_before(home: Path, space: SearchSpace, target: Target) -> Models:
    """The models of a space on a target in the folder ``home``; those on disk stay as they are."""
    model = profiled_model(home, space.name, target)
    with Store(Workspace(home).store, read_only=True) as store:
        fit = fit_target(store, target, space, model.clock, Workspace(home / LEARNT)).chosen
        first = preferred_campaign(store, target, space.name)
        later = [row for row in store.campaigns(target=target, space=space.name) if first and row.id != first.id]
        fresh = None
        if later:
            last = max(later, key=lambda row: row.started_ns)
            seen = read_observations(store, target, space.name, model.clock, [last.id])
            fresh = bring_up_and_learn(store, space, model, seen)
    return Models(model, fit.fitted.model, None if fresh is None else fresh.model)


def profiled_model(home: Path, space: str, target: Target) -> FittedModel:
    model = newest_fit(list_known(Workspace(home), None, space), space, target=target).fit
    assert model is not None
    return model


def coverage_over_draws(home: Path, name: str, target: Target) -> dict[str, float]:
    """Share of held-out networks within their intervals of one sitting, over splits of all that the profile measured.

    Blocks that were not measured are filled by a straight line, which takes a hundredth of the time of trees.
    """
    space, rng = load_space(name), np.random.default_rng(0)
    with Store(Workspace(home).store, read_only=True) as store:
        seen = read_observations(store, target, name, profiled_model(home, name, target).clock)
    networks = {**seen.visits[Role.CALIBRATION], **seen.visits[Role.VALIDATION]}
    count, covered = len(seen.visits[Role.CALIBRATION]), []
    for _ in range(DRAWS):
        keys = [list(networks)[index] for index in rng.permutation(len(networks))]
        roles = {Role.CALIBRATION: keys[:count], Role.VALIDATION: keys[count:]}
        drawn = {role: {key: networks[key] for key in chosen} for role, chosen in roles.items()}
        split = replace(seen, visits={**seen.visits, **drawn})
        model = fit_model(space, split, fill=linear_block_model).model
        held_out = measured_networks(split, space, Role.VALIDATION, model.statistic)
        estimate = CalibratedTable(space, model).predict(held_out.genotypes)
        covered.append(score(estimate.mean, held_out.ms, estimate.same_sitting, resamples=0).coverage_90)
    low, high = np.quantile(covered, (0.05, 0.95))
    return {"draws": DRAWS, "mean": float(np.mean(covered)), "p5": float(low), "p95": float(high)}


def judge(
    space: SearchSpace, target: Target, genotypes: Genotypes, store: Store, home: Path, models: Models
) -> dict[str, Any]:
    """Deployed networks int8[n, v], timed now, against what each model promises of them."""
    model, workspace = models.profiled, Workspace(home)
    suffix, count, archs = suffixes_of(target)[0], company_of(model), space.arch_ids(genotypes)
    company = find_company(store, space.name, target, model.clock, workspace.cache, suffix, networks=count)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for index, arch in enumerate(archs):
            files[arch] = Path(folder) / f"{index}{suffix}"
            (graph, _), *_ = space.subnet_graphs(genotypes[index]).values()
            files[arch].write_bytes(writer_of(suffix[1:])(graph))
        found = measure_files(
            files, target, store, clock=model.clock, statistic=model.statistic, company=company, workspace=workspace
        )
    table = CalibratedTable(space, model)
    latencies = with_promises(found.latencies, found.observations, table)
    measured = np.array([found.latencies[arch].ms or np.nan for arch in archs])
    level = [latency.sitting for latency in found.latencies.values() if latency.sitting is not None]
    seen = read_observations(store, target, space.name, model.clock, [found.campaign])
    row = {
        "networks": len(genotypes),
        "ms": [float(np.nanmin(measured)), float(np.nanmax(measured))],
        "level": float(np.median(level)) if level else None,
        "said_busy": any(latency.is_busy for latency in found.latencies.values()),
        "other_programs": said_of(seen.others),
        "hours_since_profile": (seen.started_ns - model.fitted_ns) / 3.6e12,
        "company": count,
        "learnt_from": models.learnt.between_sittings.sittings,
        "learnt_level": float(np.exp(models.learnt.between_sittings.level)),
        "as_profiled": compare(table.predict(genotypes), measured),
        "today": compare(promised_today([latencies[arch] for arch in archs]), measured),
        "learnt": compare(CalibratedTable(space, models.learnt).predict(genotypes), measured),
    }
    if models.recalibrated is not None:
        row["recalibrated"] = compare(CalibratedTable(space, models.recalibrated).predict(genotypes), measured)
    return row


def promised_today(latencies: Sequence[FileLatency]) -> Estimate:
    """What `deploy --measure` promises of files in the sitting in which it timed them; nan of those that failed."""
    promised = [None if one.promises is None else one.promises.this_sitting for one in latencies]
    mean = np.array([np.nan if one is None else one.ms for one in promised])
    std = np.array([np.nan if one is None else one.std_ms for one in promised])
    return Estimate(mean, std, Tier.MEASURED)


def compare(estimate: Estimate, measured: FloatArray) -> dict[str, Any]:
    """What of it lies inside; ``is_promised`` tells whether anybody was told that it would."""
    error = 100 * (measured / estimate.mean - 1)
    # What could not be measured, or was not promised, is not inside.
    inside = np.abs(measured - estimate.mean) <= Z90 * estimate.std
    return {
        "is_promised": not estimate.unpromised,
        "inside": int(inside.sum()),
        "coverage_90": float(inside.mean()),
        "median": float(np.nanmedian(np.abs(error))),
        "p95": float(np.nanquantile(np.abs(error), 0.95)),
        "bias": float(np.nanmean(error)),
        "interval_width": float(np.nanmedian(200 * Z90 * estimate.std / estimate.mean)),
    }


def tell(number: int, is_busy: bool, rows: Sequence[dict[str, Any]]) -> None:
    """Print a sitting."""
    for row in rows:
        print(
            f"sitting {number}{' (busy core)' if is_busy else ''} {row['space']:14} {row['runtime']:12} "
            f"level {row['level'] or float('nan'):.3f}{', said busy' if row['said_busy'] else ''}",
            flush=True,
        )
        for way in (way for way in JUDGED if way in row):
            one = row[way]
            print(
                f"  {JUDGED[way]:20} {one['inside']}/{row['networks']} inside, median {one['median']:.1f} %, "
                f"p95 {one['p95']:.1f} %, width {one['interval_width']:.0f} %"
                f"{'' if one['is_promised'] else ', which nobody was promised'}",
                flush=True,
            )
    for way, title in JUDGED.items():
        of_way = [row for row in rows if way in row and row[way]["is_promised"]]
        inside = sum(row[way]["inside"] for row in of_way)
        print(f"  promised, {title}: {inside} of {sum(row['networks'] for row in of_way)} inside", flush=True)


def said_of(others: OtherPrograms | None) -> dict[str, Any] | None:
    return None if others is None else others.to_json()
