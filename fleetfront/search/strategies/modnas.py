"""MODNAS: one generator for all devices and preferences, trained by gradients (arXiv 2402.18213)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

from fleetfront.predictors.relaxed import import_torch
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Count, CountOrNone, Share, TrainedStrategy

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.search.generators.features import Way
    from fleetfront.search.models.counted import CountedAccuracy

#: Rates of Adam that suit each network, found on NAS-Bench-201 with a seed that no result is reported of.
_RATES = {"mlp": 4e-3, "tables": 0.1}


@dataclass(frozen=True, slots=True)
class ModnasSettings:
    """By default the general form; ``network=tables,scalar=sum,features=latencies`` is the published one.

    Attributes:
        network: ``mlp`` over preference and device features; ``tables`` of 50 x 101 rows, as published.
        scalar: ``chebyshev``, which reaches every point of a front, or ``sum``, which reaches its convex hull alone.
        features: what describes a device: ``coefficients`` of its costs, ``latencies`` of ten networks, or the
            ``best`` of them for devices left out of short trainings, where there are three devices or more.
        sampler: ``reinmax`` or ``gdas``.
        gradient: ``mgd`` (the common descent direction), ``mean``, ``sequential`` or ``sampled``.
        accuracy: what gradients of accuracy come from: a model of the ``counted`` ones, or the accuracy's ``own``
            gradients, where it has some; then every network that is looked at counts.
        steps: of the last training.
        round_steps: of the training each round.
        fit_steps: of an ensemble of accuracies each round, in spaces too large for a table.
        devices: at most so many a step.
        preferences: drawn a device and step.
        rate, decay: of Adam; a rate of 0 is what suits the network.
        entropy: weight of the choices' entropy at first; it falls to 0.
    """

    network: Literal["mlp", "tables"] = "mlp"
    scalar: Literal["chebyshev", "sum"] = "chebyshev"
    features: Literal["best", "coefficients", "latencies"] = "best"
    sampler: Literal["reinmax", "gdas"] = "reinmax"
    gradient: Literal["mgd", "mean", "sequential", "sampled"] = "mgd"
    accuracy: Literal["counted", "own"] = "counted"
    steps: CountOrNone = 800
    round_steps: CountOrNone = 30
    fit_steps: Count = 400
    devices: Annotated[int, Ge(1), Le(1000)] = 13
    preferences: Count = 8
    rate: Annotated[float, Ge(0), Le(10)] = 0.0
    decay: Share = 1e-4
    entropy: Share = 0.1


def make_modnas(problem: Problem, seed: int, settings: ModnasSettings | None = None) -> TrainedStrategy:
    """The strategy.

    Raises InputError where the accuracy has no gradients of its own but should; MissingDependency without torch.
    """
    import_torch("Training a generator")
    from fleetfront.errors import InputError
    from fleetfront.predictors.base import Relaxed
    from fleetfront.search.generators.preferences import Descent, train_preferences
    from fleetfront.search.generators.wishes import Wishes
    from fleetfront.search.strategies.rounds import TrainsInRounds

    chosen = settings or ModnasSettings()
    own = problem.accuracy
    if chosen.accuracy == "own" and not isinstance(own, Relaxed):
        raise InputError(
            f"The accuracy {own.source} has no gradients of its own.", "Leave the setting accuracy at counted."
        )
    descent = Descent(
        chosen.sampler,
        chosen.gradient,
        chosen.scalar,
        chosen.devices,
        chosen.preferences,
        chosen.rate or _RATES[chosen.network],
        chosen.decay,
        chosen.entropy,
    )

    class Modnas(TrainsInRounds):
        """See the module."""

        name = "modnas"

        def train(self, accuracy: CountedAccuracy, steps: int, seed: int) -> None:
            """Gradient steps for all devices."""
            is_own = chosen.accuracy == "own" and bool(problem.remaining)
            relax = self._own if is_own else accuracy.relaxed
            train_preferences(self._network, self._fleet, relax, descent, steps, seed)  # type: ignore[arg-type]

        def another(self, problem: Problem, way: Way) -> Modnas:
            """With the same settings."""
            return Modnas(problem, seed, way, *rest)

        def _own(self, chosen_probabilities: Tensor) -> Tensor:
            """The accuracy's own values and slopes; each network counts. Nothing where too little budget is left."""
            from fleetfront.predictors.relaxed import most_likely

            rows: Any = problem.complete(most_likely(problem.space, chosen_probabilities))
            if problem.remaining is not None and problem.remaining < len(rows):
                return chosen_probabilities[:0, 0]
            problem.evaluate(rows)
            relaxed: Tensor = own.relaxed(chosen_probabilities)  # type: ignore[attr-defined]
            return relaxed

    wishes = Wishes("preferences", 2 + len(problem.extras))
    steps = (chosen.round_steps, chosen.steps)
    rest = (chosen.network, wishes, steps, chosen.fit_steps)
    return Modnas(problem, seed, chosen.features, *rest)
