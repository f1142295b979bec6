"""Fronts as records: what a search hands on. ``fronts_file`` keeps them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import MissingDependency, unknown
from fleetfront.predictors.base import UNSTATED
from fleetfront.quantities import ACCURACY, LATENCY, QUALITIES, Metric, Quality, format_spread
from fleetfront.search.front import FULL, best_within, knee, two_objectives
from fleetfront.spaces.precisions import split_precision
from fleetfront.targets import FLOATS, precision_in, with_precision

if TYPE_CHECKING:
    import pandas

    from fleetfront.quantities import FloatArray


SCHEMA = "fleetfront.fronts/1"
#: What points and shared networks call the size of their file, its deviation and tier, where it was asked for.
SIZE_KEYS = ("size_bytes", "size_std_bytes", "size_tier")


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One network on a front.

    Attributes:
        latency_ms, latency_std_ms: prediction and its standard deviation, of the front's tier; None where the front's
            ``not_promised`` says why.
        accuracy, accuracy_std: percent, or what the front's quality is in; the front was chosen by it.
        held_out_accuracy, held_out_std: on images that neither training nor search looked at; None if nobody judged so.
        more: what else is known: ``macs``, ``params``, ``measured_ms``, ``accuracy_is_beyond_range``.
        equal: other evaluated networks that tie with it exactly in everything that the front is made of.
        precision: of its file, where the front's networks are in several.
    """

    arch: str
    latency_ms: float
    latency_std_ms: float | None
    accuracy: float
    accuracy_std: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict)
    held_out_accuracy: float | None = None
    held_out_std: float = 0.0
    equal: tuple[str, ...] = ()
    precision: str = ""

    @property
    def promised(self) -> tuple[float, float]:
        """Accuracy that may be promised, and its standard deviation: the held-out one where there is one."""
        if self.held_out_accuracy is None:
            return self.accuracy, self.accuracy_std
        return self.held_out_accuracy, self.held_out_std

    def to_json(self) -> dict[str, Any]:
        """The row of ``fronts.json``."""
        return {
            "arch": self.arch,
            "latency_ms": self.latency_ms,
            "latency_std_ms": self.latency_std_ms,
            "accuracy": self.accuracy,
            "accuracy_std": self.accuracy_std,
            **held_out_json(self.held_out_accuracy, self.held_out_std),
            **({"equal": list(self.equal)} if self.equal else {}),
            **({"precision": self.precision} if self.precision else {}),
            **self.more,
        }


@dataclass(frozen=True, slots=True)
class ChoiceEffect:
    """One value of one gene, and what it would change in a front's networks that have another one.

    Attributes:
        share: of the front's networks, how many have it; in others it is another value, or the gene changes nothing.
        networks: how many of the front's were changed to it for the differences, which are means over these.
        latency_ms, accuracy, accuracy_std: what a network then costs more and what its accuracy gains, in the units of
            the front; None where nobody can tell.
    """

    gene: str
    value: str
    share: float
    networks: int = 0
    latency_ms: float | None = None
    accuracy: float | None = None
    accuracy_std: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The row of ``fronts.json``."""
        return {
            "gene": self.gene,
            "value": self.value,
            "share": self.share,
            "difference": {
                "networks": self.networks,
                "latency_ms": self.latency_ms,
                "accuracy": self.accuracy,
                "accuracy_std": self.accuracy_std,
            },
        }


def _spread(point: FrontPoint, tier: str) -> str:
    std = point.latency_std_ms
    return "" if std is None else html.escape(format_spread(point.latency_ms, std, tier))


@dataclass(frozen=True, slots=True)
class DeviceFront:
    """The front of one device, ascending in latency.

    Attributes:
        tier: where its latencies come from.
        clock: which clock they are of, empty if the model does not say.
        metric: what ``latency_ms`` and ``limit_ms`` hold, in its unit: files call every cost so.
        objectives: names of the metrics that it trades beside latency and accuracy; of tasks the key of their points.
        limits: name of a further metric -> the most that was allowed.
        quality: what ``accuracy`` of its points is.
        choices: what its networks chose; empty where nobody asked.
        not_promised: why nothing is promised for when its networks are run; empty where something is.
        accuracy_precision: the number format of the networks that its accuracies are of, ``unstated`` where their
            source does not say; empty where it is that of the files that its costs are of.
        tasks: accuracies that are objectives each, where there are several; the first is the points' ``accuracy``, and
            all are beside it, as ``accuracy_of_TASK``.
        knee: position among ``points`` of the knee of latency and accuracy; the fastest of fewer than three points.
    """

    name: str
    target: str
    tier: str
    hypervolume: float
    reference_point: tuple[float, ...]
    points: tuple[FrontPoint, ...]
    knee: int = 0
    limit_ms: float | None = None
    clock: str = ""
    metric: Metric = LATENCY
    objectives: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    quality: Quality = ACCURACY
    choices: tuple[ChoiceEffect, ...] = ()
    not_promised: str = ""
    accuracy_precision: str = ""
    tasks: tuple[Quality, ...] = ()

    def target_of(self, precision: str) -> str:
        """The target that a network in ``precision`` runs on; the front's own where that is empty."""
        return with_precision(self.target, precision) if precision else self.target

    def knows(self, precision: str) -> bool:
        """Tell whether networks in a precision can be on the front; an empty one is that of all its networks."""
        return not precision or precision in precision_in(self.target).split(",")

    @property
    def accuracy_caution(self) -> str:
        """The reason why accuracies are not of the files that costs are of, in words; empty if they are."""
        if not self.accuracy_precision:
            return ""
        files = f"are of {precision_in(self.target)} files"
        if self.accuracy_precision == UNSTATED:
            return f"Its times {files}; of which number format the accuracies are, their source does not say."
        return f"Its times {files}, its accuracies of networks in {self.accuracy_precision}."

    @property
    def is_held_out(self) -> bool:
        """True if its networks were judged on held-out images after the search."""
        return any(point.held_out_accuracy is not None for point in self.points)

    @property
    def trade_offs(self) -> tuple[FrontPoint, ...]:
        """The points that no other beats in latency and accuracy alone, ascending in both: all of them, unless the
        front has further objectives."""
        return tuple(self.points[at] for at in two_objectives(*front_arrays(self)))

    def reference_words(self) -> tuple[str, ...]:
        """The reference point of the hypervolume as people read it: cost, error in percent (of another quality itself),
        further metrics."""
        cost, error, *more = self.reference_point
        metrics, tasks = more[: len(more) - len(self.tasks[1:])], more[len(more) - len(self.tasks[1:]) :]
        judged = [(error, self.quality), *zip(tasks, self.tasks[1:], strict=True)]
        words = [f"{q.name} {q.shown(FULL - loss):.4g}" if q.unit != "%" else f"{loss:.4g}" for loss, q in judged]
        return f"{cost:.4g}", words[0], *(f"{m:.4g}" for m in metrics), *words[1:]

    def to_frame(self) -> pandas.DataFrame:
        """The points as a table, ascending in latency. Raises MissingDependency without pandas."""
        return _pandas().DataFrame([point.to_json() for point in self.points])

    def _repr_html_(self) -> str:
        """The points that a notebook shows."""
        rows = [
            f"<tr><td>{point.latency_ms:.4g} {_spread(point, self.tier)}</td>"
            f"<td>{accuracy:.2f} &plusmn; {std:.2f}</td><td>{html.escape(point.arch)}</td></tr>"
            for point in self.points
            for accuracy, std in (point.promised,)
        ]
        title = html.escape(f"{self.name} {self.target}: {len(self.points)} points [{self.tier}]")
        cost = html.escape(f"{self.metric.title} {self.metric.unit}")
        accuracy = self.quality.title + (" (held out)" if self.is_held_out else "")
        head = f"<tr><th>{cost}</th><th>{html.escape(accuracy)}</th><th>architecture</th></tr>"
        caution = f"<p>{html.escape(self.accuracy_caution)}</p>" if self.accuracy_caution else ""
        return f"<table><caption>{title}</caption>{head}{''.join(rows)}</table>{caution}"

    def within(self, limit_ms: float) -> FrontPoint:
        """The most accurate point within a latency. Raises InputError naming the fastest if there is none."""
        return self.points[best_within(*front_arrays(self), limit_ms, self.name)]


def with_points(front: DeviceFront, points: tuple[FrontPoint, ...]) -> DeviceFront:
    """A front with some of its points, in their order, and the knee of these."""
    kept = replace(front, points=points)
    latency, accuracy = front_arrays(kept)
    plain = two_objectives(latency, accuracy)
    return replace(kept, knee=int(plain[knee(latency[plain], accuracy[plain])]) if len(plain) else 0)


@dataclass(frozen=True, slots=True)
class Fronts:
    """Everything that a search hands on.

    Attributes:
        evaluations: architectures whose accuracy was asked for, first and repeated requests alike.
        audit: the parts of that number, and what was known beside it (see ``EvaluationCounter``).
        trace: evaluations, seconds and hypervolumes (in the order of ``devices``) on the way.
        statement: what the strategy vouches for, in words; empty for most.
        verification: what measuring the front's best showed, if that was asked for.
        shared: the networks that serve all devices best (``Sharing.to_json``), if they were asked for.
        errors: name of each device that was asked for and has no front -> why.
        drops: precision -> what it costs in accuracy (``Drop.to_json``), where networks are in several.
    """

    space: str
    strategy: str
    seed: int
    evaluations: int
    seconds: float
    accuracy_source: str
    accuracy_tier: str
    devices: tuple[DeviceFront, ...]
    audit: Mapping[str, int] = field(default_factory=dict)
    trace: tuple[Mapping[str, Any], ...] = ()
    statement: str = ""
    verification: Mapping[str, Any] | None = None
    shared: Mapping[str, Any] | None = None
    errors: Mapping[str, str] = field(default_factory=dict)
    drops: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def quality(self) -> Quality:
        """The quality that the accuracies are of."""
        return self.devices[0].quality if self.devices else ACCURACY

    @property
    def tasks(self) -> tuple[Quality, ...]:
        """The tasks that are objectives each; none where there is one accuracy."""
        return self.devices[0].tasks if self.devices else ()

    def precisions_alone(self, front: DeviceFront) -> str:
        """The precisions that the front of one of its devices is of alone, in words; empty where it is of all."""
        searched, known = split_precision(self.space)[1], precision_in(front.target)
        if known == searched or not searched:
            return ""
        return f"The front of {front.name} is of {known.replace(',', ' and ')} files alone."

    @property
    def drop_sentences(self) -> tuple[str, ...]:
        """The cost of each precision in accuracy, and how it is known, in words; none where networks are in one."""
        return tuple(
            f"{name} costs {drop['points']:.2f} +-{drop['std']:.2f} points of accuracy "
            f"({drop['tier']}: {drop['source']})."
            for name, drop in self.drops.items()
        )

    @property
    def fronts(self) -> dict[str, DeviceFront]:
        """The fronts by the name of their device."""
        return {front.name: front for front in self.devices}

    def to_frame(self) -> pandas.DataFrame:
        """The points of every device as one table. Raises MissingDependency without pandas."""
        frames = [front.to_frame().assign(device=front.name, tier=front.tier) for front in self.devices]
        return _pandas().concat(frames, ignore_index=True) if frames else _pandas().DataFrame()

    def _repr_html_(self) -> str:
        """Every front, as a notebook shows them."""
        return "".join(front._repr_html_() for front in self.devices)

    def device(self, name: str) -> DeviceFront:
        """The front of one device. Raises InputError on an unknown name."""
        for front in self.devices:
            if front.name == name:
                return front
        raise unknown("device of this front", name, [front.name for front in self.devices])

    def to_json(self) -> dict[str, Any]:
        """The content of ``fronts.json``."""
        return {
            "schema": SCHEMA,
            "space": self.space,
            "strategy": self.strategy,
            "seed": self.seed,
            "evaluations": self.evaluations,
            "seconds": round(self.seconds, 3),
            "accuracy": {
                "source": self.accuracy_source,
                "tier": self.accuracy_tier,
                **_quality_json(self.quality),
                **({"drops": {name: dict(drop) for name, drop in self.drops.items()}} if self.drops else {}),
                **({"tasks": [asdict(task) for task in self.tasks]} if self.tasks else {}),
            },
            "devices": {front.name: _device_json(front) for front in self.devices},
            # Files are written with sorted keys; the trace's columns are in this order.
            "device_order": [front.name for front in self.devices],
            "audit": dict(self.audit),
            "trace": [dict(point) for point in self.trace],
            **({"statement": self.statement} if self.statement else {}),
            **({} if self.verification is None else {"verification": dict(self.verification)}),
            **({} if self.shared is None else {"shared": dict(self.shared)}),
            **({"errors": dict(self.errors)} if self.errors else {}),
        }


def precision_beside(target: str, stated: str = UNSTATED) -> str:
    """The number format of accuracies, ``stated``, beside costs on a spelled target; empty where that is its own."""
    return "" if precision_in(target) in (*FLOATS, stated) else stated


def held_out_json(accuracy: float | None, std: float) -> dict[str, float]:
    """Keys of ``fronts.json`` for an accuracy on held-out images; none if there is none."""
    return {} if accuracy is None else {"held_out_accuracy": accuracy, "held_out_std": std}


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise MissingDependency(
            "pandas, which makes tables, is not installed; no extra of fleetfront brings it.", "Run: pip install pandas"
        ) from error
    return pandas


def _device_json(front: DeviceFront) -> dict[str, Any]:
    return {
        "target": front.target,
        "tier": front.tier,
        "clock": front.clock,
        **({} if front.metric == LATENCY else {"metric": {"name": front.metric.name, "unit": front.metric.unit}}),
        "hypervolume": front.hypervolume,
        "reference_point": list(front.reference_point),
        "limit_ms": front.limit_ms,
        **({"objectives": list(front.objectives)} if front.objectives else {}),
        **({"limits": dict(front.limits)} if front.limits else {}),
        "knee": front.points[front.knee].arch if front.points else None,
        "points": [point.to_json() for point in front.points],
        **({"not_promised": front.not_promised} if front.not_promised else {}),
        **({"accuracy_precision": front.accuracy_precision} if front.accuracy_precision else {}),
        **({"choices": [choice.to_json() for choice in front.choices]} if front.choices else {}),
    }


#: What a point holds beside the accuracy of a network that does several things: this and the task's name.
PART = "accuracy_of_"


def _quality_json(quality: Quality) -> dict[str, Any]:
    if quality == ACCURACY:
        return {}
    own = {"quality_unit": quality.unit, "higher_is_better": quality.is_higher_better}
    return {"quality": quality.name, **({} if quality.name in QUALITIES else own)}


def front_arrays(front: DeviceFront) -> tuple[FloatArray, FloatArray]:
    """(latency_ms[k], accuracy[k]) of a front; the higher an accuracy the better, whatever quality it is."""
    rows: Sequence[FrontPoint] = front.points
    return np.array([p.latency_ms for p in rows]), front.quality.score(np.array([p.accuracy for p in rows]))
