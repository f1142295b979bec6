"""PNAG: a generator for any budget, trained against an evaluator that ranks (arXiv 2103.00250)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from fleetfront.errors import InputError
from fleetfront.predictors.relaxed import import_torch
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Count, CountOrNone, Positive, Share, State, TrainedStrategy

if TYPE_CHECKING:
    from fleetfront.search.generators.budgets import Evaluator
    from fleetfront.search.generators.features import Way, WayOrBest
    from fleetfront.search.models.counted import CountedAccuracy

_EVALUATOR = "evaluator."


@dataclass(frozen=True, slots=True)
class PnagSettings:
    """By default budgets are continuous; ``budgets=5`` is the published form.

    Attributes:
        budgets: fixed ones, in even steps of the logarithm of cost, told apart by one-hot inputs; 0: continuous.
        reward: ``ranking`` by the evaluator; ``product`` and ``absolute`` weigh accuracy by cost / budget.
        features: what describes a device: ``coefficients`` of its costs, ``latencies`` of ten networks, or the
            ``best`` of them for devices left out of short trainings, where there are three devices or more.
        steps, evaluator_steps: of the last training of generator and evaluator.
        round_steps: of both trainings each round.
        fit_steps: of an ensemble of accuracies each round, in spaces too large for a table.
        rate, generator_rate: of the evaluator's SGD and the generator's Adam.
        entropy: weight of the choices' entropy.
    """

    budgets: Annotated[int, Ge(0), Le(1000)] = 0
    reward: Literal["ranking", "product", "absolute"] = "ranking"
    features: Literal["best", "coefficients", "latencies"] = "best"
    steps: CountOrNone = 600
    evaluator_steps: CountOrNone = 600
    round_steps: CountOrNone = 20
    fit_steps: Count = 400
    rate: Positive = 0.05
    generator_rate: Positive = 3e-3
    entropy: Share = 0.1


def make_pnag(problem: Problem, seed: int, settings: PnagSettings | None = None) -> TrainedStrategy:
    """The strategy.

    Raises InputError on further objectives, for a budget is of one cost; MissingDependency without torch.
    """
    torch = import_torch("Training a generator")
    if problem.extras:
        raise InputError(
            f"pnag knows one cost, not {', '.join(problem.extras)} too.", "Use --strategy modnas, or no --objective."
        )
    from fleetfront.search.generators.budgets import BudgetTrainer, Evaluator, Reinforcement
    from fleetfront.search.generators.networks import BudgetLstm
    from fleetfront.search.generators.wishes import Wishes
    from fleetfront.search.strategies.rounds import TrainsInRounds

    chosen = settings or PnagSettings()
    wishes = Wishes("budget", 2, chosen.budgets)

    class Pnag(TrainsInRounds):
        """See the module."""

        name = "pnag"

        def __init__(self, problem: Problem, way: WayOrBest) -> None:
            steps = (chosen.round_steps, chosen.steps)
            super().__init__(problem, seed, way, BudgetLstm.kind, wishes, steps, chosen.fit_steps)
            inputs = sum(len(values) for values in problem.space.choices)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self._evaluator = Evaluator(inputs + wishes.width + self._fleet.features.width)
            reinforcement = Reinforcement(chosen.reward, chosen.rate, chosen.generator_rate, chosen.entropy)
            network: Any = self._network
            self._trainer = BudgetTrainer(network, self._evaluator, self._fleet, wishes, reinforcement)

        def train(self, accuracy: CountedAccuracy, steps: int, seed: int) -> None:
            """The evaluator first, then the generator against it."""
            if chosen.reward == "ranking":
                is_last = steps == chosen.steps
                self._trainer.train_evaluator(chosen.evaluator_steps if is_last else steps, seed)
            self._trainer.train_generator(steps, accuracy, seed)

        def another(self, problem: Problem, way: Way) -> Pnag:
            """With the same settings."""
            return Pnag(problem, way)

        def become(self, other: TrainsInRounds) -> None:
            """With the other's evaluator."""
            super().become(other)
            self._evaluator, self._trainer = other._evaluator, other._trainer  # type: ignore[attr-defined]

        def further_state(self) -> State:
            """The evaluator's weights."""
            return {f"{_EVALUATOR}{name}": value.numpy().copy() for name, value in self._evaluator.state_dict().items()}

        def load_further(self, state: State) -> None:
            """Of the evaluator."""
            _load_weights(self._evaluator, state)

    return Pnag(problem, chosen.features)


def _load_weights(evaluator: Evaluator, state: State) -> None:
    """Raises ValueError on weights of other shapes."""
    import torch

    kept = {k.removeprefix(_EVALUATOR): v for k, v in state.items() if k.startswith(_EVALUATOR)}
    try:
        evaluator.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in kept.items()})
    except RuntimeError as error:
        raise ValueError(str(error)) from error
