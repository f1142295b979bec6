"""Deploy networks of a user's own family: their files by torch's exporter, proven against the very modules, and
in int8 on inputs that the file gives."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fleetfront.deploy.bundle.manifest import check_replaceable, safe_name
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.layout_lint import lint_layout
from fleetfront.deploy.quantise.rounding import misrounded
from fleetfront.errors import BarMissed, FleetfrontError, InputError
from fleetfront.pipelines.deploy.bundling import (
    RANDOM_WEIGHTS,
    accuracy_rows,
    missed_limit,
    staging_folder,
    with_times_of,
)
from fleetfront.pipelines.deploy.called import Arrays, bundle_called, prove_called
from fleetfront.pipelines.deploy.deploy import Wanted, check_narrow, precisions_of
from fleetfront.pipelines.deploy.export_example import (
    OWN_FORMATS,
    TorchCall,
    exported_files,
    finish_exported,
    write_proven,
)
from fleetfront.pipelines.deploy.judging import check_drop
from fleetfront.pipelines.deploy.own_parts import deploy_own_parts
from fleetfront.pipelines.deploy.records import Deployed, Measuring, Pick, Recipe, WrittenFile
from fleetfront.pipelines.deploy.timing import check_targets, measure_written
from fleetfront.pipelines.measure.files import FileLatency
from fleetfront.progress import SILENT, Progress
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.base import Genotypes, OfUserFile, UserFamily, only_graph

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

#: What such networks are handed out in.
PRECISIONS = ("fp32", "int8")
#: Of so many inputs of a file's ``calibration`` one is kept to prove int8 files on.
_PROVEN = 4

#: Architecture and precision, as ``Pick.key``.
Key = tuple[str, str]


class _Made(NamedTuple):
    """A network with its proven files, and the percent that its file's ``judge`` tells of it in torch."""

    network: TorchCall
    files: Sequence[WrittenFile]
    accuracy: float | None


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
    """Write one bundle a pick with the weights that the user's file gives, in fp32, and in int8 where the file gives
    inputs to calibrate on. A pick that fails carries its error and costs no other pick. Files in fp32 are those that
    profiles of the family time. Of a command that was killed, what it finished is kept.

    Raises:
        InputError: a format, precision or contract that such networks are not written in, a bundle that exists, a
            target without a file.
        DeviceError: the device that measures is gone.
    """
    recipe = recipe or Recipe()
    precisions = precisions_of(picks, recipe)
    _check(family, formats, recipe, precisions)
    check_narrow(picks, recipe, "where the file has calibration(**genes)", PRECISIONS)
    check_targets(measuring, formats, precisions)
    ending = RANDOM_WEIGHTS if family.is_shipped else ""
    picks = [replace(pick, name=safe_name(pick.name) + ending) for pick in picks]
    if family.is_in_parts:
        return deploy_own_parts(picks, family, formats, out, measuring=measuring, force=force, progress=progress)
    kept = {} if force else _finished(picks, family, formats, out, recipe, is_measured=measuring is not None)
    left = [pick for pick in picks if pick.name not in kept]
    for pick in left:
        check_replaceable(out / pick.name, force=force)
    done: list[Deployed] = []
    with staging_folder(out) as staging:
        made = _make({pick.key: pick.recipe(recipe) for pick in left}, family, formats, staging, progress)
        timed = {} if measuring is None else _timed(made, measuring, progress)
        for pick in picks:
            if pick.name in kept:
                done.append(kept[pick.name])
                continue
            found = made[pick.key]
            if isinstance(found, FleetfrontError):
                done.append(Deployed(pick, error=type(found)(f"{pick.name}: {found.message}", found.remedy)))
                continue
            proofs, measured = {file.key: file.proof for file in found.files}, timed.get(pick.key, ())
            pick, others = with_times_of(pick, found.files)
            one = Deployed(
                pick,
                None,
                proofs,
                measured,
                files=tuple(found.files),
                torch_accuracy=found.accuracy,
                without_files=others,
            )
            done.append(_bundled(one, found.network, family, out, force=force))
    return done


def _finished(
    picks: Sequence[Pick],
    family: UserFamily,
    formats: Sequence[FileFormat],
    out: Path,
    recipe: Recipe,
    *,
    is_measured: bool,
) -> dict[str, Deployed]:
    """The bundles that an earlier command, cut short, finished with the weights that the file still gives; none where
    nothing is left to do.
    """
    found = {}
    for pick in picks:
        folder = out / pick.name
        if not folder.is_dir():
            continue
        with contextlib.suppress(FleetfrontError):
            if Wanted(family.name, _weights(family, pick.arch), formats, recipe, is_measured).has(pick, folder):
                found[pick.name] = Deployed(pick, folder=folder)
    return found if len(found) < len(picks) else {}


def _weights(family: UserFamily, arch: str, module: Module | None = None) -> dict[str, object]:
    """Tell what a manifest says of the weights of a network; ``module`` saves making it again."""
    from fleetfront.deploy.writers.torch_export import weights_id

    if family.is_shipped:
        return {"random": True, "source": f"random numbers of {family.name}"}
    if module is None:
        ((module, _, _),) = family.own_parts(family.parse([arch])[0]).values()
    source = f"make(**genes) of {family.own_file.name}"
    return {"random": False, "id": weights_id(module), "source": source, "licence": "unknown"}


def _timed(
    made: Mapping[Key, _Made | FleetfrontError], measuring: Measuring, progress: Progress
) -> dict[Key, tuple[FileLatency, ...]]:
    """Measure what was made, one precision that picks have after another: files are told apart by architecture."""
    found: dict[Key, tuple[FileLatency, ...]] = {}
    for precision in dict.fromkeys(own for _, own in made):
        written = {a: one.files for (a, own), one in made.items() if own == precision and isinstance(one, _Made)}
        timed = measure_written(written, measuring, progress)
        found |= {(arch, precision): latencies for arch, latencies in timed.items()}
    return found


def _check(family: UserFamily, formats: Sequence[FileFormat], recipe: Recipe, precisions: Sequence[str]) -> None:
    strange = [kind.name for kind in formats if kind.name not in OWN_FORMATS]
    if strange:
        raise InputError(
            f"Networks of {family.own_file.name} are not written as {strange[0]}.",
            f"Choose from --formats {','.join(OWN_FORMATS)}.",
        )
    check_handed_out(family, precisions)
    if recipe.max_drop is not None and not family.judges_files:
        raise InputError(
            f"Nobody knows what files of {family.own_file.name} lose in accuracy: its accuracy judges no file.",
            "Add judge(run, **genes) to it, which calls run as it would the network, or leave --max-drop out.",
        )
    if recipe.contract != InputContract():
        raise InputError(
            f"Networks of {family.own_file.name} are fed as its inputs(**genes) says, nothing else before or behind.",
            "Leave --input, --channels, --layout and --softmax out, or write it into make(**genes).",
        )


def check_handed_out(family: OfUserFile, precisions: Sequence[str]) -> None:
    """Raise InputError, with the remedy, for a precision that networks of a file cannot be handed out in."""
    written = PRECISIONS[:1] if family.is_in_parts else PRECISIONS
    other = [name for name in precisions if name not in written]
    if other:
        raise InputError(
            f"Networks of {family.own_file.name} are not handed out in {other[0]}.",
            f"Choose from --precisions {','.join(written)}; what their files would take in {other[0]}, a profile "
            "with --precision tells.",
        )
    if "int8" in precisions:
        family.check_calibration()


def _make(
    wanted: Mapping[Key, Recipe],
    family: UserFamily,
    formats: Sequence[FileFormat],
    staging: Path,
    progress: Progress,
) -> Mapping[Key, _Made | FleetfrontError]:
    """Every distinct architecture and precision with its network and files, or why there are none."""
    made: dict[Key, _Made | FleetfrontError] = {}
    progress.start("Writing and proving", len(formats) * sum(len(one.precisions) for one in wanted.values()))
    for number, ((arch, own), recipe) in enumerate(sorted(wanted.items(), key=lambda item: item[0])):
        (genotype,) = family.parse([arch])
        folder = staging / str(number)
        folder.mkdir()
        try:
            ((module, sample, _),) = family.own_parts(genotype).values()
            network = TorchCall(arch, module, sample)
            exported = exported_files(only_graph(family, family.subnet_graphs(genotype)), formats)
            accuracy = family.own_judge(genotype, network.module) if family.judges_files else None
            files = []
            for precision in recipe.precisions:
                real = _named(network, family.own_calibration(genotype)) if precision == "int8" else []
                for kind in formats:
                    file = _written(network, kind, folder, exported[kind.name], real)
                    if accuracy is not None:
                        file = _judged(file, network, family, genotype, accuracy)
                        check_drop(file, recipe)
                    files.append(file)
                    progress.advance(detail=file.name)
            made[arch, own] = _Made(network, files, accuracy)
        except FleetfrontError as error:
            made[arch, own] = error
    progress.finish()
    return made


def _named(network: TorchCall, inputs: Sequence[Sequence[Tensor]]) -> list[Arrays]:
    return [{name: one.numpy() for name, one in zip(network.inputs, fed, strict=True)} for fed in inputs]


def _written(
    network: TorchCall, kind: FileFormat, folder: Path, exported: bytes, real: Sequence[Arrays]
) -> WrittenFile:
    """A proven file; in int8 where there are ``real`` inputs, of which every fourth is kept to prove it on.

    Raises BarMissed if it computes something else than torch, the float file that int8 is made of, too.
    """
    if not real:
        return write_proven(network, kind, folder, exported)
    inside = folder / "float"
    inside.mkdir(exist_ok=True)
    floats = write_proven(network, kind, inside, exported)
    kept = [one for number, one in enumerate(real) if number % _PROVEN == 0]
    fed = [{n: one[n] for n in floats.graph.inputs} for number, one in enumerate(real) if number % _PROVEN]
    data = kind.quantise(exported, fed)
    name = f"network-int8.{kind.name}"
    wrong = misrounded(kind.weights(exported), kind.weights(data))
    if wrong:
        raise BarMissed(
            f"In {name} the weight {wrong[0]!r} is further from the float file's than rounding can take it, so it is "
            "not handed out.",
            "Leave int8 out of --precisions, and report the version of the quantiser.",
        )
    report = lint_layout(data, kind.twin or kind.name, "int8", InputContract())
    data = finish_exported(data, kind, network.spec)
    path = folder / name
    path.write_bytes(data)
    proof, ports = prove_called(network, path, kind, kept)
    if not proof.passed:
        change = f"inputs of calibration(**genes) change in the outputs (limit {100 * proof.limit:g} %)"
        if proof.is_empty:
            change = f"changes, for these inputs change outputs by {proof.spread_of_range:.1g} of their range alone"
        raise BarMissed(
            f"{name} follows {100 * (proof.explained or 0):.1f} % of what {change}, and is not handed out.",
            "Let calibration(**genes) give inputs as they occur, or leave int8 out of --precisions.",
        )
    return WrittenFile(f"{kind.name}-int8", kind, "int8", path, name, ports, proof, report, kind.minimum_runtime(data))


def _judged(
    file: WrittenFile, network: TorchCall, family: UserFamily, genotype: Genotypes, accuracy: float
) -> WrittenFile:
    """The file with the percent that the user's ``judge`` tells of it; of the network in torch it is ``accuracy``."""
    session = load_runtime(file.kind.runtime).open(file.path)
    try:
        found = family.own_judge(genotype, network.called_in(session))
    finally:
        session.close()
    return replace(file, accuracy=found, drop=accuracy - found)


def _bundled(done: Deployed, network: TorchCall, family: UserFamily, out: Path, *, force: bool) -> Deployed:
    weights = _weights(family, done.pick.arch, network.module)
    rows = accuracy_rows(f"judge of {family.own_file.name}", done.torch_accuracy, done.files)
    pick = done.pick
    done = replace(done, pick=replace(pick, accuracy=(*pick.accuracy, *rows)))
    try:
        bundled = bundle_called(done, network, weights, out, space=family.name, force=force)
    except FleetfrontError as error:
        return replace(done, error=error)
    return replace(bundled, pick=pick, error=missed_limit(bundled))
