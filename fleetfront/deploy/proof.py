"""Prove that a written file computes what its graph says: run the file, re-read in its own runtime, against torch.

A distance is judged against what inputs change in the outputs: against the outputs' range alone, a file that hardly
looks at its input could pass. Accuracy on labelled images is another question and not answered here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, Tensor
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.runtimes.base import Port, Runtime, Session
from fleetfront.runtimes.catalogue import facts_of, load_runtime, runtime_for_file
from fleetfront.runtimes.feeds import random_feeds

#: Share of the outputs' spread over inputs that rounding may cost. fp32 files measure around 1e-6 to 1e-5; one filter
#: that is zeroed changes 1e-3 and more, wherever the filter does anything.
FP32_LIMIT = 1e-4
#: Rounding goes by the outputs' size, however little inputs change them: this share of ``limit`` goes for the range.
_OF_RANGE = 0.02
#: Probabilities are compared down to here; float32 ends at about 1e-38.
_SMALLEST = 1e-30
#: Outputs that inputs change by less than this share of their range cannot tell a right file from a wrong one.
LEAST_SPREAD = 1e-3

#: Where torch names one class for nearly all images, an int8 file must follow this share of what they change in torch's
#: outputs: right files follow more than nine tenths, files with a zeroed layer nothing.
LEAST_EXPLAINED = 0.5
#: Of outputs that nobody knows the meaning of, int8 must follow this share of what inputs change: right files follow
#: more than nine tenths.
FOLLOWED_LIMIT = 0.9
#: int8 is to give again what it gave when it was proven. Processors round to its 256 steps in their own ways: that may
#: cost this share of what inputs change, or these steps of the outputs' range.
_INT8_SHARE, _INT8_STEPS = 0.05, 3

#: Axes of a channels-first image in the order of a channels-last one, and the way back.
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Proof:
    """Distances of a file's outputs from torch's.

    Attributes:
        runtime, runtime_version: what ran the file.
        sha256: of the file's bytes.
        samples: inferences compared.
        max_abs_error: largest difference of any element of any output; infinite if one side has a NaN the other lacks.
        relative_to_range: per output the largest difference over the range (max - min) of torch's values in all
            samples, then the worst output.
        relative_to_spread: the same over the spread: the most that any element of torch's output changes from sample to
            sample. Of a single sample the range stands in.
        spread_of_range: the spread over the range, of the output that inputs change most.
        limit: what ``relative_to_spread`` may be, or what ``agreement`` must be if ``by_agreement``.
        agreement: share of real images whose class is torch's; None if none were run.
        agreement_images: how many.
        commonest_class: share of them that torch gives one and the same class: what a constant answer would agree on.
        explained: share of what these images change in torch's outputs that the file's follow: 1 for equal ones, 0 for
            constant ones, negative for worse.
        by_agreement: judged by ``agreement`` instead of ``relative_to_spread``, as int8 is.
        by_explained: judged by ``explained``, as int8 is where nobody knows what outputs mean.
        against: the framework whose outputs the file's stand beside.
    """

    runtime: str
    runtime_version: str
    sha256: str
    samples: int
    max_abs_error: float
    relative_to_range: float
    relative_to_spread: float
    spread_of_range: float
    limit: float
    agreement: float | None = None
    agreement_images: int = 0
    commonest_class: float | None = None
    explained: float | None = None
    by_agreement: bool = False
    by_explained: bool = False
    against: str = "torch"

    @property
    def passed(self) -> bool:
        """True if the file computes what its graph says."""
        if self.by_agreement:
            is_alike = self.agreement is not None and self.agreement >= self.limit
            return is_alike and not self.is_unmoved
        if self.by_explained:
            return not self.is_empty and self.explained is not None and self.explained >= self.limit
        return not self.is_empty and (
            self.relative_to_spread <= self.limit or self.relative_to_range <= _OF_RANGE * self.limit
        )

    @property
    def is_empty(self) -> bool:
        """True if inputs change the outputs so little that a wrong file could pass."""
        return self.spread_of_range < LEAST_SPREAD

    @property
    def is_unmoved(self) -> bool:
        """True if nothing but a constant answer is seen in a file: agreement proves little, and images change it too
        little, or otherwise than torch.
        """
        return self.is_weak and self.explained is not None and self.explained < LEAST_EXPLAINED

    @property
    def is_weak(self) -> bool:
        """True if a constant answer would agree often enough to pass."""
        return self.by_agreement and self.commonest_class is not None and self.commonest_class >= self.limit

    def as_checks(self) -> dict[str, Any]:
        """The proof as plain values, for a manifest."""
        judged_by = "top1_agreement" if self.by_agreement else "relative_to_spread"
        return {
            "against": self.against,
            "runtime": f"{self.runtime} {self.runtime_version}",
            "samples": self.samples,
            "max_abs_error": self.max_abs_error,
            "relative_to_range": self.relative_to_range,
            "relative_to_spread": self.relative_to_spread,
            "spread_of_range": self.spread_of_range,
            "top1_agreement": self.agreement,
            "agreement_images": self.agreement_images,
            "commonest_class": self.commonest_class,
            "explained": self.explained,
            "judged_by": "explained" if self.by_explained else judged_by,
            "limit": self.limit,
            "passed": self.passed,
        }


def prove(
    graph: Graph,
    file: Path | bytes,
    runtime: str | Runtime | None = None,
    feeds: Sequence[Feeds] | int = 3,
    *,
    limit: float = FP32_LIMIT,
    seed: int = 0,
) -> Proof:
    """Run ``file`` and ``graph`` on the same inputs and compare.

    Args:
        graph: what the file was written from.
        file: a path, opened by the runtime from disk, or bytes (then name the ``runtime``).
        runtime: a runtime or its name; None takes the one for the file's ending.
        feeds: inputs by name in the graph's layout (images NCHW), or how many to draw at random.
        limit: see ``Proof``.
        seed: of the random inputs.

    Raises:
        InputError: the file is none, or its inputs and outputs are not those of the graph.
        MissingDependency: the runtime or torch is not installed.
    """
    chosen = _runtime(file, runtime)
    if not feeds:
        raise InputError("A proof needs at least one input.", "Give feeds, or how many to draw.")
    reference = load_runtime("torch").open(graph.to_bytes())
    session = chosen.open(file)
    try:
        rng = np.random.default_rng(seed)
        drawn = [random_feeds(reference, rng) for _ in range(feeds)] if isinstance(feeds, int) else list(feeds)
        references = [reference.run(inputs) for inputs in drawn]
        layout = facts_of(chosen.name).layout
        results = [_run_file(graph, session, inputs, layout) for inputs in drawn]
    finally:
        session.close()
        reference.close()
    pairs = [
        (np.stack([one[name] for one in references]), np.stack([one[name] for one in results]))
        for name in graph.outputs
    ]
    digest = hashlib.sha256(file if isinstance(file, bytes) else Path(file).read_bytes()).hexdigest()
    return Proof(chosen.name, chosen.version(), digest, len(drawn), *_distances(pairs), limit)


def judge(
    want: NDArray[Any], got: NDArray[Any], file: Path, runtime: Runtime, *, limit: float, by_agreement: bool = False
) -> Proof:
    """The proof of a file whose outputs ``got`` float[n, ...] stand beside torch's ``want``, sample by sample.

    Agreement of classes is for whoever ran images to add (``dataclasses.replace``).
    """
    return replace(judge_outputs([(want, got)], file, runtime, limit=limit), by_agreement=by_agreement)


def judge_outputs(
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]], file: Path, runtime: Runtime, *, limit: float
) -> Proof:
    """The same of several outputs, each torch's beside the file's: the one that is furthest off decides."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Proof(runtime.name, runtime.version(), digest, len(pairs[0][0]), *_distances(pairs), limit)


def judge_followed(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]], file: Path, runtime: Runtime) -> Proof:
    """The proof of an int8 file of outputs without a known meaning: the share of what inputs change in torch's that it
    follows, in the worst of them; of integers, the share that is equal.
    """
    shares = [
        explained_share(want, got) if want.dtype.kind == "f" else float(np.mean(want == got)) for want, got in pairs
    ]
    proof = judge_outputs(pairs, file, runtime, limit=FOLLOWED_LIMIT)
    return replace(proof, explained=min(shares), by_explained=True)


def error_allowed(want: NDArray[Any], limit: float) -> float:
    """The largest error of any element with which a proof on outputs ``want`` [samples, ...] passes ``limit``."""
    values = want.astype(np.float64)
    return limit * max(_spread(values) if len(values) > 1 else _span(values), _OF_RANGE * _span(values))


def spread_of_range(want: NDArray[Any]) -> float:
    """Tell what samples change in an output [samples, ...], as a share of its range."""
    values = want.astype(np.float64)
    return _spread(values) / _span(values)


def int8_error_allowed(outputs: NDArray[Any]) -> float:
    """How far outputs of an int8 file may be off from what it gave elsewhere, from its outputs [samples, ...]."""
    values = outputs.astype(np.float64)
    return max(_INT8_SHARE * _spread(values), _INT8_STEPS * _span(values) / 255)


def relative_to_spread(want: NDArray[Any], got: NDArray[Any]) -> float:
    """The largest difference of outputs [samples, ...] over what samples change in ``want``, as a proof states it."""
    return _distances([(want, got)])[2]


def explained_share(want: NDArray[Any], got: NDArray[Any]) -> float:
    """The share of what samples change in ``want`` [samples, ...] that ``got`` follows; 1 if they change nothing."""
    values = want.astype(np.float64)
    total = float(((values - values.mean(axis=0)) ** 2).sum())
    return 1 - float(((got.astype(np.float64) - values) ** 2).sum()) / total if total else 1.0


def logits_of(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits behind probabilities, up to a constant: limits are shares of the logits' range in all files."""
    result: NDArray[np.float32] = np.log(np.maximum(probabilities, np.float32(_SMALLEST)))
    return result


def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities of logits, no smaller than ``logits_of`` gives them."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    floored: NDArray[np.float32] = np.maximum(result, np.log(np.float32(_SMALLEST)))
    return floored


def _runtime(file: Path | bytes, runtime: str | Runtime | None) -> Runtime:
    if isinstance(runtime, str):
        return load_runtime(runtime)
    if runtime is not None:
        return runtime
    if isinstance(file, bytes):
        raise InputError("Bytes do not say which runtime opens them.", "Name the runtime.")
    return runtime_for_file(Path(file))


def _run_file(graph: Graph, session: Session, inputs: Feeds, layout: str) -> dict[str, NDArray[Any]]:
    """Outputs in the graph's layout and names, whatever layout the file has."""
    ports = {port.name: port for port in (*session.inputs, *session.outputs)}
    absent = [name for name in (*graph.inputs, *graph.outputs) if name not in ports]
    if absent:
        raise InputError(
            f"The file has no input or output {absent[0]!r} (it has {', '.join(ports)}).",
            "Give the graph that the file was written from.",
        )
    fed = {}
    for name in graph.inputs:
        last = _is_channels_last(ports[name], graph.tensors[name], layout)
        fed[name] = inputs[name].transpose(_TO_LAST) if last else inputs[name]
    results = session.run(fed)
    for name in graph.outputs:
        if _is_channels_last(ports[name], graph.tensors[name], layout):
            results[name] = results[name].transpose(_TO_FIRST)
    return {name: results[name] for name in graph.outputs}


def _is_channels_last(port: Port, tensor: Tensor, layout: str) -> bool:
    """Tell whether images are; a file whose shapes fit only the other way round than ``layout`` is taken so."""
    shape = tensor.shape
    candidates = {False: shape}
    if tensor.layout == IMAGE:
        last = tuple(shape[axis] for axis in _TO_LAST)
        candidates = {True: last, False: shape} if layout == "NHWC" else {False: shape, True: last}
    for is_last, candidate in candidates.items():
        if _fits(port.shape, candidate):
            return is_last
    raise InputError(
        f"{port.name!r} of the file is {list(port.shape)}, of the graph {list(shape)}.",
        "Give the graph that the file was written from.",
    )


def _fits(have: Sequence[int | str], want: Sequence[int | str]) -> bool:
    pairs = list(zip(have, want, strict=False))
    return len(have) == len(want) and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in pairs)


def largest_error(want: NDArray[np.float64], got: NDArray[np.float64]) -> float:
    """The largest difference of any element; infinite if one side has a NaN that the other lacks."""
    same = (want == got) | (np.isnan(want) & np.isnan(got))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(want - got))
    largest = float(error.max(initial=0.0))
    return math.inf if math.isnan(largest) else largest


def _distances(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[float, float, float, float]:
    """``max_abs_error``, ``relative_to_range``, ``relative_to_spread``, ``spread_of_range`` of (torch's, the file's)
    outputs [samples, ...].
    """
    largest = of_range = of_spread = most_spread = 0.0
    for wanted, got in pairs:
        want = wanted.astype(np.float64)
        error, span = largest_error(want, got.astype(np.float64)), _span(want)
        spread = _spread(want) if len(want) > 1 else span
        largest, of_range, most_spread = (
            max(largest, error),
            max(of_range, error / span),
            max(most_spread, spread / span),
        )
        of_spread = max(of_spread, error / (spread or span))
    return largest, of_range, of_spread, most_spread


def _spread(values: NDArray[np.float64]) -> float:
    """The most that a finite element changes from sample to sample."""
    finite = np.where(np.isfinite(values), values, np.nan)[:, np.isfinite(values).all(axis=0)]
    return float(np.ptp(finite, axis=0).max(initial=0.0))


def _span(values: NDArray[np.float64]) -> float:
    """The range of finite values; of constant outputs their size, so that their error is relative to something."""
    finite = values[np.isfinite(values)]
    span = float(np.ptp(finite)) if finite.size else 0.0
    if span > 0:
        return span
    return max(float(np.abs(finite).max(initial=0.0)), float(np.finfo(np.float32).tiny))
