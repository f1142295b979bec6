"""What a report says, as plain records: filled in ``*_section``, drawn in ``figures``, told as text in ``tables``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that speaks against a number, and what to do about it."""

    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One target and space: what it is, what was measured on it, and what that is worth.

    Attributes:
        label: short and unique within the report.
        facts: name, value with unit, source.
        tier: where its latencies come from; empty if there are none yet.
        measured: what the store holds, in words.
        when: day of the last measurement (UTC), empty if it was imported or there is none.
        verdict: ``stable``, ``unstable`` or ``not judged``.
        scores: on held-out networks, as in a fit's report: ``networks``, ``mape``, ``within_10``, ...; empty if none.
        floor_mape: how well one half of the measurements predicts the other, percent.
    """

    label: str
    name: str
    target: str
    space: str
    title: str
    kind: str
    facts: tuple[tuple[str, str, str], ...]
    notes: str
    tier: str
    clock: str
    measured: str
    when: str
    verdict: str
    reasons: tuple[Reason, ...]
    scores: Mapping[str, Any]
    floor_mape: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One network whose latency was predicted and measured.

    Attributes:
        role: ``held out``, or ``verified`` for one of a front's best that was measured afterwards.
        std_ms: standard deviation of the prediction; 1.645 of it make the 90 % interval.
    """

    arch: str
    role: str
    measured_ms: float
    predicted_ms: float
    std_ms: float

    @property
    def error_percent(self) -> float:
        """100 (predicted - measured) / measured."""
        return 100 * (self.predicted_ms / self.measured_ms - 1)


@dataclass(frozen=True, slots=True)
class PredictionView:
    """Predicted against measured on one target. ``model`` says how it predicts, ``summary`` how well, in words."""

    label: str
    target: str
    space: str
    clock: str
    model: str
    summary: str
    points: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class BlockPicture:
    """A block as it is drawn.

    Attributes:
        label: e.g. ``k5 e6 40→80 /2``.
        group: what it is coloured by, e.g. ``kernel 5``.
        width: channels in its widest part.
        side: of its input map, in pixels.
    """

    key: str
    label: str
    group: str
    width: int
    side: int


@dataclass(frozen=True, slots=True)
class ChoicePoint:
    """A network of a front. ``arch`` is its row in ``FrontGroup.archs``."""

    arch: int
    latency_ms: float
    latency_std_ms: float
    accuracy: float
    accuracy_std: float
    accuracy_is_beyond_range: bool = False


@dataclass(frozen=True, slots=True)
class FrontView:
    """The front of one target, ascending in latency, thinned for drawing.

    Attributes:
        label: short and unique within the report.
        path: the front's file.
        total: how many points the file has.
        knee: position in ``points``.
        cloud: float64[m, 2]: latency and accuracy of some of the architectures that the search evaluated.
        block_ms: row in ``FrontGroup.blocks`` -> milliseconds of that block alone on this target, where it is known.
    """

    label: str
    name: str
    target: str
    tier: str
    clock: str
    path: str
    hypervolume: float
    reference_point: tuple[float, ...]
    limit_ms: float | None
    total: int
    points: tuple[ChoicePoint, ...]
    knee: int
    cloud: FloatArray
    block_ms: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FrontGroup:
    """The fronts of one space whose accuracies compare, drawn together.

    Attributes:
        accuracy_tier: ``measured`` or ``predicted``.
        evaluated: distinct architectures in the archives behind them; 0 if there is none.
        archs: every architecture on any of the fronts, once.
        networks: for each of ``archs``, its blocks: (row in ``blocks``, how often) in order of execution.
        blocks: the blocks that occur.
        cells: for each of ``archs``, (from node, to node, operation) of its cell, in spaces whose genes are edges.
        deploy_options: what ``fleetfront deploy`` needs beside front, device and architecture.
        deploy_hint: what a user has to put into that command, in words; empty if nothing.
    """

    space: str
    accuracy_source: str
    accuracy_tier: str
    evaluated: int
    fronts: tuple[FrontView, ...]
    archs: tuple[str, ...]
    networks: tuple[tuple[tuple[int, int], ...], ...]
    blocks: tuple[BlockPicture, ...]
    cells: tuple[tuple[tuple[int, int, str], ...], ...]
    deploy_options: str
    deploy_hint: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Hypervolume on the way, of all runs of one strategy. Arrays float64[k] over ``evaluations``, over seeds."""

    strategy: str
    seeds: int
    evaluations: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class BaselineView:
    """Strategies against each other on one set of targets.

    Attributes:
        curves: label of a device (or of all together) -> the curves. For one device in its own unit (ms x percent), for
            all as share of the best hypervolume that any run reached, averaged over devices.
        final: for each strategy: (its name, seeds, evaluations, mean, lowest and highest share of the best at the end).
        note: what is missing and why, in words.
    """

    space: str
    curves: Mapping[str, tuple[Curve, ...]]
    final: tuple[tuple[str, int, int, float, float, float], ...]
    note: str


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One square of a heat map: ``value`` is what it is coloured by, ``text`` what is written in it."""

    x: str
    y: str
    value: float
    text: str
    detail: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """What a target likes and dislikes. ``meaning`` says what ``value`` is; 1 is neutral, above 1 is slow. ``tier`` is
    that of the latencies."""

    label: str
    target: str
    space: str
    tier: str
    meaning: str
    x_title: str
    y_title: str
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True, slots=True)
class RelationView:
    """Devices of one space against each other; rows and columns in the order of ``labels``.

    Attributes:
        tiers: where the latencies of each come from.
        correlation: float64[t, t], Spearman over ``networks`` networks; NaN where unknown.
        sample: which networks these are, in words.
        chosen: for each device, the architecture that its ``penalty`` row is about: its front's knee.
        penalty: float64[t, t]: how much longer, in percent, row's chosen network takes on column's device than the
            fastest network of column's own front that is at least as accurate; NaN where there is none or no model.
    """

    space: str
    labels: tuple[str, ...]
    tiers: tuple[str, ...]
    networks: int
    sample: str
    correlation: FloatArray
    chosen: tuple[str, ...]
    penalty: FloatArray

    @property
    def caution(self) -> str:
        """Which of the devices are known from less than measurements of their own; empty if none."""
        if len(self.tiers) > 1 and len(set(self.tiers)) == 1 and self.tiers[0] != "measured":
            return f"All latencies are {self.tiers[0]}."
        said = []
        for tier in ("transferred", "estimated"):
            of_tier = [label for label, own in zip(self.labels, self.tiers, strict=True) if own == tier]
            if of_tier:
                said.append(f"Latencies of {', '.join(of_tier)} are {tier}.")
        return " ".join(said)


@dataclass(frozen=True, slots=True)
class DeployedFile:
    """A file of a bundle; numbers are None where they are not known.

    Attributes:
        promised: accuracy that the front gave for the network, in words.
        accuracy: of this very file on held-out images, percent.
        drop: how much of it writing in this precision lost, percentage points.
        problem: why the bundle could not be read; then all else but its name is empty.
    """

    bundle: str
    arch: str
    path: str
    format: str
    precision: str
    size_bytes: int
    target: str
    clock: str
    predicted_ms: float | None
    predicted_std_ms: float | None
    tier: str
    measured_ms: float | None
    measured_std_ms: float | None
    promised: str
    accuracy: float | None
    drop: float | None
    weights: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where everything comes from.

    Attributes:
        versions: what made this report: name and version.
        files: kind, path, size in bytes, SHA-256.
        campaigns: what was measured when: (target, space, day, seconds, how it ended, environment in words).
        sources: imported data: name, licence, address, SHA-256.
        runs: searches: (file, strategy, seed, evaluations, seconds, how evaluations were answered).
        commands: that make these results again.
    """

    made: str
    versions: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str, int, str], ...]
    campaigns: tuple[tuple[str, str, str, float, str, str], ...]
    sources: tuple[tuple[str, str, str, str], ...]
    runs: tuple[tuple[str, str, int, int, float, str], ...]
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything, section by section. ``notes`` say what could not be read and why."""

    title: str
    devices: tuple[DeviceEntry, ...]
    predictions: tuple[PredictionView, ...]
    fronts: tuple[FrontGroup, ...]
    baselines: tuple[BaselineView, ...]
    heat_maps: tuple[HeatMap, ...]
    relations: tuple[RelationView, ...]
    deployed: tuple[DeployedFile, ...]
    provenance: Provenance
    notes: tuple[Reason, ...]
