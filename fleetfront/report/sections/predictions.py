"""Section 2: predicted against measured, on networks that the models have not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetfront.errors import FleetfrontError
from fleetfront.predictors.scores import Z90
from fleetfront.predictors.table.fitting import measured_networks
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.records import Role
from fleetfront.report.sections.contents import Comparison, PredictionView
from fleetfront.report.sections.devices import known_clock
from fleetfront.report.sources import FitSource, Sources, front_key
from fleetfront.spaces.base import SearchSpace

HELD_OUT, VERIFIED = "held out", "front's best, measured afterwards"


def prediction_views(sources: Sources) -> tuple[PredictionView, ...]:
    """One view for each target that has a fit or whose front was verified."""
    views = []
    for name in sources.spaces:
        space = sources.space(name)
        for device, target in sources.targets(name):
            fit = next((fit for fit in sources.fits if fit.space == name and str(fit.target) == target), None)
            held_out = [] if fit is None or space is None else _held_out(sources, space, fit)
            verified = _verified(sources, name, target)
            if fit is not None or verified:
                views.append(_view(sources, device, target, name, fit, (*held_out, *verified)))
    return tuple(views)


def within_10(points: Sequence[Comparison]) -> float:
    """Share predicted within 10 % of the measurement, 0 to 1."""
    return sum(abs(point.error_percent) <= 10 for point in points) / max(1, len(points))


def _view(
    sources: Sources, device: str, target: str, space: str, fit: FitSource | None, points: Sequence[Comparison]
) -> PredictionView:
    report: Mapping[str, Any] = {} if fit is None else fit.report
    return PredictionView(
        label=sources.label(device, target),
        target=target,
        space=space,
        clock="" if fit is None else known_clock(str(fit.clock)),
        model=str(report.get("model", "")),
        summary=_summary([p for p in points if p.role == HELD_OUT], [p for p in points if p.role == VERIFIED]),
        points=tuple(points),
    )


def _summary(held_out: Sequence[Comparison], verified: Sequence[Comparison]) -> str:
    parts = []
    if held_out:
        mape = sum(abs(point.error_percent) for point in held_out) / len(held_out)
        inside = sum(abs(p.predicted_ms - p.measured_ms) <= Z90 * p.std_ms for p in held_out) / len(held_out)
        parts.append(
            f"{len(held_out)} held-out networks: mean absolute error {mape:.1f} %, "
            f"{100 * within_10(held_out):.0f} % within 10 %, {100 * inside:.0f} % inside their 90 % interval."
        )
    else:
        parts.append("No held-out network was measured, so the error of this model is not known.")
    if verified:
        slower = -sum(point.error_percent for point in verified) / len(verified)
        parts.append(
            f"{len(verified)} of the front's best were measured afterwards: {slower:+.1f} % against their prediction."
        )
    return " ".join(parts)


def _held_out(sources: Sources, space: SearchSpace, fit: FitSource) -> list[Comparison]:
    model = sources.model(space, fit.target.device, str(fit.target), str(fit.clock))
    statistic = fit.report.get("statistic")
    if sources.store is None or model is None or not isinstance(statistic, str):
        return []
    try:
        observations = read_observations(sources.store, fit.target, space.name, fit.clock)
        networks = measured_networks(observations, space, Role.VALIDATION, statistic)
    except FleetfrontError as error:
        sources.note(error)
        return []
    if not len(networks.ms):
        return []
    estimate = model.predict(networks.genotypes)
    archs = space.arch_ids(networks.genotypes)
    columns = zip(archs, networks.ms.tolist(), estimate.mean.tolist(), estimate.std.tolist(), strict=True)
    return [Comparison(arch, HELD_OUT, measured, mean, std) for arch, measured, mean, std in columns]


def _verified(sources: Sources, space: str, target: str) -> list[Comparison]:
    """What ``search --verify`` measured, of every front that is of this target."""
    found = []
    for result in sources.results:
        checked = (result.fronts.verification or {}).get("devices", {})
        for front in result.fronts.devices:
            if result.fronts.space == space and front_key(front) == target and front.name in checked:
                found += [
                    Comparison(str(p["arch"]), VERIFIED, float(p["measured_ms"]), float(p["predicted_ms"]), 0.0)
                    for p in checked[front.name].get("points", ())
                    if p.get("measured_ms")
                ]
    return found
