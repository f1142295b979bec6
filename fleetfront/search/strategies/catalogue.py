"""Make strategies of what users write: a name, a name with settings, settings, a class or a strategy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from fleetfront.errors import InputError, unknown
from fleetfront.plugins import load_plugin, plugin_names
from fleetfront.predictors.base import TellsTasks
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Strategy, StrategyKind, TrainedStrategy
from fleetfront.search.strategies.botorch_nehvi import BotorchNehvi, BotorchSettings
from fleetfront.search.strategies.cpe import Cpe, CpeSettings
from fleetfront.search.strategies.exact import ExactFront
from fleetfront.search.strategies.hybrid import HybridSettings, HybridStrategy
from fleetfront.search.strategies.in_turns import InTurns
from fleetfront.search.strategies.lamoo import Lamoo, LamooSettings
from fleetfront.search.strategies.linas import Linas, LinasSettings
from fleetfront.search.strategies.local_search import ParetoLocalSearch
from fleetfront.search.strategies.macs_fronts import MacsFronts, MacsFrontsSettings
from fleetfront.search.strategies.modnas import ModnasSettings, make_modnas
from fleetfront.search.strategies.optuna_gp import OptunaGp, OptunaGpSettings
from fleetfront.search.strategies.pdns import Pdns, PdnsSettings
from fleetfront.search.strategies.pnag import PnagSettings, make_pnag
from fleetfront.search.strategies.pymoo_algorithms import (
    PymooSettings,
    nsga2,
    nsga2_diversity,
    nsga2_shared,
    sms_emoa,
    spea2,
)
from fleetfront.search.strategies.random_search import RandomSearch, RandomSettings
from fleetfront.search.strategies.surrogate import SurrogateSettings, SurrogateStrategy

GROUP = "fleetfront.strategies"

STRATEGIES: dict[str, StrategyKind] = {
    "hybrid": StrategyKind(
        HybridStrategy,
        "exact fronts of an additive model, crossed along all fronts; cheap accuracy",
        HybridSettings,
    ),
    "surrogate": StrategyKind(
        SurrogateStrategy, "a Gaussian process and all fronts' expected gain; dear accuracy", SurrogateSettings
    ),
    "exact": StrategyKind(ExactFront, "the whole true front, where accuracy and cost are sums over blocks"),
    "nsga2": StrategyKind(nsga2, "NSGA-II, a population a device", PymooSettings),
    "nsga2-diversity": StrategyKind(nsga2_diversity, "NSGA-II that also keeps costs apart", PymooSettings),
    "nsga2-shared": StrategyKind(nsga2_shared, "NSGA-II, one population for all devices", PymooSettings),
    "sms-emoa": StrategyKind(sms_emoa, "SMS-EMOA, a population a device", PymooSettings),
    "spea2": StrategyKind(spea2, "SPEA2, a population a device", PymooSettings),
    "linas": StrategyKind(Linas, "NSGA-II on a predictor that each loop refits", LinasSettings),
    "lamoo": StrategyKind(Lamoo, "splits the space by dominance, looks where fronts gain", LamooSettings),
    "cpe": StrategyKind(Cpe, "classifies which networks no front dominates; pass or fail is enough", CpeSettings),
    "pdns": StrategyKind(Pdns, "novelty in MACs, parameters and costs; accuracy does not steer", PdnsSettings),
    "macs-fronts": StrategyKind(MacsFronts, "most MACs at every cost; accuracy does not steer", MacsFrontsSettings),
    "modnas": StrategyKind(
        make_modnas, "trains a generator that answers for any device and preference, by gradients", ModnasSettings
    ),
    "pnag": StrategyKind(
        make_pnag, "trains a generator that answers for any device and budget, by reinforcement", PnagSettings
    ),
    "optuna-gp": StrategyKind(OptunaGp, "Optuna's GPSampler, devices in turn (extra optuna)", OptunaGpSettings),
    "botorch-nehvi": StrategyKind(
        BotorchNehvi, "BoTorch's qLogNEHVI, devices in turn (extra botorch)", BotorchSettings
    ),
    "local-search": StrategyKind(ParetoLocalSearch, "Pareto local search from the fronts"),
    "random": StrategyKind(RandomSearch, "a baseline", RandomSettings),
}

#: Former names, still accepted: old name -> today's.
RENAMED = {"house": "hybrid"}

#: A name with or without settings, settings, a class or function (problem, seed) -> strategy, or one that trains.
StrategyChoice: TypeAlias = str | object


def strategy_names() -> tuple[str, ...]:
    """Every name that ``make_strategy`` knows, sorted; plug-ins are listed without being imported."""
    return tuple(sorted({*STRATEGIES, *plugin_names(GROUP)}))


def current_spelling(text: str) -> str:
    """``NAME[:SETTINGS]`` with the name that a strategy has today."""
    name, separator, settings = text.partition(":")
    return RENAMED.get(name, name) + separator + settings


def find_strategy(name: str) -> StrategyKind:
    """The strategy of a name; fleetfront's own come before plug-ins of the same name.

    Raises InputError on an unknown name (with the nearest known ones) and on a plug-in that is no ``StrategyKind``.
    """
    name = current_spelling(name)
    if name in STRATEGIES:
        return STRATEGIES[name]
    plugin = load_plugin(GROUP, name, "strategy")
    if plugin is None:
        raise unknown("strategy", name, strategy_names())
    if not isinstance(plugin.value, StrategyKind):
        raise InputError(
            f"{plugin.origin} is not a strategy but {type(plugin.value).__name__}.",
            "Let its entry point name a fleetfront.search.strategies.base.StrategyKind.",
        )
    return plugin.value


def spell_strategy(choice: StrategyChoice) -> str:
    """Spell a run for results: the name, and the settings that were chosen."""
    if isinstance(choice, str):
        return current_spelling(choice)
    for name, kind in STRATEGIES.items():
        if kind.settings is not None and isinstance(choice, kind.settings):
            chosen = [
                f"{field.name}={getattr(choice, field.name)}"
                for field in dataclasses.fields(kind.settings)
                if getattr(choice, field.name) != field.default
            ]
            return name + (f":{','.join(chosen)}" if chosen else "")
    return getattr(choice, "__name__", type(choice).__name__)


def make_strategy(choice: StrategyChoice, problem: Problem, seed: int) -> Strategy | TrainedStrategy:
    """The strategy that a user means.

    Args:
        choice: ``surrogate``, ``surrogate:first=8``, ``SurrogateSettings(first=8)``, a class or function that is called
            with (problem, seed), or an object that is a ``TrainedStrategy``.
        problem: what it is made for; where it has several accuracies, they are searched in turns (``InTurns``).
        seed: of every draw.

    Raises:
        InputError: an unknown name or setting, a value that a setting cannot take, or from the strategy.
        MissingDependency: its package is missing.
    """
    if isinstance(problem.accuracy, TellsTasks):
        return InTurns(problem, seed, lambda turn, drawn: make_strategy(choice, turn, drawn))
    if isinstance(choice, str):
        name, _, text = choice.partition(":")
        kind = find_strategy(name)
        if kind.settings is None or not text:
            if text:
                raise InputError(f"The strategy {name} has no settings, not {text!r}.", f"Write --strategy {name}.")
            return kind.make(problem, seed)
        return kind.make(problem, seed, parse_settings(name, kind.settings, text))
    for kind in STRATEGIES.values():
        if kind.settings is not None and isinstance(choice, kind.settings):
            return kind.make(problem, seed, choice)
    if isinstance(choice, TrainedStrategy) and not isinstance(choice, type):
        return choice
    if not callable(choice):
        raise InputError(
            f"A {type(choice).__name__} is no strategy.", "Give a name, settings, or a class of (problem, seed)."
        )
    make: Callable[[Problem, int], Strategy | TrainedStrategy] = choice
    return make(problem, seed)


def parse_settings(name: str, settings: type[Any], text: str) -> Any:
    """``first=16,batch=8`` as the settings of the strategy ``name``, each value of its field's type.

    Raises InputError on an unknown setting (with the nearest known ones), one given twice or a value it cannot take.
    """
    from pydantic import TypeAdapter, ValidationError

    known = [field.name for field in dataclasses.fields(settings)]
    given: dict[str, str] = {}
    for part in text.split(","):
        key, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or not value:
            raise InputError(f"{part!r} sets nothing.", f"Write --strategy {name}:SETTING=VALUE,...")
        if key not in known:
            raise unknown(f"setting of the strategy {name}", key, known)
        if given.setdefault(key, value) != value:
            raise InputError(f"{key} is set to {given[key]} and to {value}.", "Give each setting one value.")
    try:
        return TypeAdapter(settings).validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        raise InputError(
            f"The strategy {name} cannot take {key} = {given[key]}: {first['msg']}.", f"Choose another {key}."
        ) from error


def describe_strategies() -> Iterable[tuple[str, str, str]]:
    """For each strategy its name, what it does, and its settings with their defaults."""
    for name in strategy_names():
        kind = find_strategy(name)
        fields = dataclasses.fields(kind.settings) if kind.settings is not None else ()
        yield name, kind.meaning, ",".join(f"{field.name}={field.default}" for field in fields)
