"""Write and prove many networks: here one by one, in several processes of this machine, or on a Dask cluster, whose
files come back by their hashes. Bundles are made of them here, in the order asked for.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from fleetfront import __version__
from fleetfront.datasets import DIGITS
from fleetfront.deploy.bundle.manifest import safe_name
from fleetfront.deploy.formats import FileFormat
from fleetfront.errors import DeviceError, FleetfrontError, InputError, missing
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.accuracy_workers import Workers
from fleetfront.pipelines.deploy.bundling import versions
from fleetfront.pipelines.deploy.network import write_network
from fleetfront.pipelines.deploy.records import Network, Pick, Recipe
from fleetfront.pipelines.deploy.weights import UserImages, Weights
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.base import SearchSpace

#: Architecture and precision, as ``Pick.key``.
Key = tuple[str, str]

_FREE_SPACE = "Free space or choose another --out."
_FREE_THERE = "Free space in the folder for temporary files of the cluster's workers."
#: A worker of a cluster may have several threads, and the number of torch's is one for all of them.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Common:
    """The part of what is to be written that all networks of a command have in common; ``name`` is of no other's.

    ``remedy`` is of files that cannot be written.
    """

    name: str
    space: SearchSpace
    weights: Weights
    formats: tuple[FileFormat, ...]
    threads: int
    remedy: str = _FREE_SPACE


@dataclass(frozen=True, slots=True)
class _Sent:
    """A network that a worker of a cluster made, with its files as bytes by their SHA-256.

    ``images`` is the hash of those it was made with, ``made_with`` the versions of what made it.
    """

    network: Network
    files: Mapping[str, bytes]
    hashes: Mapping[str, str]
    images: str
    made_with: Mapping[str, str]


def make_networks(
    picks: Sequence[Pick],
    space: SearchSpace,
    weights: Weights,
    formats: Sequence[FileFormat],
    recipe: Recipe,
    staging: Path,
    workers: Workers,
    progress: Progress = SILENT,
) -> Iterator[tuple[Key, Network | FleetfrontError]]:
    """Every distinct architecture and precision with its network, whose files are under ``staging``, or why there is
    none.

    Raises:
        InputError: a format that is bound to the machine which writes it is asked of a cluster.
        DeviceError: a worker is lost, or has other images or versions than there are here.
    """
    distinct = {pick.key: pick.recipe(recipe) for pick in picks}
    progress.start("Writing and proving", len(formats) * sum(len(own.precisions) for own in distinct.values()))
    folders = [staging / str(number) for number in range(len(distinct))]
    common = _Common(uuid.uuid4().hex, space, weights, tuple(formats), _threads())
    made = _made(distinct, common, folders, workers, progress)
    for (key, own), network in zip(distinct.items(), made, strict=True):
        if workers.executor is not None:
            network = replace(network, weights=weights) if isinstance(network, Network) else network
            progress.advance(len(formats) * len(own.precisions), key[0])
        yield key, network
    progress.finish()


def _made(
    distinct: Mapping[Key, Recipe], common: _Common, folders: Sequence[Path], workers: Workers, progress: Progress
) -> Iterator[Network | FleetfrontError]:
    archs, recipes = [arch for arch, _ in distinct], list(distinct.values())
    if workers.executor is None:
        yield from map(partial(_write, common, progress=progress), archs, recipes, folders)
    elif not workers.is_elsewhere:
        workers.start()
        yield from workers.map(_write_apart, [common] * len(archs), archs, recipes, folders)
    else:
        bound = [kind.name for kind in common.formats if kind.bound_to is not dict]
        if bound:
            raise InputError(
                f"Files of {bound[0]} are bound to the machine that writes them, which on a cluster is any.",
                f"Leave {bound[0]} out of --formats, or --workers out.",
            )
        images = common.weights.images
        images = images.whole_path() if isinstance(images, UserImages) else images
        told = replace(common, weights=replace(common.weights, images=images), remedy=_FREE_THERE)
        shared = [workers.share(told)] * len(archs)
        for folder, sent in zip(folders, workers.map(_write_far, shared, archs, recipes), strict=True):
            yield _received(sent, common.weights, folder) if isinstance(sent, _Sent) else sent


def _threads() -> int:
    try:
        import torch
    except ImportError as error:
        raise missing("torch", "torch", "Writing networks, which are proven against it,") from error
    return torch.get_num_threads()


@lru_cache(maxsize=1)
def _kept(name: str) -> list[_Common]:
    """Where a process keeps what came with its first network: images are decoded once. A worker of a cluster outlives
    commands, and holds the last one's.
    """
    return []


def _write_apart(common: _Common, arch: str, recipe: Recipe, folder: Path) -> Network | FleetfrontError:
    """``_write`` in a process of its own, without the weights, which its caller has."""
    import torch

    kept = _kept(common.name)
    if not kept:
        kept.append(common)
    # How many threads add up is in the last bits of sums, which are to be those of one process.
    torch.set_num_threads(common.threads)
    made = _write(kept[0], arch, recipe, folder)
    if not isinstance(made, Network):
        return made
    return replace(made, weights=Weights(), graph=replace(made.graph, operators=(), weights={}))


def _write_far(common: _Common, arch: str, recipe: Recipe) -> _Sent | FleetfrontError:
    """The same on a worker of a cluster, with what its caller holds against what there is at home.

    Raises DeviceError where the worker has no such images.
    """
    with _ONE_AT_A_TIME:
        images = common.weights.images
        if isinstance(images, UserImages) and images.source != DIGITS and not Path(images.source).exists():
            raise DeviceError(
                f"A worker of the cluster has no {images.source}.",
                "Give every worker the same images at the same place.",
            )
        with tempfile.TemporaryDirectory(prefix="fleetfront-", ignore_cleanup_errors=True) as folder:
            network = _write_apart(common, arch, recipe, Path(folder) / "network")
            if not isinstance(network, Network):
                return network
            files = {file.name: file.path.read_bytes() for file in network.files}
        kept = _kept(common.name)[0].weights.images_at(network.preprocessing.size)
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        return _Sent(network, files, hashes, "" if kept is None else kept.content_hash, _made_with())


def _received(sent: _Sent, weights: Weights, folder: Path) -> Network | FleetfrontError:
    """The network whose files a worker sent, put into ``folder``.

    Raises DeviceError for images and versions other than here, and for files that are not what was proven.
    """
    here = _made_with()
    others = [
        f"{name} {here.get(name, 'missing')} here, {sent.made_with.get(name, 'missing')} there"
        for name in sorted({*here, *sent.made_with})
        if here.get(name) != sent.made_with.get(name)
    ]
    if others:
        raise DeviceError(
            f"A worker of the cluster has other versions than this machine: {', '.join(others)}.",
            "Install the same on both: equal bytes are promised for equal versions.",
        )
    images = weights.images_at(sent.network.preprocessing.size)
    if sent.images != ("" if images is None else images.content_hash):
        raise DeviceError(
            "A worker of the cluster has other images than this machine.",
            "Give every worker the same images at the same place.",
        )
    for name, data in sent.files.items():
        if hashlib.sha256(data).hexdigest() != sent.hashes.get(name):
            raise DeviceError(f"The file {name} changed on its way from a worker.", "Deploy again.")
    try:
        folder.mkdir()
        for name, data in sent.files.items():
            (folder / safe_name(name)).write_bytes(data)
    except OSError as error:
        return InputError(f"The files could not be written ({error}).", _FREE_SPACE)
    return replace(sent.network, files=tuple(replace(file, path=folder / file.name) for file in sent.network.files))


def _made_with() -> dict[str, str]:
    return {"fleetfront": __version__, **versions()}


def _write(
    common: _Common, arch: str, recipe: Recipe, folder: Path, progress: Progress = SILENT
) -> Network | FleetfrontError:
    space, weights = common.space, common.weights
    try:
        folder.mkdir()
        graph = _labelled(weights.graph(space, space.parse([arch])[0]), arch, space, weights, recipe)
        return write_network(graph, weights, common.formats, recipe, folder, progress=progress)
    except FleetfrontError as error:
        return error
    except OSError as error:
        return InputError(f"The files of {arch} could not be written ({error}).", common.remedy)


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
