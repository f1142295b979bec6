"""Turn what ``fleetfront deploy`` is given into what the pipeline wants: picks, weights, targets to measure on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from fleetfront.cli.console import warn
from fleetfront.cli.options import split_names
from fleetfront.errors import DeviceError, FleetfrontError, InputError
from fleetfront.targets import Target, split_spelled
from fleetfront.text_tables import parse_number

if TYPE_CHECKING:
    from fleetfront.cli.deploy.options import PickChoices, WeightChoices
    from fleetfront.deploy.formats import FileFormat
    from fleetfront.pipelines.deploy.deploy import Deployed, Measuring, Pick, Recipe, Weights
    from fleetfront.predictors.table.calibrated import FittedModel
    from fleetfront.profilers.store.store import Store
    from fleetfront.quantities import Clock
    from fleetfront.search.results import Fronts
    from fleetfront.spaces.base import OfUserFile, SearchSpace
    from fleetfront.spaces.supernet.subnets import Supernet

#: ``--measure`` without a target: the local targets that the picks were searched for.
AUTO = "auto"

#: The device whose files are timed here.
_HERE = "cpu"


def read_fronts(front: Path | None, *, needed: bool) -> Fronts | None:
    """The front file, by default the newest; None if neither given nor needed."""
    from fleetfront.pipelines.knowledge.remembered import latest_fronts
    from fleetfront.search.fronts_file import load_fronts
    from fleetfront.workspace import Workspace

    if front is None and not needed:
        return None
    return load_fronts(front if front is not None else latest_fronts(Workspace.default()))


def read_space(fronts: Fronts | None, name: str, precisions: str | None, *, is_named: bool) -> SearchSpace:
    """The space of the fronts, or that of ``name`` where somebody names it or there are none.

    Raises InputError unless every architecture of the fronts is of it, and where ``--precisions`` is typed for networks
    that have precisions of their own.
    """
    from fleetfront.spaces.base import HasPrecisions
    from fleetfront.spaces.catalogue import load_space
    from fleetfront.spaces.precisions import SEPARATOR

    space = load_space(name if is_named or fronts is None else fronts.space)
    if precisions is not None and isinstance(space, HasPrecisions):
        raise InputError(
            f"Each network of {space.name} is in a precision of its own, which its time and accuracy are of.",
            "Leave --precisions out; to write one in others, name it without its precision: fleetfront deploy "
            f"--space {space.name.partition(SEPARATOR)[0]} --arch ARCH --precisions {precisions}",
        )
    if fronts is not None:
        if fronts.space != space.name:
            raise InputError(f"The front is of {fronts.space}, not of {space.name}.", f"Use --space {fronts.space}.")
        space.parse([point.arch for device in fronts.devices for point in device.points])
        space.parse([row["arch"] for row in (fronts.shared or {}).get("networks", ())])
    return space


def parse_limits(values: Sequence[str]) -> dict[str, float]:
    """``20`` and ``pixel3=25`` as {"": 20.0, "pixel3": 25.0}; the empty name stands for every other device."""
    limits: dict[str, float] = {}
    for value in values:
        name, separator, number = value.rpartition("=")
        try:
            limit = parse_number(number)
        except ValueError:
            limit = 0.0
        if not limit > 0 or (separator and not name):
            raise InputError(f"{value!r} is not a limit.", "Write milliseconds, 20, or of one device, pixel3=25.")
        if name in limits:
            raise InputError(f"Two limits are given for {name or 'every device'}.", "Give one.")
        limits[name] = limit
    return limits


def choose(fronts: Fronts | None, space: SearchSpace, given: PickChoices) -> tuple[list[Pick], list[Deployed]]:
    """The picks, and those that could not be made with the reason: a limit that one device cannot meet costs its own
    pick only. Raises InputError for devices that the front does not have, and limits of devices that are left out.
    """
    from fleetfront.pipelines.deploy.deploy import Deployed, Pick
    from fleetfront.pipelines.deploy.picks import (
        devices_of,
        pick_arch,
        pick_knee,
        pick_robust,
        pick_shared,
        pick_spread,
        pick_within,
        with_least,
    )

    limits = parse_limits(given.limits)
    named = split_names(given.devices) if given.devices else []
    picks = [pick_arch(arch, space, fronts, named) for arch in given.archs]
    failed: list[Deployed] = []
    if fronts is None:
        return picks, failed
    if given.least and given.shared:
        raise InputError(
            "--shared takes the networks that a search chose, however good at a task.",
            "Leave out one, --shared or --least.",
        )
    fronts = with_least(fronts, _parse_least(given.least))
    chosen = devices_of(fronts, named)
    _check_limits(limits, devices_of(fronts, [name for name in limits if name]), chosen)
    if given.shared:
        picks.extend(pick_shared(fronts, chosen))
    for device in chosen:
        limit = limits.get(device, limits.get(""))
        if limit is not None:
            try:
                picks.append(pick_within(fronts, device, limit))
            except FleetfrontError as error:
                failed.append(Deployed(Pick(f"{device}-within-{limit:g}ms", ""), error=error))
        if given.knee or given.pick == "knee":
            picks.append(pick_knee(fronts, device))
        if given.pick == "robust":
            picks.append(pick_robust(fronts, device, space))
        if given.per_device is not None:
            picks.extend(pick_spread(fronts, device, given.per_device))
    return picks, failed


def _parse_least(texts: Sequence[str]) -> dict[str, float]:
    least: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = parse_number(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or name in least:
            raise InputError(f"--least cannot take {text[:60]!r}.", "Write --least TASK=VALUE, each task once.")
        least[name] = number
    return least


def _check_limits(limits: Mapping[str, float], known: Sequence[str], chosen: Sequence[str]) -> None:
    for name in limits:
        if name in known and name not in chosen:
            raise InputError(
                f"A limit is given for {name}, which --device leaves out.", f"Leave the limit out, or add {name}."
            )


def check_own(space: OfUserFile, given: WeightChoices, workers: str) -> None:
    """Raise InputError for weights, images or labels of networks that a user's file makes with their weights.

    And for several ``workers``: torch's exporter and the file's own modules stay in one process.
    """
    if not (workers.isdecimal() and int(workers) == 1):
        raise InputError(
            f"Networks of {space.own_file.name} are written in one process, one after the other.",
            "Leave --workers out.",
        )
    asked = [name for name in ("weights", "random_weights", "images", "labels", "classes") if getattr(given, name)]
    if space.is_shipped:
        if asked != ["random_weights"]:
            raise InputError(
                f"Networks of {space.own_file.parent.name} come without weights, labels and images.",
                "Give --random-weights alone, for their speed; for your own weights copy the file and load them in "
                f"make(**genes): {space.own_file}",
            )
        return
    if asked:
        raise InputError(
            f"Networks of {space.own_file.name} have the weights that it gives them, and nothing is known of their "
            "inputs' meaning.",
            f"Leave --{asked[0].replace('_', '-')} out.",
        )


def is_asked(parameter: str) -> bool:
    """Tell whether the user gave this option of the running command."""
    return click.get_current_context().get_parameter_source(parameter) is not ParameterSource.DEFAULT


def read_weights(space: SearchSpace, fronts: Fronts | None, given: WeightChoices) -> Weights:
    """The supernet and what goes with it. Raises InputError with the command that gets what is missing."""
    from fleetfront.pipelines.deploy.deploy import UserImages, Weights
    from fleetfront.pipelines.deploy.weights import known_preprocessing, recorded_provenance
    from fleetfront.spaces.base import HasSupernet
    from fleetfront.spaces.supernet.checkpoints import load_supernet

    names, is_labelled = read_labels(given.labels), not given.unlabelled
    classes = _classes(fronts, given)
    if given.random_weights:
        if given.weights is not None:
            raise InputError("--random-weights does not go with --weights.", "Choose one of them.")
        images = None if given.images is None else UserImages(given.images, is_labelled=is_labelled)
        return Weights(None, images, names, is_labelled)
    if not isinstance(space, HasSupernet):
        raise InputError(f"{space.name} has no supernet.", "Give --random-weights to deploy its networks untrained.")
    found = given.weights or _weights_of(space, fronts)
    supernet = load_supernet(found, space, recorded_provenance(found))
    if classes:
        supernet = _cut(supernet, classes, given)
    if given.images is None:
        if not given.no_recalibration:
            raise InputError(
                "A network cut from a supernet needs its batch-norm recalibrated on images, and none were given.",
                "Give --images FOLDER with some of your images, or --no-recalibration, which is recorded.",
            )
        return Weights(supernet, None, names, is_labelled)
    images = UserImages(
        given.images, preprocessing=known_preprocessing(supernet), is_labelled=is_labelled, classes=classes
    )
    return Weights(supernet, images, names, is_labelled, recalibrate=not given.no_recalibration)


def _classes(fronts: Fronts | None, given: WeightChoices) -> tuple[str, ...]:
    """The classes that networks are cut to: those that the front was judged on, or that are named; none for all.

    Raises InputError where both differ, and where nothing is known of classes.
    """
    from fleetfront.predictors.accuracy.chosen_classes import parse_classes, split_classes

    asked = parse_classes(given.classes)
    if asked and (given.random_weights or given.unlabelled):
        refusing = "--random-weights" if given.random_weights else "--unlabelled"
        raise InputError(
            f"--classes does not go with {refusing}: nothing there is known of classes.", "Leave one of them out."
        )
    judged = split_classes(fronts.accuracy_source)[1] if fronts is not None else ()
    if asked and fronts is not None and set(asked) != set(judged):
        of = f"{', '.join(judged)} alone" if judged else "all classes"
        raise InputError(
            f"The front was judged on {of}, so its accuracies do not hold for {', '.join(asked)}.",
            "Search with these --classes, or leave them out.",
        )
    return judged or asked


def _cut(supernet: Supernet, classes: Sequence[str], given: WeightChoices) -> Supernet:
    from fleetfront.datasets import load_images
    from fleetfront.predictors.accuracy.chosen_classes import only_outputs

    if given.unlabelled:
        raise InputError("The front was judged on some classes, and --unlabelled images have none.", "Leave it out.")
    named: tuple[str, ...] = ()
    if not supernet.provenance.class_names and given.images is not None:
        named = load_images(given.images, supernet.space.resolutions[0]).class_names
    return only_outputs(supernet, classes, named)


def _weights_of(space: SearchSpace, fronts: Fronts | None) -> Path:
    """The weights that the front was searched with, else those known of the space."""
    from fleetfront.pipelines.knowledge.remembered import known_weights
    from fleetfront.predictors.accuracy.chosen_classes import split_classes
    from fleetfront.workspace import Workspace

    source = fronts.accuracy_source if fronts is not None else ""
    kind, _, path = split_classes(source)[0].partition(":")
    if kind == "supernet" and not Path(path).is_file():
        raise InputError(
            f"The weights that the front was searched with, {path}, are not there.",
            "Bring them back, or name others with --weights FILE: its accuracies do not hold for those.",
        )
    return known_weights(space.name, Workspace.default(), source)


def read_labels(path: Path | None) -> tuple[str, ...]:
    """The lines of a file of labels; none without a file. Raises InputError on empty lines, but for the last ones."""
    if path is None:
        return ()
    try:
        # Editors on Windows begin a file with a mark that belongs to no label.
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The labels {path} cannot be read ({error}).", "Give a text file in UTF-8, one class a line."
        ) from error
    while names and not names[-1]:
        names = names[:-1]
    if not names or not all(names):
        raise InputError(f"{path} has no labels, or empty lines.", "Give a text file, one class a line.")
    return names


def measuring_of(
    measure: str, picks: Sequence[Pick], store: Store, space: SearchSpace, kinds: Sequence[FileFormat], recipe: Recipe
) -> Measuring:
    """The targets to time files on, under the clock of what was promised.

    Raises:
        InputError: nothing that is written can be timed, or not on that target; a model of it is damaged.
        DeviceError: the target is neither this machine's CPU nor over ADB.
    """
    from fleetfront.pipelines.deploy.deploy import Measuring, precisions_of
    from fleetfront.predictors.table.calibrated import CalibratedTable
    from fleetfront.profilers.kinds.base import Choices
    from fleetfront.profilers.kinds.catalogue import open_device
    from fleetfront.quantities import Clock

    promised: dict[str, str] = {row["target"]: row["clock"] for pick in picks for row in pick.latency}
    recipe = replace(recipe, precisions=precisions_of(picks, recipe))
    targets = _targets(measure, promised, kinds, recipe)
    # What was promised of one number format or batch is compared with what is measured of another.
    runtimes = [[target.device, target.runtime] for target in targets]
    clocks = [clock for text, clock in promised.items() if split_spelled(text)[:2] in runtimes]
    clocks = [clock for clock in clocks if clock != Clock.UNKNOWN.value]
    is_threaded = any(target.threads > 1 for target in targets)
    clock = Clock(clocks[0]) if clocks and not is_threaded else Clock.WALL
    fits = _fits(space, targets, clock)
    choices = Choices(device="" if measure == AUTO else split_spelled(measure)[0])
    # The best statistic of a runtime's visits does not depend on the number format; only fp32 is fitted by default.
    named = {target: fits.get(target) or fits.get(replace(target, precision="fp32")) for target in targets}
    return Measuring(
        store,
        targets,
        clock,
        {target: fit.statistic for target, fit in named.items() if fit is not None},
        partial(open_device, choices=choices),
        space.name,
        models={target: CalibratedTable(space, fits[target]) for target in targets if target in fits},
    )


def warn_of_promises(picks: Sequence[Pick], space: SearchSpace) -> None:
    """Say what the models of the picks' targets promise no more, where nothing is measured."""
    from fleetfront.predictors.table.fit_files import read_fits
    from fleetfront.predictors.table.warnings import stale_warnings
    from fleetfront.workspace import Workspace

    promised = {(row["target"], row["clock"]) for pick in picks for row in pick.latency}
    for _, fit in read_fits(Workspace.default(), space.name)[0]:
        if (str(fit.target), fit.clock.value) in promised:
            for warning in stale_warnings(fit, space, now_ns=time.time_ns()):
                warn(f"{fit.target}: {warning}")


def _fits(space: SearchSpace, targets: Sequence[Target], clock: Clock) -> dict[Target, FittedModel]:
    """The latency models of a space under a clock. Raises InputError where that of a target is damaged."""
    from fleetfront.predictors.table.fit_files import device_stems, read_fits
    from fleetfront.quantities import LATENCY
    from fleetfront.workspace import Workspace

    fits, damaged = read_fits(Workspace.default(), space.name)
    measured = {(stem, target.runtime) for target in targets for stem in device_stems(target.device)}
    for file in damaged:
        if (file.device, file.runtime) in measured:
            raise file.error
    return {fit.target: fit for _, fit in fits if fit.clock == clock and fit.metric == LATENCY}


def _targets(measure: str, promised: Iterable[str], kinds: Sequence[FileFormat], recipe: Recipe) -> tuple[Target, ...]:
    from fleetfront.deploy.contract import DYNAMIC
    from fleetfront.profilers.kinds.base import Capability
    from fleetfront.profilers.kinds.catalogue import check_far, find_kind, kind_of
    from fleetfront.runtimes.catalogue import places

    # What a file of any batch is fed while it is timed.
    batch = 1 if recipe.contract.batch == DYNAMIC else int(recipe.contract.batch)
    here = kind_of(_HERE)
    if measure == AUTO or here.matches(measure):
        local = [target for target in (Target.parse(text) for text in promised if text) if here.matches(target.device)]
        runtimes = {kind.runtime for kind in kinds if kind.runtime in places(_HERE)}
        if not runtimes:
            raise InputError("Plans are not timed while they are deployed.", "Leave --measure out.")
        local = [target for target in local if target.runtime in runtimes]
        local = local or [Target(_HERE, runtime) for runtime in sorted(runtimes)]
        wanted = [replace(target, precision=name, batch=batch) for target in local for name in recipe.precisions]
        return tuple(dict.fromkeys(wanted))
    device, *rest = split_spelled(measure)
    kind = find_kind(device)
    check_far(device)
    if kind is None or Capability.FILES not in kind.can:
        raise DeviceError(
            f"{measure} cannot be reached: files are timed on this machine's CPU, over ADB and on other hosts.",
            "Write --measure cpu, adb:SERIAL or ssh:HOST/cpu, or profile the file where it will run.",
        )
    if not rest:
        return tuple(kind.target(device, precision=name, batch=batch) for name in recipe.precisions)
    target = Target.parse(measure)
    if target.batch != batch:
        raise InputError(
            f"{target} is for {target.batch} images an inference, the files are run with {batch}.",
            f"Measure on {replace(target, batch=batch)}, or give --batch {target.batch}.",
        )
    return (target,)
