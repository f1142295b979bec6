"""Profile a space on a target: join spaces, writers, agent, campaign, stop rule and verdict.

``profile_space`` is the whole of it; ``measure_networks`` measures given architectures the same way. Finished files are
measured in ``measure.files``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from fleetfront.deploy.formats import int8_writer_of, weights_writer_of, writer_of
from fleetfront.deploy.quantise.precisions import WEIGHT_BITS, Piece, half_throughout
from fleetfront.errors import DeviceError, InputError, unknown
from fleetfront.graphs.batch import with_batch
from fleetfront.graphs.graph import Graph
from fleetfront.profilers.campaign import (
    Campaign,
    CampaignResult,
    Limits,
    Stop,
    StopRule,
    begin_campaign,
    find_unfinished,
)
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import OpenAgent, find_kind, kind_names, open_device
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.plan import PlanOptions, TaskList, campaign_identity, make_plan
from fleetfront.profilers.reading.observations import Observations, read_observations
from fleetfront.profilers.reading.verdict import Verdict, judge
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import CampaignRow, Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock, format_duration, parse_duration_s
from fleetfront.runtimes.catalogue import all_facts, facts_of, places
from fleetfront.runtimes.facts import Half, OnDevice
from fleetfront.side_by_side import made_once, working_s
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: So many visits tell all that visits can tell: small spaces end here, long before any budget.
MOST_ROUNDS = 40

#: Rounds before a stop rule is asked: the error of fewer is mostly luck.
FEWEST_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a profile may take in all, making the files included, and how many networks it calibrates on and is
    judged by."""

    name: str
    seconds: float
    calibration: int = 20
    validation: int = 50


#: On a two-core x86 machine a round of ``ofa-mbv3-w1.0`` (186 blocks, 70 networks) takes 10 to 20 s.
BUDGETS = {
    "quick": Budget("quick", 60.0),
    "standard": Budget("standard", 300.0),
    "long": Budget("long", 600.0, calibration=80),
}


def parse_budget(text: str) -> Budget:
    """``quick`` (60 s), ``standard`` (5 min), ``long`` (10 min, 80 calibration networks) or a duration such as ``10m``.

    Raises InputError on anything else.
    """
    if text in BUDGETS:
        return BUDGETS[text]
    if text.isalpha():
        raise unknown("budget", text, BUDGETS)
    return Budget(text, parse_duration_s(text))


class TargetError:
    """Stop rule: the error of a model fitted so far, as ``error_of`` sees it, is at most ``percent``."""

    def __init__(
        self, error_of: Callable[[Observations], float | None], percent: float, fewest_rounds: int = FEWEST_ROUNDS
    ) -> None:
        if not percent > 0:
            raise InputError(f"The target error is {percent} %.", "Give a number above 0, e.g. --target-error 2.")
        self._error_of = error_of
        self._percent = percent
        self._fewest_rounds = fewest_rounds

    def decide(self, observations: Observations, rounds: int, seconds: float) -> Stop | None:
        """Satisfied from ``fewest_rounds`` on, as soon as there is an error and it is small enough."""
        if rounds < self._fewest_rounds:
            return None
        error = self._error_of(observations)
        if error is None or not error <= self._percent:
            return None
        return Stop(f"error {error:.1f} % is within the target of {self._percent:g} %", error)


@dataclass(frozen=True, slots=True)
class ProfileOutcome:
    """The outcome of a profile.

    Attributes:
        result: how the campaign went.
        observations: everything accepted, under the clock of the outcome.
        planned: role -> number of things that were to be measured.
        verdict: whether the numbers can be trusted.
    """

    result: CampaignResult
    observations: Observations
    planned: Mapping[Role, int]
    verdict: Verdict

    @property
    def measured(self) -> dict[Role, int]:
        """Role -> number of things with at least one accepted visit."""
        return {role: len(keys) for role, keys in self.observations.visits.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        result, seen = self.result, self.observations
        return {
            "schema": "fleetfront.profile/1",
            "target": str(seen.target),
            "space": seen.space,
            "clock": seen.clock.value,
            "campaign": result.campaign,
            "rounds": result.rounds,
            "visits": result.visits,
            "seconds": result.seconds,
            "role_seconds": {role.value: seconds for role, seconds in seen.role_seconds.items()},
            "ended_by": result.ended_by,
            "stop": None if result.stop is None else {"reason": result.stop.reason, "error": result.stop.error},
            "was_resumed": result.was_resumed,
            "planned": {role.value: count for role, count in self.planned.items()},
            "measured": {role.value: count for role, count in self.measured.items()},
            "errors": dict(seen.errors),
            "environment": dict(seen.environment),
            "verdict": self.verdict.to_json(),
        }


def profile_space(
    space: SearchSpace,
    target: Target,
    *,
    store: Store,
    budget: Budget = BUDGETS["quick"],
    rounds: int | None = MOST_ROUNDS,
    rule: StopRule | None = None,
    options: PlanOptions | None = None,
    clock: Clock | None = None,
    workspace: Workspace | None = None,
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> ProfileOutcome:
    """Measure the blocks and sampled networks of ``space`` on ``target`` until ``rule`` or ``budget`` ends it.

    The same call (target, space, options, device, runtime version) continues a campaign that was killed, interrupted or
    ended at a smaller budget. A finished one is begun anew.

    Args:
        space: what to measure.
        target: where and how.
        store: every visit goes here.
        budget: seconds in all, over all sessions of the campaign.
        rounds: at most so many complete rounds.
        rule: asked after each round; None measures until the budget or the rounds end it.
        options: what is planned; the default takes the numbers of networks from the budget.
        clock: what rule and verdict look at; the default is the agent's first. All of its clocks are stored.
        workspace: where model files and the locks of devices are kept.
        open_agent: who measures, and holds the device meanwhile; the default is ``open_device``.
        progress: told of every step.

    Raises:
        CampaignInterrupted: on Ctrl-C.
        InputError: unknown runtime, a target that cannot be written for, a full disk.
        MissingDependency: the runtime is not installed.
        DeviceError: the device is lost or was too hot, or another process measures it.
    """
    began = working_s()
    chosen = options or PlanOptions(calibration=budget.calibration, validation=budget.validation)
    check_clock(target, clock)
    place = workspace or Workspace.default()
    suffix, write = file_writer(target)
    cache = FileCache(place.cache / "files", suffix)
    opener = open_agent or (lambda wanted: open_device(wanted, Choices(workspace=place), progress))
    with cache.in_use(), closing(opener(target)) as agent:
        seen_clock, environment = clock or agent.clocks[0], agent.describe()
        identity = campaign_identity(target, space.name, chosen, environment)
        row = find_unfinished(store, target, space.name, identity, budget.seconds)
        if row is None or not all(cache.has(file) for file in TaskList.from_json(row.plan).files):
            made = _written(space, target, chosen, cache, write, progress)
            row = _go_on_with(made, row) or begin_campaign(store, target, space.name, identity, made, environment)
        tasks = TaskList.from_json(row.plan)
        files = {file: str(cache.path(file)) for file in tasks.files}
        campaign = Campaign(store, agent, row, chosen.rounds, files, clock=seen_clock, progress=progress)
        result = campaign.run(Limits(budget.seconds, rounds), rule, preparing_s=working_s() - began)
    cache.prune()
    observations = read_observations(store, target, space.name, seen_clock, [row.id])
    _check_heat(result, observations, budget)
    return ProfileOutcome(result, observations, Counter(task.role for task in tasks.tasks), judge(observations))


def _written(
    space: SearchSpace,
    target: Target,
    chosen: PlanOptions,
    cache: FileCache,
    write: Callable[[Graph, Piece], bytes],
    progress: Progress,
) -> TaskList:
    """The tasks of a plan, whose files devices side by side share where they open the same ones."""
    return made_once(
        (space.name, repr(chosen), repr(_place(target)), target.precision, target.batch),
        lambda: make_plan(space, chosen).written(lambda one, role: cache.put(write(one, _piece_of(role))), progress),
        lambda tasks: all(map(cache.has, tasks.files)),
    )


def _go_on_with(made: TaskList, row: CampaignRow | None) -> CampaignRow | None:
    """An unfinished campaign of these very files; other bytes are other networks, which must not continue it."""
    return row if row is not None and made.to_json() == row.plan else None


def check_clock(target: Target, clock: Clock | None) -> None:
    """Raise InputError for a clock that tells less than the time of ``target``."""
    if clock == Clock.THREAD_CPU and target.threads > 1:
        raise InputError(
            f"{target} runs on several threads, which thread-CPU time does not count.", "Use --clock wall."
        )


def _check_heat(result: CampaignResult, observations: Observations, budget: Budget) -> None:
    """Raise DeviceError if there is nothing but the anchor, measured hot: waiting took the budget."""
    is_hot = observations.hot_visits or "throttled" in observations.discarded
    if (
        result.ended_by == "budget"
        and is_hot
        and not observations.errors
        and not set(observations.visits) - {Role.ANCHOR}
    ):
        raise DeviceError(
            f"{observations.target.device} was too hot: no block or network was measured within the budget of "
            f"{format_duration(budget.seconds)}.",
            "Let it cool down, or give a longer --budget; over ADB also a higher --max-temp, if you set one, or rests "
            "with --cooldown 30s.",
        )


def measure_networks(
    space: SearchSpace,
    target: Target,
    archs: Sequence[str],
    *,
    store: Store,
    role: Role = Role.CALIBRATION,
    rounds: int = 6,
    seed: int = 0,
    clock: Clock | None = None,
    workspace: Workspace | None = None,
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> ProfileOutcome:
    """Measure given architectures (their spelled form) and nothing else, ``rounds`` visits each.

    Raises what ``profile_space`` raises; InputError also for an architecture outside the space.
    """
    canonical = tuple(space.arch_ids(space.parse(archs)))
    options = PlanOptions(
        seed=seed, calibration=0, validation=0, blocks="none", networks={role.value: tuple(dict.fromkeys(canonical))}
    )
    return profile_space(
        space,
        target,
        store=store,
        budget=Budget("unlimited", math.inf),
        rounds=rounds,
        options=options,
        clock=clock,
        workspace=workspace,
        open_agent=open_agent,
        progress=progress,
    )


def suffixes_of(target: Target) -> tuple[str, ...]:
    """Suffixes of the files that a target opens. Raises InputError for a runtime that cannot be profiled."""
    place, formats = _place(target), facts_of(target.runtime).formats
    return tuple(f".{name}" for name in formats) if place.file_format in formats else (place.suffix,)


def check_precision(target: Target) -> None:
    """Raises InputError for a precision that no writer and no delegate gives the target."""
    place = _place(target)
    known = place.precisions
    if target.precision not in known:
        words = " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))
        is_idle = target.precision == "fp16" and place.half is Half.NOBODY
        why = " On x86 both runtimes compute fp16 files in float32, in the time of fp32 ones." if is_idle else ""
        raise InputError(
            f"Spaces are profiled in {words} on {target.runtime}, not in {target.precision}.{why}",
            f"Use --precision {known[0]}, or time a finished file with: fleetfront profile --file FILE",
        )


def _places(target: Target) -> Mapping[str, OnDevice]:
    """Runtimes of the target's kind of device; where no runtime's record speaks of such, those that run anywhere."""
    kind = find_kind(target.device)
    if kind is not None and (own := places(kind.name)):
        return own
    return {name: place for kind_name in kind_names() for name, place in places(kind_name).items()}


def _place(target: Target) -> OnDevice:
    known = _places(target)
    if target.runtime not in known:
        if target.runtime in all_facts():
            raise InputError(
                f"{target.runtime} does not run on {target.device}.", f"Use --runtime {' or '.join(sorted(known))}."
            )
        raise unknown("runtime to profile on", target.runtime, known)
    return known[target.runtime]


def file_writer(target: Target) -> tuple[str, Callable[[Graph, Piece], bytes]]:
    """The suffix of the target's files and what writes them, given what of a network each holds."""
    place = _place(target)
    check_precision(target)
    if target.precision == "int8":
        narrow = int8_writer_of(place.file_format)
        return place.suffix, lambda graph, piece: narrow(_at_batch(graph, target), piece)
    if target.precision in WEIGHT_BITS:
        narrow_weights = weights_writer_of(place.file_format, WEIGHT_BITS[target.precision])
        return place.suffix, lambda graph, _: narrow_weights(_at_batch(graph, target))
    write = writer_of(place.file_format)
    is_half_file = target.precision == "fp16" and place.half == Half.FILE

    def write_batch(graph: Graph, _: Piece) -> bytes:
        batched = _at_batch(graph, target)
        return write(half_throughout(batched) if is_half_file else batched)

    return place.suffix, write_batch


def _at_batch(graph: Graph, target: Target) -> Graph:
    return graph if target.batch == 1 else with_batch(graph, target.batch)


def operator_writer(target: Target, piece: Piece = Piece.OPERATOR) -> Callable[[Graph], bytes]:
    """The function that writes an operator in int8 for a float target, as that ``piece``.

    Raises InputError where such files are not written; what it gives raises MissingDependency without the quantiser.
    """
    write = int8_writer_of(_place(target).file_format)
    return lambda graph: write(graph, piece)


def _piece_of(role: Role) -> Piece:
    """A block or a network of a space."""
    return Piece.BLOCK if role is Role.BLOCK else Piece.NETWORK
