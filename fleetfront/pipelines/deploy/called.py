"""Prove and bundle files of a network of any inputs and outputs against what its own framework computes."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fleetfront import __version__
from fleetfront.deploy.bundle.manifest import BundleFile, Manifest, PortDescription, write_bundle
from fleetfront.deploy.bundle.vectors import README, Vectors, VectorWriter, describe_vectors
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.proof import FP32_LIMIT, Proof, error_allowed, int8_error_allowed, judge_followed, judge_outputs
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, Tensor
from fleetfront.pipelines.deploy.bundling import measured_row, versions
from fleetfront.pipelines.deploy.records import NO_SPACE, Deployed, WrittenFile
from fleetfront.runtimes.catalogue import load_runtime

Arrays = dict[str, NDArray[Any]]


class Called(Protocol):
    """A network whose inputs and outputs have names, in the framework that made it."""

    @property
    def spec(self) -> str:
        """The user's spelling of it."""

    @property
    def origin(self) -> str:
        """The framework, for people."""

    @property
    def inputs(self) -> Sequence[str]:
        """Names of its inputs."""

    @property
    def outputs(self) -> Sequence[str]:
        """Names of its outputs."""

    def samples(self) -> list[Arrays]:
        """Inputs by name that files are compared on, the first for test vectors."""

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name, of the framework itself."""


def prove_called(network: Called, path: Path, kind: FileFormat, real: Sequence[Arrays] = ()) -> tuple[Proof, Graph]:
    """Prove a file's outputs; the graph has its ports. An int8 file is proven on ``real`` inputs by name.

    Raises InputError where shapes differ or numbers are none.
    """
    runtime, samples = load_runtime(kind.runtime), list(real) or network.samples()
    session = runtime.open(path)
    try:
        ports = {port.name: port for port in (*session.inputs, *session.outputs)}
        fed = [name for name in network.inputs if name in ports]  # exporters drop what is not read
        got = [session.run({name: sample[name] for name in fed}) for sample in samples]
    finally:
        session.close()
    want = [network.run(sample) for sample in samples]
    lost = [name for name in network.outputs if name not in got[0]]
    if lost:
        raise InputError(
            f"{path.name} has no output {lost[0]!r}, which the network has in {network.origin}.",
            "Return each tensor once, in a tuple, and none that is an input.",
        )
    outputs = []
    for name in network.outputs:
        pairs = [(w[name], g[name]) for w, g in zip(want, got, strict=True)]
        if any(w.shape != g.shape for w, g in pairs):
            raise InputError(
                f"Output {name!r} is {list(pairs[0][0].shape)} in {network.origin} and {list(pairs[0][1].shape)} in "
                f"{path.name}.",
                "Its shape must not depend on the input's values.",
            )
        if any(w.dtype.kind == "f" and np.isnan(w).any() for w, _ in pairs):
            raise InputError(
                f"In {network.origin}, output {name!r} holds what is no number (NaN).", "Check weights and example."
            )
        outputs.append((np.stack([w for w, _ in pairs]), np.stack([g for _, g in pairs])))
    proof = judge_followed(outputs, path, runtime) if real else judge_outputs(outputs, path, runtime, limit=FP32_LIMIT)
    proof = replace(proof, against=network.origin)
    tensors = {n: Tensor(n, port.shape, port.dtype) for n, port in ports.items()}
    labels = {"arch": network.spec, "space": NO_SPACE}
    return proof, Graph("network", tuple(fed), tuple(network.outputs), (), tensors, {}, labels)


def bundle_called(
    done: Deployed,
    network: Called,
    weights: Mapping[str, Any],
    out: Path,
    *,
    made_with: Mapping[str, str] | None = None,
    space: str = NO_SPACE,
    force: bool = False,
) -> Deployed:
    """Write the bundle of proven files, with ``weights``, ``made_with`` and what is known of the pick in its manifest.

    Raises InputError if there is one already.
    """
    writer = VectorWriter()
    add_vectors(writer, network, done.files)
    vectors = described(writer.vectors(), network.origin)
    manifest = Manifest(
        arch=network.spec,
        space=space,
        weights=weights,
        files=tuple(_described(file) for file in done.files),
        accuracy=done.pick.accuracy,
        latency=(*done.pick.latency, *map(measured_row, done.measured)),
        made_with={"fleetfront": __version__, "python": platform.python_version(), **versions(), **(made_with or {})},
        test_vectors=vectors.rows,
    )
    contents: dict[str, bytes | Path] = {file.name: file.path for file in done.files}
    contents |= vectors.contents
    folder = write_bundle(out / done.pick.name, manifest, contents, force=force)
    moved = tuple(replace(file, path=folder / file.name) for file in done.files)
    return replace(done, folder=folder, files=moved)


def _described(file: WrittenFile) -> BundleFile:
    inputs, outputs = (
        tuple(PortDescription(name, file.graph.tensors[name].shape, file.graph.tensors[name].dtype) for name in names)
        for names in (file.graph.inputs, file.graph.outputs)
    )
    return BundleFile(
        path=file.name,
        format=file.kind.name,
        precision=file.precision,
        input=inputs[0],
        output=outputs[0],
        checks=file.proof.as_checks(),
        minimum_runtime=file.minimum_runtime,
        accuracy={} if file.accuracy is None else {"value": file.accuracy, "drop": file.drop},
        layout=file.layout.to_dict(),
        inputs=inputs,
        outputs=outputs,
    )


def add_vectors(writer: VectorWriter, network: Called, files: Sequence[WrittenFile], case: str = "example") -> None:
    """Add the example as each file is fed it, and what torch makes of it."""
    samples = network.samples()
    outputs = [network.run(sample) for sample in samples]
    for file in files:
        key, given = (file.name, case), _given(file, samples) if file.proof.by_explained else []
        for name in file.graph.inputs:
            writer.add(key, "input", name, samples[0][name], f"input.{network.inputs.index(name)}")
        for place, name in enumerate(network.outputs):
            tolerance = error_allowed(np.stack([one[name] for one in outputs]), FP32_LIMIT)
            writer.add(key, "torch", name, outputs[0][name], f"torch.{place}", None if given else tolerance)
            if given:
                allowed = int8_error_allowed(np.stack([one[name] for one in given]))
                writer.add(key, "file", name, given[0][name], f"{file.name}.{place}", allowed)


def described(vectors: Vectors, origin: str) -> Vectors:
    """The vectors, if there are any, with a page that says what lies there, given by ``origin``."""
    if not vectors.rows:
        return vectors
    page = describe_vectors(vectors, (), is_softmax=False, origin=origin).encode()
    return replace(vectors, contents={**vectors.contents, README: page})


def _given(file: WrittenFile, samples: Sequence[Arrays]) -> list[Arrays]:
    """The outputs of a file itself: those of int8 are further from torch's than processors are from each other."""
    session = load_runtime(file.kind.runtime).open(file.path)
    try:
        return [session.run({name: sample[name] for name in file.graph.inputs}) for sample in samples]
    finally:
        session.close()
