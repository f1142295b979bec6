"""Answer with a trained generator: fronts, or one network within a limit or of a preference, for devices that the
training may never have met. Nothing is searched.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.files import check_folder
from fleetfront.pipelines.fleet import fleet_targets
from fleetfront.predictors.base import CostModel, HasClock, KnowsPrecisions
from fleetfront.predictors.relaxed import import_torch
from fleetfront.quantities import Tier
from fleetfront.search.front import FULL, hypervolume, knee, two_objectives
from fleetfront.search.fronts_file import write_fronts
from fleetfront.search.metrics import COUNTED, CountedCost
from fleetfront.search.problem import ProblemTarget
from fleetfront.search.results import DeviceFront, FrontPoint, Fronts, precision_beside
from fleetfront.spaces.base import HasPrecisions, SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.search.generators.answers import Judged
    from fleetfront.search.generators.generator import Generator

#: Points of error beyond the least accurate network counted that a reference point leaves.
_ERROR_MARGIN = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a generator; nothing set asks for the whole front.

    Attributes:
        max_cost: the most accurate network within this, in the unit of the first cost (ms of latency).
        preference: from 0, the cheapest network, to 1, the most accurate.
        refine: rounds in which neighbours of the best are judged, too.
        with_counted: whether networks that were counted in training are judged beside the proposals.
    """

    max_cost: float | None = None
    preference: float | None = None
    refine: int = 1
    with_counted: bool = True

    def __post_init__(self) -> None:
        """Raises InputError on both at once, a preference outside 0 .. 1, or a limit that is not positive."""
        if self.max_cost is not None and self.preference is not None:
            raise InputError("A limit and a preference are given.", "Give one of them.")
        if self.preference is not None and not 0 <= self.preference <= 1:
            raise InputError(
                f"The preference {self.preference:g} is outside 0 to 1.",
                "Give 0 for the fastest, 1 for accuracy alone.",
            )
        if self.max_cost is not None and not 0 < self.max_cost < float("inf"):
            raise InputError(f"The limit {self.max_cost:g} is no positive number.", "Give milliseconds, e.g. 20.")


def open_generator(path: Path) -> Generator:
    """The generator in a file or folder, on its own space.

    Raises FileError if it is missing, damaged or of another version; MissingDependency without torch.
    """
    import_torch("Answering with a generator")
    from fleetfront.search.generators.generator import generator_space, load_generator

    return load_generator(path, load_space(generator_space(path)))


def generate(
    generator: Generator | Path | str,
    devices: Sequence[str | ProblemTarget],
    *,
    max_latency: float | None = None,
    preference: float | None = None,
    out: Path | None = None,
    workspace: Workspace | None = None,
) -> Fronts:
    """Fronts of devices, or of each the one network that is asked for; also ``fleetfront.generate(...)``.

    Args:
        generator: loaded, or where it is.
        devices: names of devices of which something is known, or targets of your own.
        max_latency: the most accurate network within so many ms; fronts then hold one point each.
        preference: from 0, the cheapest network, to 1, the most accurate one; likewise.
        out: a folder that gets ``fronts.json``.
        workspace: where measurements and models are, by default the user's own.

    Raises:
        InputError: unknown devices, a limit that no network keeps, wrong numbers, or from ``open_generator``.
    """
    opened = open_generator(Path(generator)) if isinstance(generator, Path | str) else generator
    request = Request(max_latency, preference)
    further = [cost for cost in opened.training.costs[1:] if cost not in COUNTED]
    targets = fleet_targets(devices, opened.space, {}, further, workspace)
    return answer(opened, targets, request, out=out)


def answer(
    generator: Generator, targets: Sequence[ProblemTarget], request: Request, *, out: Path | None = None
) -> Fronts:
    """Answer ``request`` on every target; ``seconds`` of the result are of all answers together.

    Raises InputError as ``generate``.
    """
    if out is not None:
        check_folder(out, out)
    from fleetfront.search.generators.networks import on_one_thread

    started = time.perf_counter()
    with on_one_thread():
        devices = tuple(_device(generator, target, request) for target in targets)
    counted = all(point.more["accuracy_is_counted"] for front in devices for point in front.points)
    training = generator.training
    fronts = Fronts(
        space=generator.space.name,
        strategy=f"{training.strategy} generator",
        seed=training.seed,
        evaluations=0,
        seconds=time.perf_counter() - started,
        accuracy_source=training.accuracy_source,
        accuracy_tier=(training.accuracy_tier if counted else Tier.PREDICTED).value,
        devices=devices,
        audit={"trained_with": training.evaluations},
    )
    if out is not None:
        write_fronts(fronts, out)
    return fronts


def device_costs(generator: Generator, target: ProblemTarget) -> list[CostModel]:
    """A target's models of what the generator trades, in its order.

    Raises InputError if the target is of another metric, or has no model of one.
    """
    main, *further = generator.training.costs
    space, cost = generator.space, target.cost
    known = cost.known_precisions if isinstance(cost, KnowsPrecisions) else ()
    lacking = set(space.precisions) - set(known) if isinstance(space, HasPrecisions) else set()
    if lacking:
        raise InputError(
            f"The generator names networks in {' and '.join(sorted(lacking))}, too, which is not known of "
            f"{target.name}.",
            f"Leave {target.name} out, or search with it: a search keeps each device to what it knows.",
        )
    if target.cost.metric.name != main:
        raise InputError(
            f"The generator trades {main}, and {target.name} has a model of {target.cost.metric.name}.",
            f"Give a model of {main}.",
        )
    models = [target.cost]
    for name in further:
        if name in COUNTED:
            models.append(CountedCost(generator.space, COUNTED[name]))
        elif name in target.further:
            models.append(target.further[name])
        else:
            raise InputError(
                f"The generator trades {name}, too, and there is no {name} model of {target.name}.",
                "Profile or import it, or train a generator without it.",
            )
    return models


def _device(generator: Generator, target: ProblemTarget, request: Request) -> DeviceFront:
    from fleetfront.search.generators.answers import by_preference, cost_reach, front_of, within_limit

    models = device_costs(generator, target)
    how = {"refine": request.refine, "pooled": request.with_counted}
    if request.max_cost is not None:
        found = within_limit(generator, models, request.max_cost, **how)  # type: ignore[arg-type]
    elif request.preference is not None:
        found = by_preference(generator, models, request.preference, **how)  # type: ignore[arg-type]
    else:
        found = front_of(generator, models, **how)  # type: ignore[arg-type]
    lowest = float(generator.counted.accuracy.min())
    further = (2 * float(column.max()) for column in found.costs.T[1:])
    reference = (cost_reach(generator, models[0])[1], FULL - lowest + _ERROR_MARGIN, *further)
    values = np.column_stack([found.costs[:, 0], FULL - found.accuracy, found.costs[:, 1:]])
    plain = two_objectives(found.costs[:, 0], found.accuracy)
    bend = int(plain[knee(found.costs[plain, 0], found.accuracy[plain])])
    return DeviceFront(
        target.name,
        target.target,
        target.cost.tier.value,
        hypervolume(values, reference),
        reference,
        _points(generator.space, models, found),
        bend,
        request.max_cost,
        str(target.cost.clock) if isinstance(target.cost, HasClock) else "",
        target.cost.metric,
        objectives=generator.training.costs[1:],
        not_promised=models[0].predict(found.genotypes).unpromised,
        accuracy_precision="" if isinstance(generator.space, HasPrecisions) else precision_beside(target.target),
    )


def _points(space: SearchSpace, models: Sequence[CostModel], found: Judged) -> tuple[FrontPoint, ...]:
    """Ascending in the first cost."""
    more: dict[str, list[Any]] = {
        "macs": space.macs(found.genotypes).tolist(),
        "params": space.params(found.genotypes).tolist(),
        "accuracy_is_counted": found.is_counted.tolist(),
    }
    for i, model in enumerate(models[1:]):
        if model.metric.name not in COUNTED:
            more[f"{model.metric.name}_{model.metric.unit}"] = found.costs[:, i + 1].tolist()
    archs, costs = space.arch_ids(found.genotypes), found.costs[:, 0].tolist()
    precisions = space.precisions_of(found.genotypes) if isinstance(space, HasPrecisions) else [""] * len(archs)
    stds = models[0].predict(found.genotypes).promised_std
    accuracy, accuracy_std = found.accuracy.tolist(), found.accuracy_std.tolist()
    return tuple(
        FrontPoint(
            arch,
            costs[i],
            stds[i],
            accuracy[i],
            accuracy_std[i],
            {name: values[i] for name, values in more.items()},
            precision=precisions[i],
        )
        for i, arch in enumerate(archs)
    )
