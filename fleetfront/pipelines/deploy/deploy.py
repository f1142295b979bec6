"""Picks become bundles: each distinct network is made once, measured if asked, and put with its papers into a folder a
pick. Making one network's files is in ``deploy.network``, its bundle in ``deploy.bundling``; ``picks`` chooses.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fleetfront.deploy.bundle.manifest import (
    check_replaceable,
    safe_name,
)
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.quantise.precisions import SPREAD_LIMITS
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.deploy.bundling import bundle_network, folder_name, staging_folder
from fleetfront.pipelines.deploy.network import Network, Recipe, write_network
from fleetfront.pipelines.deploy.records import Deployed, FrontPoints, Measuring, Pick
from fleetfront.pipelines.deploy.timing import check_targets, measure_networks
from fleetfront.pipelines.deploy.weights import UserImages, Weights
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.base import SearchSpace

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
    progress: Progress = SILENT,
) -> list[Deployed]:
    """Write one bundle a pick. A pick that fails carries its error and costs no other pick.

    Picks of one architecture share its files: they are made, proven, measured and stored once.

    Args:
        picks: what to deploy; names must differ.
        space: of which the picks are.
        weights: what the networks know.
        formats: which files each bundle gets.
        out: the folder of the bundles.
        recipe: precisions, input contract, bars; fp32 without any by default.
        measuring: time the very files that the bundles get.
        limit: of the proof of fp32 against torch, share of the logits' range.
        force: replace bundles that exist.
        progress: counts files.

    Raises:
        InputError: no picks, two of one name, a bundle that exists, or a target that runs no file.
        DeviceError: the device that measures is gone.
    """
    recipe = recipe or Recipe()
    recipe = replace(recipe, spread_limits={**recipe.spread_limits, "fp32": limit})
    _check_names(picks)
    for kind in formats:
        kind.check()
    check_targets(measuring, formats, recipe.precisions)
    for pick in picks:
        check_replaceable(out / folder_name(pick, weights), force=force)
    with staging_folder(out) as staging:
        made = _made(picks, space, weights, formats, recipe, staging, progress)
        measured = {} if measuring is None else measure_networks(made, measuring, progress)
        return [
            bundle_network(pick, made[pick.arch], measured.get(pick.arch, ()), space.name, recipe, out, force=force)
            for pick in picks
        ]


def _check_names(picks: Sequence[Pick]) -> None:
    if not picks:
        raise InputError("There is nothing to deploy.", "Choose with --knee, --max-latency MS or --arch ARCH.")
    names = [safe_name(pick.name) for pick in picks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Two picks are called {twice[0]!r}.", "Choose each network once.")


def _made(
    picks: Sequence[Pick],
    space: SearchSpace,
    weights: Weights,
    formats: Sequence[FileFormat],
    recipe: Recipe,
    staging: Path,
    progress: Progress,
) -> dict[str, Network | FleetfrontError]:
    """Every distinct architecture's network, or why there is none."""
    archs = list(dict.fromkeys(pick.arch for pick in picks))
    made: dict[str, Network | FleetfrontError] = {}
    progress.start("Writing and proving", len(archs) * len(formats) * len(recipe.precisions))
    for number, arch in enumerate(archs):
        folder = staging / str(number)
        folder.mkdir()
        try:
            graph = _labelled(weights.graph(space, space.parse([arch])[0]), arch, space, weights, recipe)
            made[arch] = write_network(graph, weights, formats, recipe, folder, progress=progress)
        except FleetfrontError as error:
            made[arch] = error
        except OSError as error:
            remedy = "Free space or choose another --out."
            made[arch] = InputError(f"The files of {arch} could not be written ({error}).", remedy)
    progress.finish()
    return made


def _labelled(graph: Graph, arch: str, space: SearchSpace, weights: Weights, recipe: Recipe) -> Graph:
    """The graph with everything that a file must say of itself."""
    described = weights.describe()
    contract, size = recipe.contract, int(graph.tensors[graph.inputs[0]].shape[-1])
    labels = {
        **graph.labels,
        "arch": arch,
        "space": space.name,
        "weights": "random" if described["random"] else described["id"],
        "licence": str(described.get("licence", "none: random numbers")),
        "labels": json.dumps(list(weights.class_names(graph))),
        "preprocessing": json.dumps(weights.preprocessing(size).to_dict()),
        "contract": json.dumps(contract.to_dict()),
    }
    return replace(graph, name="network-random-weights" if described["random"] else "network", labels=labels)
