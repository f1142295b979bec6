"""Deploy networks of a user's own family: their files by torch's exporter, proven against the very modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from fleetfront.deploy.bundle.manifest import check_replaceable, safe_name
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import FileFormat
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.pipelines.deploy.bundling import RANDOM_WEIGHTS, missed_limit, staging_folder
from fleetfront.pipelines.deploy.called import bundle_called
from fleetfront.pipelines.deploy.export_example import FORMATS, TorchCall, write_proven
from fleetfront.pipelines.deploy.records import Deployed, Measuring, Pick, Recipe, WrittenFile
from fleetfront.pipelines.deploy.timing import check_targets, measure_written
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.base import UserFamily, only_graph


class _Made(NamedTuple):
    """A network with its proven files."""

    network: TorchCall
    files: Sequence[WrittenFile]


def deploy_family(
    picks: Sequence[Pick],
    family: UserFamily,
    formats: Sequence[FileFormat],
    out: Path,
    *,
    recipe: Recipe | None = None,
    measuring: Measuring | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> list[Deployed]:
    """Write one bundle a pick, fp32, with the weights that the user's file gives. A pick that fails carries its error
    and costs no other pick. The files are those that profiles of the family time.

    Raises:
        InputError: a format, precision or contract that such networks are not written in, a bundle that exists, a
            target without a file.
        DeviceError: the device that measures is gone.
    """
    recipe = recipe or Recipe()
    _check(family, formats, recipe)
    _check_floats(picks, family)
    check_targets(measuring, formats, recipe.precisions)
    ending = RANDOM_WEIGHTS if family.is_shipped else ""
    picks = [replace(pick, name=safe_name(pick.name) + ending) for pick in picks]
    for pick in picks:
        check_replaceable(out / pick.name, force=force)
    done: list[Deployed] = []
    with staging_folder(out) as staging:
        made = _make({pick.arch for pick in picks}, family, formats, staging, progress)
        written = {arch: one.files for arch, one in made.items() if isinstance(one, _Made)}
        timed = {} if measuring is None else measure_written(written, measuring, progress)
        for pick in picks:
            found = made[pick.arch]
            if isinstance(found, FleetfrontError):
                done.append(Deployed(pick, error=type(found)(f"{pick.name}: {found.message}", found.remedy)))
                continue
            proofs, measured = {file.key: file.proof for file in found.files}, timed.get(pick.arch, ())
            one = Deployed(pick, proofs=proofs, measured=measured, files=tuple(found.files))
            done.append(_bundled(one, found.network, family, out, force=force))
    return done


def _check(family: UserFamily, formats: Sequence[FileFormat], recipe: Recipe) -> None:
    strange = [kind.name for kind in formats if kind.name not in FORMATS]
    if strange:
        raise InputError(
            f"Networks of {family.own_file.name} are not written as {strange[0]}.",
            f"Choose from --formats {','.join(FORMATS)}.",
        )
    other = [name for name in recipe.precisions if name != "fp32"]
    if other:
        raise InputError(
            f"Networks of {family.own_file.name} are not handed out in {other[0]}.",
            "Leave --precisions out; what their files would take in it, a profile with --precision tells.",
        )
    if recipe.contract != InputContract():
        raise InputError(
            f"Networks of {family.own_file.name} are fed as its inputs(**genes) says, nothing else before or behind.",
            "Leave --input, --channels, --layout and --softmax out, or write it into make(**genes).",
        )


def _check_floats(picks: Sequence[Pick], family: UserFamily) -> None:
    """Raise InputError for picks that were chosen, or whose times are known, in int8."""
    for pick in picks:
        if pick.precision not in ("", "fp32") or any("/int8/" in str(row["target"]) for row in pick.latency):
            raise InputError(
                f"{pick.name} was chosen in int8, and networks of {family.own_file.name} are handed out in fp32 alone.",
                "Search among fp32 models, e.g. --device cpu --runtime onnxruntime.",
            )


def _make(
    archs: set[str], family: UserFamily, formats: Sequence[FileFormat], staging: Path, progress: Progress
) -> Mapping[str, _Made | FleetfrontError]:
    """Every distinct architecture with its network and files, or why there are none."""
    made: dict[str, _Made | FleetfrontError] = {}
    progress.start("Writing and proving", len(archs) * len(formats))
    for number, arch in enumerate(sorted(archs)):
        (genotype,) = family.parse([arch])
        folder = staging / str(number)
        folder.mkdir()
        try:
            network = TorchCall(arch, *family.own_network(genotype))
            exported = only_graph(family, family.subnet_graphs(genotype)).exports["onnx"]()
            files = []
            for kind in formats:
                files.append(write_proven(network, kind, folder, exported))
                progress.advance(detail=files[-1].name)
            made[arch] = _Made(network, files)
        except FleetfrontError as error:
            made[arch] = error
    progress.finish()
    return made


def _bundled(done: Deployed, network: TorchCall, family: UserFamily, out: Path, *, force: bool) -> Deployed:
    from fleetfront.deploy.writers.torch_export import weights_id

    if family.is_shipped:
        weights: dict[str, object] = {"random": True, "source": f"random numbers of {family.name}"}
    else:
        source = f"make(**genes) of {family.own_file.name}"
        weights = {"random": False, "id": weights_id(network.module), "source": source, "licence": "unknown"}
    try:
        bundled = bundle_called(done, network, weights, out, space=family.name, force=force)
    except FleetfrontError as error:
        return replace(done, error=error)
    return replace(bundled, error=missed_limit(bundled))
