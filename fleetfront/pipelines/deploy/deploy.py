"""Picks become bundles: each distinct network is made once, measured if asked, and put with its texts into a folder a
pick. ``deploy.network`` makes one network's files, ``deploy.spread`` those of many, ``deploy.bundling`` bundles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fleetfront.deploy.bundle.manifest import (
    check_replaceable,
    read_manifest,
    safe_name,
)
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.quantise.precisions import FILE_PRECISIONS, SPREAD_LIMITS, WEIGHT_BITS
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.pipelines.accuracy_workers import open_workers
from fleetfront.pipelines.deploy.bundling import bundle_network, folder_name, staging_folder
from fleetfront.pipelines.deploy.records import Deployed, FrontPoints, Measuring, Network, Pick, Recipe
from fleetfront.pipelines.deploy.spread import Key, make_networks
from fleetfront.pipelines.deploy.timing import check_targets, measure_networks
from fleetfront.pipelines.deploy.weights import UserImages, Weights
from fleetfront.pipelines.measure.files import FileLatency
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import narrow_precision, precision_in

__all__ = [
    "Deployed",
    "FrontPoints",
    "Measuring",
    "Pick",
    "Recipe",
    "UserImages",
    "Weights",
    "deploy_picks",
]


def deploy_picks(
    picks: Sequence[Pick],
    space: SearchSpace,
    weights: Weights,
    formats: Sequence[FileFormat],
    out: Path,
    *,
    recipe: Recipe | None = None,
    measuring: Measuring | None = None,
    limit: float = SPREAD_LIMITS["fp32"],
    force: bool = False,
    workers: int | str = 1,
    trusts_network: bool = False,
    progress: Progress = SILENT,
) -> list[Deployed]:
    """Write one bundle a pick. A pick that fails carries its error and costs no other pick.

    Picks of one architecture share its files: they are made, proven, measured and stored once. Of a command that was
    killed, the bundles that it finished are kept, and the same command goes on with the rest.

    Args:
        picks: what to deploy; names must differ.
        space: of which the picks are.
        weights: what the networks know.
        formats: which files each bundle gets.
        out: the folder of the bundles.
        recipe: precisions (of picks that have none of their own), input contract, bars; fp32 without any by default.
        measuring: time the very files that the bundles get.
        limit: of the proof of fp32 against torch, share of what inputs change in the logits.
        force: replace bundles that exist.
        workers: processes that write and prove, or a Dask scheduler's address; measuring is done here, file by file.
        trusts_network: a scheduler beyond this machine may be spoken to without TLS.
        progress: counts files.

    Raises:
        InputError: no picks, two of one name, a bundle that exists, a target without a file, times without files.
        DeviceError: the device that measures is gone, or a worker.
    """
    recipe = _limited(recipe or Recipe(), limit)
    _check(picks, formats, recipe, measuring)
    wanted = Wanted(space.name, weights.describe(), formats, recipe, measuring is not None)
    there = {pick.name: out / folder_name(pick, weights) for pick in picks}
    done = {} if force else {p.name: Deployed(p, folder=there[p.name]) for p in picks if wanted.has(p, there[p.name])}
    # Where nothing is left to do, the same command was not cut short.
    done = done if len(done) < len(picks) else {}
    left = [pick for pick in picks if pick.name not in done]
    for pick in left:
        check_replaceable(there[pick.name], force=force)
    with open_workers(workers, trusts_network=trusts_network) as opened, staging_folder(out) as staging:
        making = make_networks(left, space, weights, formats, recipe, staging, opened, progress)
        measured: Mapping[Key, tuple[FileLatency, ...]] = {}
        if measuring is not None:
            made = dict(making)
            measured, making = _measured(made, measuring, progress), iter(made.items())
        for key, network in making:
            timed = measured.get(key, ())
            for pick in (pick for pick in left if pick.key == key):
                own = pick.recipe(recipe)
                done[pick.name] = bundle_network(pick, network, timed, space.name, own, out, force=force)
    return [done[pick.name] for pick in picks]


def _limited(recipe: Recipe, limit: float) -> Recipe:
    return replace(recipe, spread_limits={**recipe.spread_limits, "fp32": limit})


def _measured(
    made: Mapping[Key, Network | FleetfrontError], measuring: Measuring, progress: Progress
) -> dict[Key, tuple[FileLatency, ...]]:
    """Measure what was made, one precision after another: files are told apart by their architecture."""
    found: dict[Key, tuple[FileLatency, ...]] = {}
    for precision in dict.fromkeys(own for _, own in made):
        networks = {arch: network for (arch, own), network in made.items() if own == precision}
        timed = measure_networks(networks, measuring, progress)
        found |= {(arch, precision): latencies for arch, latencies in timed.items()}
    return found


def precisions_of(picks: Sequence[Pick], recipe: Recipe) -> tuple[str, ...]:
    """Every precision that files of the picks are written in."""
    return tuple(dict.fromkeys(name for pick in picks for name in pick.recipe(recipe).precisions))


def check_narrow(
    picks: Sequence[Pick], recipe: Recipe, calibrated: str, written: Sequence[str] = FILE_PRECISIONS
) -> None:
    """Raise InputError for times of narrow files beside files of other precisions alone; the remedy says how int8 is
    ``calibrated``, or that such files are not among those that are ``written``.
    """
    for pick in picks:
        for target in (str(row["target"]) for row in pick.latency):
            narrow = narrow_precision(precision_in(target))
            if narrow and narrow not in pick.recipe(recipe).precisions:
                remedy = f"Add --precisions {narrow}, or fp32,{narrow}, {calibrated}."
                if narrow not in written:
                    remedy = f"Choose by times in {' or '.join(written)}: the others are not handed out."
                elif narrow in WEIGHT_BITS:
                    remedy = f"Add --precisions {narrow}, or fp32,{narrow}, with --images to judge them on."
                raise InputError(
                    f"What is known of {pick.name} are times of {narrow} files ({target}), and none would be written.",
                    remedy,
                )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The likeness of every bundle of a command, to know those that an earlier one finished before it was killed."""

    space: str
    weights: Mapping[str, Any]
    formats: Sequence[FileFormat]
    recipe: Recipe
    is_measured: bool

    def has(self, pick: Pick, folder: Path) -> bool:
        """Tell whether the folder is a whole bundle of the pick, with the same weights, files and contract."""
        if not folder.is_dir():
            return False
        try:
            manifest = read_manifest(folder)
        except FleetfrontError:
            return False
        default, rows = InputContract().to_dict(), manifest["files"]
        files = [(file["format"], file["precision"], file["contract"] or default) for file in rows]
        contract = self.recipe.contract.to_dict()
        asked = [(kind.name, name, contract) for name in pick.recipe(self.recipe).precisions for kind in self.formats]
        known = (manifest["arch"], manifest["space"], manifest["weights"].get("id"), manifest["weights"]["random"])
        return (
            known == (pick.arch, self.space, self.weights.get("id"), self.weights["random"])
            and files == asked
            and (not self.is_measured or any(not row.get("is_prediction") for row in manifest["latency"]))
        )


def _check(picks: Sequence[Pick], formats: Sequence[FileFormat], recipe: Recipe, measuring: Measuring | None) -> None:
    """Raise InputError where there are none, two have one name, or times are of files that would not be written, and
    what keeps ``formats`` from being written or measured.
    """
    if not picks:
        raise InputError("There is nothing to deploy.", "Choose with --knee, --max-latency MS or --arch ARCH.")
    names = [safe_name(pick.name) for pick in picks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Two picks are called {twice[0]!r}.", "Choose each network once.")
    check_narrow(picks, recipe, "with --images to calibrate on")
    for kind in formats:
        kind.check()
    check_targets(measuring, formats, precisions_of(picks, recipe))
