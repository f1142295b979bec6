"""Deploy networks of a user's own family whose parts have files of their own, such as encoder and decoder step: each
file is proven against its module, and ``parts.json`` says how often an inference calls it and what that takes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleetfront.deploy.bundle.vectors import VectorWriter
from fleetfront.deploy.formats import FileFormat
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.pipelines.deploy.bundling import missed_limit, staging_folder, with_times_of
from fleetfront.pipelines.deploy.called import add_vectors, described
from fleetfront.pipelines.deploy.export_example import TorchCall, exported_files, write_proven
from fleetfront.pipelines.deploy.parts import MANIFEST, DeployedParts, Part, read_parts, write_manifest
from fleetfront.pipelines.deploy.records import Deployed, Measuring, PartTimes, Pick, WrittenFile
from fleetfront.pipelines.deploy.timing import measure_written
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fit_files import read_fits
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import LATENCY
from fleetfront.spaces.base import Genotypes, UserFamily
from fleetfront.workspace import Workspace


def deploy_own_parts(
    picks: Sequence[Pick],
    family: UserFamily,
    formats: Sequence[FileFormat],
    out: Path,
    *,
    measuring: Measuring | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> list[Deployed]:
    """Write one folder a pick, fp32: files named after the parts, and ``parts.json``. A pick that fails carries its
    error and costs no other. Of a command that was killed, what it finished is kept.

    What is measured of a pick is the sum over all calls. What was promised of it is divided over its parts as the model
    of the target divides it.

    Raises:
        InputError: a folder that exists.
        DeviceError: the device that measures is gone.
    """
    targets = [] if measuring is None else [str(target) for target in measuring.targets]
    kept = [] if force else [p.name for p in picks if _is_finished(p, family, formats, out / p.name, targets)]
    # Where nothing is left to do, the same command was not cut short.
    kept = kept if len(kept) < len(picks) else []
    for pick in picks:
        if pick.name not in kept:
            _check_replaceable(out / pick.name, force=force)
    done = []
    progress.start("Writing and proving", len(picks))
    with staging_folder(out) as staging:
        for number, pick in enumerate(picks):
            if pick.name in kept:
                done.append(Deployed(pick, folder=out / pick.name))
                progress.advance(detail=pick.name)
                continue
            folder = staging / str(number)
            folder.mkdir()
            try:
                done.append(_deployed(pick, family, formats, folder, out / pick.name, measuring, progress))
            except FleetfrontError as error:
                done.append(Deployed(pick, error=type(error)(f"{pick.name}: {error.message}", error.remedy)))
            progress.advance(detail=pick.name)
    progress.finish()
    return done


def _is_finished(
    pick: Pick, family: UserFamily, formats: Sequence[FileFormat], folder: Path, targets: Sequence[str]
) -> bool:
    """Tell whether a folder is what would be written: the same network, weights, calls and files, timed if asked."""
    from fleetfront.deploy.writers.torch_export import weights_id

    if not (folder / MANIFEST).is_file():
        return False
    try:
        there = read_parts(folder)
        made = family.own_parts(family.parse([pick.arch])[0])
    except FleetfrontError:
        return False
    ids = {name: weights_id(module) for name, (module, _, _) in made.items()}
    if (there.arch, there.space, there.weights.get("id")) != (pick.arch, family.name, ids):
        return False
    for name, (_, _, calls) in made.items():
        part = there.parts.get(name)
        asked = [(f"{name}.{kind.name}", kind.name) for kind in formats]
        if part is None or (part.calls, [(file.path, file.format) for file in part.files]) != (calls, asked):
            return False
        if not {row.target for row in part.latency} >= set(targets):
            return False
    return True


def _deployed(
    pick: Pick,
    family: UserFamily,
    formats: Sequence[FileFormat],
    folder: Path,
    out: Path,
    measuring: Measuring | None,
    progress: Progress,
) -> Deployed:
    from fleetfront.deploy.writers.torch_export import weights_id

    (genotype,) = family.parse([pick.arch])
    graphs, parts, ids = family.subnet_graphs(genotype), dict[str, Part](), dict[str, str]()
    writer = VectorWriter()
    for name, (module, sample, calls) in family.own_parts(genotype).items():
        network = TorchCall(f"{pick.arch}, {name}", module, sample)
        exported = exported_files(graphs[name][0], formats)
        files = tuple(write_proven(network, kind, folder, exported[kind.name], name) for kind in formats)
        parts[name] = Part(calls, files)
        add_vectors(writer, network, files, name)
        ids[name] = weights_id(module)
    if measuring is not None:
        timed = measure_written(
            {name: part.files for name, part in parts.items()}, replace(measuring, models={}), progress
        )
        parts = {name: replace(part, measured=timed[name]) for name, part in parts.items()}
    source = f"parts(**genes) of {family.own_file.name}"
    weights = {"random": False, "id": ids, "source": source, "licence": "unknown"}
    pick, others = with_times_of(pick, [file for part in parts.values() for file in part.files])
    promised = [_divided(row, family, genotype) for row in pick.latency]
    vectors = described(writer.vectors(), "torch")
    made = DeployedParts(out, pick.arch, family.name, parts, weights, pick.accuracy, promised, vectors)
    write_manifest(made, folder)
    if out.exists():
        shutil.rmtree(out)
    folder.rename(out)
    written: list[WrittenFile] = []
    for name, part in parts.items():
        written += [replace(file, key=f"{name}.{file.kind.name}", path=out / file.name) for file in part.files]
    proofs = {file.key: file.proof for file in written}
    times = {name: _times(name, part, promised) for name, part in parts.items()}
    done = Deployed(pick, out, proofs, made.whole(), files=tuple(written), without_files=others, parts=times)
    return replace(done, error=missed_limit(done))


def _times(name: str, part: Part, promised: Sequence[Mapping[str, Any]]) -> PartTimes:
    shares = {str(row["target"]): row["parts"][name] / part.calls for row in promised if name in row.get("parts", {})}
    return PartTimes(part.calls, shares, part.measured)


def _divided(row: Mapping[str, Any], family: UserFamily, genotype: Genotypes) -> dict[str, Any]:
    """A row of latency with the share of each part, by what the blocks of each take in the model that promised it; the
    row alone where that model is gone.
    """
    for _, fit in read_fits(Workspace.default(), family.name)[0]:
        if (str(fit.target), fit.clock.value, fit.metric) == (row["target"], row.get("clock"), LATENCY):
            values = CalibratedTable(family, fit).block_values()
            shares = family.by_part(genotype, values)
            scale = float(row["ms"]) / sum(shares.values())
            return {**row, "parts": {name: scale * share for name, share in shares.items()}}
    return dict(row)


def _check_replaceable(folder: Path, *, force: bool) -> None:
    if not folder.exists():
        return
    if not force:
        raise InputError(f"{folder} exists.", "Give --force to replace it, or another --out.")
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder} exists and holds no parts of a network, so it is not replaced.", "Give another --out."
        )
