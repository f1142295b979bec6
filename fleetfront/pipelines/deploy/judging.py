"""Prove a written file against torch in its own runtime, judge it on held-out images, and hold it against its bars."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.deploy.contract import DYNAMIC, InputContract
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.proof import Proof, judge
from fleetfront.errors import BarMissed, InputError
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.deploy.records import NO_SPACE, Recipe, WrittenFile
from fleetfront.pipelines.deploy.reference import PROBES, TORCH_BATCH, Reference
from fleetfront.runtimes.base import Session
from fleetfront.runtimes.catalogue import load_runtime

#: Images that a dynamic batch is proven with at once.
_DYNAMIC_BATCH = 3

#: Probabilities are compared down to here; float32 ends at about 1e-38.
_SMALLEST = 1e-30


def prove_file(
    reference: Reference, graph: Graph, path: Path, kind: FileFormat, precision: str, recipe: Recipe
) -> tuple[Proof, float | None]:
    """The proof of the file on disk, and its accuracy in percent."""
    contract, runtime = recipe.contract, load_runtime(kind.runtime)
    layout = contract.layout(kind.layout)
    session = runtime.open(path)
    try:
        images: NDArray[Any] = reference.floats if reference.pixels is None else reference.pixels
        got = run_images(session, contract.as_fed(images, layout), contract.batch)
        classes = np.concatenate([np.empty(0, np.int64), *_classes(session, reference, contract, layout)])
    finally:
        session.close()
    want = reference.outputs
    by_agreement = precision == "int8"
    if contract.softmax:
        # 256 steps round small probabilities to 0, which has no logarithm.
        want = _without_constant(want)
        want, got = (np.exp(want), got) if by_agreement else (want, _logits_of(got))
    if by_agreement and len(want) > PROBES:
        # int8 holds the values of images like those that it was calibrated on, and cuts off those of others.
        want, got = want[PROBES:], got[PROBES:]
    limit = recipe.agreement_limit if by_agreement else recipe.spread_limits[precision]
    proof = judge(want, got, path, runtime, limit=limit, by_agreement=by_agreement)
    if not len(reference.test):
        return proof, None
    agreement = float(np.mean(classes == reference.classes))
    commonest = float(np.unique(reference.classes, return_counts=True)[1].max() / len(classes))
    proof = replace(proof, agreement=agreement, agreement_images=len(classes), commonest_class=commonest)
    if reference.targets is None:
        return proof, None
    return proof, 100 * float(np.mean(classes == reference.targets))


def _classes(
    session: Session, reference: Reference, contract: InputContract, layout: str
) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(reference.test), TORCH_BATCH):
        pixels = reference.test[start : start + TORCH_BATCH]
        images: NDArray[Any] = pixels if contract.input == "uint8" else reference.preprocessing.inputs(pixels)
        yield run_images(session, contract.as_fed(images, layout), contract.batch).argmax(axis=1)


def run_images(session: Session, images: NDArray[Any], batch: int | str) -> NDArray[np.float32]:
    """Outputs float32[n, classes] of n images as a file of one input and one output wants them, ``batch`` at a time.

    A dynamic batch is run with one image first and several after that.
    """
    name, output = session.inputs[0].name, session.outputs[0].name
    rows = []
    start = 0
    while start < len(images):
        size = int(batch) if batch != DYNAMIC else (1 if start == 0 else _DYNAMIC_BATCH)
        part = images[start : start + size]
        missing = 0 if batch == DYNAMIC else size - len(part)
        if missing:
            part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
        rows.append(session.run({name: part})[output][: len(part) - missing])
        start += size
    return np.concatenate(rows)


def check_bars(file: WrittenFile, recipe: Recipe) -> None:
    """Raise BarMissed if a file misses its proof or loses more accuracy than the recipe allows."""
    proof = file.proof
    runtime = f"{proof.runtime} {proof.runtime_version}"
    if proof.is_empty:
        raise BarMissed(
            f"Inputs change the logits by only {proof.spread_of_range:.1g} of their range, so that a wrong file could "
            f"pass for {file.name}.",
            "Check the weights, or give real inputs with --images FOLDER.",
        )
    if not proof.passed and proof.by_agreement:
        share = "no real image was run" if proof.agreement is None else f"{100 * proof.agreement:.1f} % of images"
        raise BarMissed(
            f"{file.name} names torch's class on {share} (limit {100 * proof.limit:g} %), so it is not handed out.",
            "Calibrate on more typical images (--images), or leave int8 out of --precisions.",
        )
    if not proof.passed:
        report = f"Report the architecture {file.graph.labels.get('arch', '')} and {runtime}."
        if file.graph.labels.get("space") == NO_SPACE:
            report = (
                f"Its output must depend on its input alone (no dropout, no changes in place), in torch and {runtime}."
            )
        raise BarMissed(
            f"{file.name} differs from torch by {proof.relative_to_spread:.2g} of what inputs change in the logits "
            f"(limit {proof.limit:g}), so it is not handed out.",
            report if file.precision == "fp32" else "Rounding adds up in this network: leave this precision out.",
        )
    if recipe.max_drop is None:
        return
    if file.drop is None or math.isnan(file.drop):
        raise nobody_knows_the_drop()
    if file.drop > recipe.max_drop:
        raise BarMissed(
            f"{file.name} loses {file.drop:.2f} points of accuracy against fp32 (limit {recipe.max_drop:g}), so it is "
            "not handed out.",
            "Raise --max-drop, calibrate on more images, or leave this precision out.",
        )


def nobody_knows_the_drop() -> InputError:
    """The error for a bar on accuracy where no labelled images say what accuracy is."""
    return InputError(
        "A largest drop of accuracy is asked for, but no labelled images say what accuracy is.",
        "Give --images FOLDER with one subfolder a class of the network, or leave out --max-drop.",
    )


def _logits_of(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits behind probabilities, up to a constant: limits are shares of the logits' range in all files."""
    result: NDArray[np.float32] = np.log(np.maximum(probabilities, np.float32(_SMALLEST)))
    return result


def _without_constant(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities of logits, no smaller than ``_logits_of`` gives them."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    floored: NDArray[np.float32] = np.maximum(result, np.log(np.float32(_SMALLEST)))
    return floored
