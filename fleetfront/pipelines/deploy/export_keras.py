"""Export a Keras model or SavedModel as a bundle: TensorFlow converts and answers, LiteRT is held against that."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.deploy.bundle.manifest import check_replaceable, safe_name
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import ALL_FORMATS, FileFormat
from fleetfront.deploy.layout_lint import lint_layout
from fleetfront.deploy.writers.tflite.metadata import FileDescription
from fleetfront.errors import BarMissed, FleetfrontError, InputError, MissingDependency
from fleetfront.pipelines.deploy.bundling import staging_folder
from fleetfront.pipelines.deploy.called import Arrays, bundle_called, prove_called
from fleetfront.pipelines.deploy.records import Deployed, Measuring, Pick, WrittenFile
from fleetfront.pipelines.deploy.timing import measure_written
from fleetfront.progress import SILENT, Progress
from fleetfront.runtimes.feeds import load_arrays

#: Names the Python of an environment with tensorflow, where its versions and fleetfront's do not go together.
ENVIRONMENT = "FLEETFRONT_TENSORFLOW_PYTHON"
#: Inferences that are compared.
SAMPLES = 4
#: TensorFlow needs some ten seconds to load; a large model some minutes to convert.
_PATIENCE_S = 1800
_SUFFIXES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True, slots=True)
class KerasNetwork:
    """The things to export.

    Attributes:
        path: a ``.keras`` or ``.h5`` file, or the folder of a SavedModel.
        name: of the bundle.
        licence: of the weights.
        python: of the environment with tensorflow; by default what ``ENVIRONMENT`` names, else this one.
    """

    path: Path
    name: str
    licence: str = "unknown"
    python: str = ""


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A network whose answers TensorFlow gave when it was converted."""

    spec: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    asked: tuple[Arrays, ...]
    answered: tuple[Arrays, ...]
    origin: str = "TensorFlow"

    def samples(self) -> list[Arrays]:
        return list(self.asked)

    def run(self, feeds: Arrays) -> Arrays:
        return next(a for q, a in zip(self.asked, self.answered, strict=True) if all(q[n] is feeds[n] for n in q))


def export_keras(
    wanted: KerasNetwork,
    out: Path,
    *,
    measuring: Measuring | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> Deployed:
    """Write one bundle with a ``.tflite`` in fp32. What fails in proving it is in the result.

    Raises:
        InputError: there is no such model, TensorFlow does not load or convert it, or it has more open sizes than its
            batch.
        MissingDependency: the environment has no tensorflow.
    """
    if not wanted.path.is_dir() and wanted.path.suffix not in _SUFFIXES:
        raise InputError(
            f"{wanted.path} is no Keras model.", "Give a .keras or .h5 file, or the folder of a SavedModel."
        )
    if not wanted.path.exists():
        raise InputError(f"There is no {wanted.path}.", "Give the path of a Keras model or a SavedModel.")
    pick, kind = Pick(safe_name(wanted.name), wanted.path.name), ALL_FORMATS["tflite"]
    check_replaceable(out / pick.name, force=force)
    progress.start("Converting with TensorFlow, and proving", 2)
    try:
        with contextlib.ExitStack() as until:
            staging = until.enter_context(staging_folder(out))
            facts = _converted(wanted, staging)
            progress.advance(detail=f"TensorFlow {facts['tensorflow']}")
            network = _recorded(wanted.path.name, staging / "samples.npz")
            try:
                file = _written(network, kind, staging)
                progress.advance(detail=file.name)
                timed = {} if measuring is None else measure_written({pick.arch: [file]}, measuring, progress)
                done = Deployed(pick, proofs={file.key: file.proof}, measured=timed.get(pick.arch, ()), files=(file,))
                weights = {"random": False, "id": _hash(wanted.path), "source": pick.arch, "licence": wanted.licence}
                made_with = {"tensorflow": str(facts["tensorflow"])}
                return bundle_called(done, network, weights, out, made_with=made_with, force=force)
            except FleetfrontError as error:
                return Deployed(pick, error=type(error)(f"{pick.name}: {error.message}", error.remedy))
    finally:
        progress.finish()


def _converted(wanted: KerasNetwork, folder: Path) -> dict[str, Any]:
    """Run the program of ``writers.keras`` in TensorFlow's environment, which fills ``folder``."""
    python = wanted.python or os.environ.get(ENVIRONMENT) or sys.executable
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("PYTHONPATH", None)
    with as_file(files("fleetfront.deploy.writers.keras").joinpath("convert.py")) as program:
        command = [python, str(program), str(wanted.path.resolve()), str(folder), str(SAMPLES)]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_PATIENCE_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InputError(f"TensorFlow's Python {python} did not run ({error}).", f"Set {ENVIRONMENT}.") from error
    said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
    if done.returncode == 2:
        reason, remedy = json.loads(done.stdout.splitlines()[-1])
        raise InputError(f"{wanted.path}: {reason}", remedy)
    if done.returncode and "No module named 'tensorflow'" in done.stderr:
        raise MissingDependency(
            f"{python} has no tensorflow, whose converter reads Keras models.",
            f"Make an environment with it, and name its Python: pip install tensorflow, then set {ENVIRONMENT}.",
        )
    if done.returncode:
        raise InputError(f"TensorFlow does not convert {wanted.path} ({said[0][:600]}).", "Check that it loads there.")
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return facts


def _recorded(spec: str, path: Path) -> _Recorded:
    arrays = load_arrays(path)
    sides: dict[str, list[Arrays]] = {side: [{} for _ in range(SAMPLES)] for side in ("in", "out")}
    for key, array in arrays.items():
        side, place, name = key.split("/", 2)
        sides[side][int(place)][name] = np.asarray(array)
    asked, answered = sides["in"], sides["out"]
    return _Recorded(spec, tuple(sorted(asked[0])), tuple(sorted(answered[0])), tuple(asked), tuple(answered))


def _written(network: _Recorded, kind: FileFormat, folder: Path) -> WrittenFile:
    path = folder / "network.tflite"
    data = path.read_bytes()
    if len(network.inputs) == len(network.outputs) == 1:
        data = kind.finish(data, FileDescription("network", network.spec))
        path.write_bytes(data)
    proof, ports = prove_called(network, path, kind)
    if proof.is_empty or not proof.passed:
        raise BarMissed(
            f"{path.name} differs from TensorFlow by {proof.relative_to_spread:.2g} of what inputs change in an output "
            f"(limit {proof.limit:g}), so it is not handed out.",
            "Its outputs must depend on its inputs alone: no dropout in use, no random numbers.",
        )
    report = lint_layout(data, "tflite", "fp32", InputContract())
    return WrittenFile("tflite", kind, "fp32", path, path.name, ports, proof, report, kind.minimum_runtime(data))


def _hash(path: Path) -> str:
    """SHA-256 of a file, or over the names and contents of a folder's."""
    digest = hashlib.sha256()
    for one in [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file()):
        digest.update(f"{one.relative_to(path) if path.is_dir() else ''};".encode() + one.read_bytes())
    return digest.hexdigest()
