"""Prove a written file against torch in its own runtime, judge it on held-out images, and hold it against its bars."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.deploy.contract import DYNAMIC, InputContract
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.proof import (
    FP32_LIMIT,
    Proof,
    error_allowed,
    explained_share,
    int8_error_allowed,
    judge,
    largest_error,
    log_probabilities,
    logits_of,
)
from fleetfront.deploy.quantise.precisions import BY_AGREEMENT, ROUNDED_INPUTS_LIMIT
from fleetfront.errors import BarMissed, InputError
from fleetfront.pipelines.deploy.records import NO_SPACE, Recipe, WrittenFile
from fleetfront.pipelines.deploy.reference import PROBES, TORCH_BATCH, VECTORS, Reference
from fleetfront.runtimes.base import Session
from fleetfront.runtimes.catalogue import facts_of, load_runtime

#: Images that a dynamic batch is proven with at once.
_DYNAMIC_BATCH = 3


@dataclass(frozen=True, slots=True)
class Judged:
    """Findings of a written file.

    Attributes:
        proof: against torch.
        accuracy: on held-out images in percent; None without labels.
        answers: float32[v, classes], what the file gave for the test vectors.
        tolerance: how far ``answers`` may be off on another machine: from torch's, or of narrow files from these.
    """

    proof: Proof
    accuracy: float | None
    answers: NDArray[np.float32]
    tolerance: float


def prove_file(
    reference: Reference, path: Path, kind: FileFormat, precision: str, recipe: Recipe, rounding: float | None = None
) -> Judged:
    """Run the file on disk on the reference's images, and on held-out ones.

    ``rounding`` is what ``prove_narrow_weights`` gave of a file whose weights alone are narrow. Another processor may
    round other inputs of products, or none: its answers are no further off than all that rounding costs.
    """
    contract, runtime = recipe.contract, load_runtime(kind.runtime)
    layout = contract.layout(kind.layout)
    session = runtime.open(path)
    try:
        images: NDArray[Any] = reference.floats
        if reference.pixels is not None:
            images = contract.feed(reference.pixels, reference.preprocessing)
        given = run_images(session, contract.as_fed(images, layout), contract.batch)
        tested = list(_tested(session, reference, contract, layout))
    finally:
        session.close()
    want, got = reference.outputs, given
    by_agreement = precision in BY_AGREEMENT
    if contract.softmax:
        # 256 steps round small probabilities to 0, which has no logarithm.
        want = log_probabilities(want)
        want, got = (np.exp(want), got) if by_agreement else (want, logits_of(got))
    limit = recipe.agreement_limit if by_agreement else recipe.spread_limits[precision]
    if rounding is not None:
        tolerance = rounding + error_allowed(given, FP32_LIMIT)
    else:
        tolerance = int8_error_allowed(given) if by_agreement else error_allowed(want, limit)
    if by_agreement and len(want) > PROBES:
        # int8 holds the values of images like those that it was calibrated on, and cuts off those of others.
        want, got = want[PROBES:], got[PROBES:]
    proof = judge(want, got, path, runtime, limit=limit, by_agreement=by_agreement)
    accuracy = None
    if tested:
        outputs = np.concatenate(tested)
        classes = outputs.argmax(axis=1)
        wanted = reference.test_outputs
        explained = explained_share(np.exp(log_probabilities(wanted)) if contract.softmax else wanted, outputs)
        agreement = float(np.mean(classes == reference.classes))
        commonest = float(np.unique(reference.classes, return_counts=True)[1].max() / len(classes))
        proof = replace(
            proof,
            agreement=agreement,
            agreement_images=len(classes),
            commonest_class=commonest,
            explained=explained,
        )
        if reference.targets is not None:
            accuracy = 100 * float(np.mean(classes == reference.targets))
    return Judged(proof, accuracy, given[VECTORS], tolerance)


def prove_float_form(reference: Reference, data: bytes, kind: FileFormat, recipe: Recipe, folder: Path) -> None:
    """Raise BarMissed unless the float file ``data``, which a narrow file will be made of, computes what torch does.

    ``folder`` holds it meanwhile.
    """
    untested = replace(reference, test=reference.test[:0], test_outputs=reference.test_outputs[:0], targets=None)
    path = folder / f".float.{facts_of(kind.runtime).formats[0]}"
    path.write_bytes(data)
    try:
        proof = prove_file(untested, path, kind, "fp32", recipe).proof
    finally:
        path.unlink()
    if not proof.passed:
        raise BarMissed(
            f"The float file that a narrow one would be made of differs from torch by {proof.relative_to_spread:.2g} "
            f"of what inputs change in the logits (limit {proof.limit:g}), so no {kind.name} file is made of it.",
            f"Report {proof.runtime} {proof.runtime_version} and the architecture.",
        )


def prove_narrow_weights(
    reference: Reference, pair: tuple[bytes, bytes], kind: FileFormat, precision: str, recipe: Recipe
) -> float:
    """The most that rounding what goes into products changes an output of a file whose weights alone are narrow.

    Raises BarMissed unless the file computes what its weights say.

    Args:
        reference: its images are run.
        pair: the float file with the narrow file's values, and the narrow file.
        kind: of both.
        precision: of the narrow one.
        recipe: contract and bars.
    """
    runtime, contract = load_runtime(kind.runtime), recipe.contract
    images: NDArray[Any] = reference.floats
    if reference.pixels is not None:
        images = contract.feed(reference.pixels, reference.preprocessing)
    fed, given = contract.as_fed(images, contract.layout(kind.layout)), []
    for data in pair:
        session = runtime.open(data)
        try:
            outputs = run_images(session, fed, contract.batch)
        finally:
            session.close()
        given.append(outputs)
    rounding = largest_error(*(outputs.astype(np.float64) for outputs in given))
    want, got = map(logits_of, given) if contract.softmax else given
    limit = FP32_LIMIT if precision in kind.computes_in_float else ROUNDED_INPUTS_LIMIT
    error = largest_error(want.astype(np.float64), got.astype(np.float64))
    allowed = error_allowed(want, limit)
    if not error <= allowed:
        raise BarMissed(
            f"The {precision} form of the {kind.name} file is off by {error:.2g} from the float file with its weights, "
            f"where {allowed:.2g} is allowed, so it is not handed out.",
            f"Leave {precision} out of --precisions, and report {kind.runtime} {runtime.version()}.",
        )
    return rounding


def _tested(
    session: Session, reference: Reference, contract: InputContract, layout: str
) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(reference.test), TORCH_BATCH):
        pixels = reference.test[start : start + TORCH_BATCH]
        images = contract.feed(pixels, reference.preprocessing)
        yield run_images(session, contract.as_fed(images, layout), contract.batch)


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
    if proof.by_agreement and proof.is_unmoved:
        followed = 100 * max(proof.explained or 0, 0)
        raise BarMissed(
            f"Torch names one class on {100 * (proof.commonest_class or 0):.0f} % of images, and {file.name} follows "
            f"only {followed:.0f} % of what images change in the outputs, so it is not handed out.",
            f"Give --images of all classes, or leave {file.precision} out of --precisions.",
        )
    if not proof.passed and proof.by_agreement:
        share = "no real image was run" if proof.agreement is None else f"{100 * proof.agreement:.1f} % of images"
        typical = "Calibrate on more typical images (--images), or leave" if file.precision == "int8" else "Leave"
        raise BarMissed(
            f"{file.name} names torch's class on {share} (limit {100 * proof.limit:g} %), so it is not handed out.",
            f"{typical} {file.precision} out of --precisions.",
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
    check_drop(file, recipe)


def check_drop(file: WrittenFile, recipe: Recipe) -> None:
    """Raise BarMissed if a file loses more accuracy than it may, InputError where nobody knows what it loses."""
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
