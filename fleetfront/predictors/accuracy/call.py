"""Ask a user's own function for accuracies: in a process of its own, with a time limit and further tries, each answer
or failure a row.
"""

from __future__ import annotations

import csv
import hashlib
import json
import queue
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fleetfront.errors import InputError, unknown
from fleetfront.plain import parse_finite_json
from fleetfront.predictors.accuracy.call_process import CallProcess
from fleetfront.quantities import ACCURACY, PASS, Estimate, Quality, Tier, own_quality, percent_of
from fleetfront.spaces.base import Config, Genotypes, OfUserFile, OwnAccuracy, SearchSpace
from fleetfront.text_tables import parse_number, read_csv

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

CALLS_FILE = "calls.csv"
#: So many networks whose every try failed, before any answered, end a search.
_HOPELESS = 3
#: What is larger is taken for a mistake.
_MOST = 1e9
#: Seconds between two looks whether processes that were told to end have.
_ENDING_S = 0.02
_COLUMNS = ("arch", "accuracy", "seconds", "tries", "error", "function", "parts")
#: Tables of earlier versions lack the last.
_FORMER = _COLUMNS[:-1]
#: A function may tell how good a network is at so many tasks.
MOST_PARTS = 8
WORD = re.compile(r"[A-Za-z0-9_-]{1,40}")
_WRITE = "Write --accuracy call:FILE.py:FUNCTION[,timeout=600,retries=1,unit=percent|fraction|error|pass]."
_UNITS = ("", "percent", "fraction", "error", "pass")
#: The reference point lies beyond the smallest network by so much of what that reaches.
_MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class CallSettings:
    """Settings of a user's function.

    Attributes:
        timeout: seconds of one try.
        retries: further tries of a network whose try failed.
        unit: of what it returns: ``percent``, ``fraction`` of 1, ``error`` in percent, or ``pass``, whether a network
            is good enough; undeclared it is percent, and what looks like a fraction is refused. With a ``name`` any.
        name: what it tells where that is not accuracy, e.g. ``perplexity``.
        better: ``lower`` or ``higher``, of what has a name.
        combines: what a dict of several answers counts as: their ``mean``, or the ``worst``.
        objectives: of a dict of several answers, those that are objectives of their own, and which way each is better:
            ``digit:higher/drift:lower cm``.
    """

    timeout: float = 3600.0
    retries: int = 1
    unit: str = ""
    name: str = ""
    better: Literal["higher", "lower"] = "higher"
    combines: Literal["mean", "worst"] = "mean"
    objectives: str = ""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A network's answer by the function, or why its last try failed."""

    answer: Any
    error: str
    tries: int
    seconds: float


class CallAccuracy:
    """Accuracy from architecture strings by a user's function. An AccuracyModel.

    A network whose every try failed gets the lowest accuracy known and an infinite deviation: no front holds it.
    """

    tier = Tier.MEASURED

    def __init__(self, space: SearchSpace, file: Path, function: str, settings: CallSettings, source: str) -> None:
        """The function takes the genes by name if the file is the space's own, else the architecture's id.

        Raises InputError if there is no such file.
        """
        if not file.is_file():
            raise InputError(f"There is no file {file}.", _WRITE)
        self._takes_genes = isinstance(space, OfUserFile) and space.own_file == file.resolve()
        self.source = source
        self._space, self._settings = space, settings
        self._processes = [CallProcess(file, function)]
        named = f" {settings.name} {settings.better}" if settings.name else ""
        named += f" {settings.combines}" if settings.combines != "mean" else ""
        named += f" {settings.objectives}" if settings.objectives else ""
        spelled = file.read_bytes() + f"\n{function} {settings.unit}{named}".encode()
        self._digest = hashlib.sha256(spelled).hexdigest()[:12]
        self._path: Path | None = None
        self._known: dict[str, float] = {}
        self._parts: dict[str, dict[str, float]] = {}
        self._columns: tuple[str, ...] = _COLUMNS
        # Of networks that have failed so far, by rows of earlier sittings too.
        self._tried: dict[str, int] = {}
        self._failed = 0

    @property
    def quality(self) -> Quality:
        """Accuracy in percent, or whether a network passes."""
        return PASS if self._settings.unit == "pass" else ACCURACY

    @property
    def fingerprint(self) -> str:
        """Differs where the file, the function or the unit does."""
        return self._digest

    def keep_calls(self, folder: Path) -> None:
        """Write every call into ``calls.csv`` of ``folder``, and answer from the rows of this very function there.

        Raises InputError if the file is not one that this wrote.
        """
        self._path = folder / CALLS_FILE
        if not self._path.exists():
            return
        table = read_csv(self._path)
        if tuple(table.header) not in (_COLUMNS, _FORMER) or table.uneven:
            raise InputError(f"{self._path} is no table of calls.", "Move it away.")
        self._columns = tuple(table.header)
        for arch, accuracy, _, tries, error, function, *parts in table.rows:
            if function == self._digest and error:
                self._tried[arch] = int(parse_number(tries))
            elif function == self._digest:
                self._known[arch] = self.quality.score(parse_number(accuracy))
                self._parts[arch] = _parts_of(parts[0]) if parts else {}

    def spread_over(self, processes: int) -> None:
        """Ask so many networks at once, each in a process of its own."""
        one = self._processes[0]
        self._processes = [CallProcess(one.file, one.function) for _ in range(processes)]

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Call the function for each of n genotypes that no row answers; rows are written in their order.

        Raises InputError if the file cannot be loaded, the first three networks fail, or an answer is no accuracy.
        """
        archs = self._space.arch_ids(genotypes)
        self._ask([arch for arch in dict.fromkeys(archs) if arch not in self._known])
        found: FloatArray = np.array([self._known.get(arch, np.nan) for arch in archs], np.float64)
        failed = np.isnan(found)
        lowest = min(self._known.values(), default=0.0)
        return Estimate(np.where(failed, lowest, found), np.where(failed, np.inf, 0.0), self.tier)

    def parts(self, genotypes: Genotypes) -> dict[str, list[float]]:
        """How good each of n networks is at each task, where the function told that of all of them."""
        told = [self._parts.get(arch, {}) for arch in self._space.arch_ids(genotypes)]
        names = dict.fromkeys(name for one in told for name in one)
        return {name: [one[name] for one in told] for name in names if all(name in one for one in told)}

    def _ask(self, archs: Sequence[str]) -> None:
        for arch, outcome in zip(archs, self._outcomes(archs), strict=True):
            if not outcome.error:
                value = self._combined(arch, outcome.answer)
                self._known[arch] = value
                self._write(arch, value, outcome)
                continue
            self._failed += 1
            self._tried[arch] = outcome.tries
            self._write(arch, None, outcome)
            if not self._known and self._failed >= _HOPELESS:
                raise InputError(
                    f"{self.source} failed for each of the first {self._failed} networks: {outcome.error}",
                    "Repair the function.",
                )

    def _outcomes(self, archs: Sequence[str]) -> Iterator[_Outcome]:
        """Of each network, in their order."""
        idle: queue.Queue[CallProcess] = queue.Queue()
        for process in self._processes:
            idle.put(process)
        is_over = threading.Event()

        def one(arch: str) -> _Outcome:
            process = idle.get()
            try:
                return self._outcome(process, arch, self._tried.get(arch, 0), is_over)
            finally:
                idle.put(process)

        if len(self._processes) == 1:
            yield from map(one, archs)
            return
        pool = ThreadPoolExecutor(len(self._processes))
        asked = [pool.submit(one, arch) for arch in archs]
        try:
            for future in asked:
                yield future.result()
        finally:
            # Ended early, nobody waits for the others' answers any more.
            is_over.set()
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in asked):
                for process in self._processes:
                    process.end()
                time.sleep(_ENDING_S)

    def _outcome(self, process: CallProcess, arch: str, tried: int, is_over: threading.Event) -> _Outcome:
        started, last = time.monotonic(), tried + 1 + self._settings.retries
        while True:
            if is_over.is_set():
                return _Outcome(None, "nobody waits for it any more", tried, time.monotonic() - started)
            tried += 1
            answer = process.ask(self._question(arch), self._settings.timeout)
            error = str(answer.get("error", ""))
            if not error or tried == last:
                return _Outcome(answer.get("accuracy"), error, tried, time.monotonic() - started)

    def _question(self, arch: str) -> str | Config:
        return self._space.to_config(self._space.parse([arch])[0]) if self._takes_genes else arch

    def _combined(self, arch: str, told: Any) -> float:
        if not isinstance(told, dict):
            self._parts[arch] = {}
            return self._score(arch, told)
        if not 0 < len(told) <= MOST_PARTS or not all(map(WORD.fullmatch, told)):
            raise InputError(
                f"{self.source} gave {str(told)[:80]} for {arch}.",
                f"Return a number, or a dict of 1 to {MOST_PARTS} of them by words.",
            )
        scores = {name: self._score(arch, value) for name, value in told.items()}
        self._parts[arch] = {name: float(self.quality.shown(score)) for name, score in scores.items()}
        return min(scores.values()) if self._settings.combines == "worst" else sum(scores.values()) / len(scores)

    def _score(self, arch: str, value: Any) -> float:
        return score_of_accuracy(self.source, self._settings.unit, arch, value)

    def _write(self, arch: str, accuracy: float | None, outcome: _Outcome) -> None:
        if self._path is None:
            return
        is_new = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(self._columns)
            shown = "" if accuracy is None else repr(self.quality.shown(accuracy))
            parts = json.dumps(told) if (told := self._parts.get(arch)) else ""
            seconds, error = f"{outcome.seconds:.3f}", " ".join(outcome.error.split())
            row = [arch, shown, seconds, outcome.tries, error, self._digest, parts]
            writer.writerow(row[: len(self._columns)])


def _parts_of(cell: str) -> dict[str, float]:
    try:
        told = parse_finite_json(cell) if cell else {}
    except ValueError:
        told = {}
    return {name: float(value) for name, value in told.items()} if isinstance(told, dict) else {}


class CallQuality(CallAccuracy):
    """A user's function that tells another quality than accuracy: perplexity, a loss, frames a second."""

    @property
    def quality(self) -> Quality:
        """The quality as the user named it."""
        one = self._settings
        return own_quality(one.name, one.unit, one.better == "higher")

    @property
    def lowest(self) -> float:
        """A score somewhat below that of the smallest network: what is worse is slower, too, as a rule."""
        smallest = self._space.canonical(np.zeros((1, len(self._space.choices)), np.int8))
        (arch,) = self._space.arch_ids(smallest)
        self._ask([] if arch in self._known else [arch])
        score = self._known.get(arch, np.nan)
        if not np.isfinite(score):
            raise InputError(f"{self.source} failed for the smallest network.", "Repair the function.")
        return score - _MARGIN * max(abs(score), 1e-9)

    def _score(self, arch: str, value: Any) -> float:
        return score_of_quality(self.source, self.quality, arch, value)


def score_of_accuracy(source: str, unit: str, arch: str, value: Any) -> float:
    """Accuracy in percent (of ``pass`` 0 or 1) of what a function returned. Raises InputError on anything else."""
    number = percent_of(value, unit)
    if unit == "pass":
        if number not in (0.0, 1.0):
            raise InputError(f"{source} gave {value!r} for {arch}, not whether it passes.", "Return a bool.")
        return number
    if not unit and 0 < number <= 1:
        raise InputError(
            f"{source} gave {number:g} for {arch}: a fraction of 1, or a percentage?",
            f"Declare it: {source},unit=fraction (or unit=percent).",
        )
    if not 0 <= number <= 100:
        raise InputError(
            f"{source} gave {value!r} for {arch}, which is no accuracy" + (f" as {unit}." if unit else " in percent."),
            "Return a number from 0 to 100, or raise an exception where there is none.",
        )
    return number


def score_of_quality(source: str, quality: Quality, arch: str, value: Any) -> float:
    """The score of what a function returned of a quality. Raises InputError on what is no such number."""
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
    if not abs(number) <= _MOST:
        raise InputError(
            f"{source} gave {value!r} for {arch}, which is no {quality.name}.",
            f"Return a number up to {_MOST:g}, or raise an exception where there is none.",
        )
    return float(quality.score(number))


def _make(space: SearchSpace, file: Path, function: str, settings: CallSettings, source: str) -> CallAccuracy:
    from fleetfront.predictors.accuracy.call_tasks import CallTasks

    kind = CallTasks if settings.objectives else CallQuality if settings.name else CallAccuracy
    return kind(space, file, function, settings, source)


def load_call(rest: str, space: SearchSpace, processes: int = 1) -> CallAccuracy:
    """The model of ``FILE.py:FUNCTION[,SETTING=VALUE,...]``, which asks so many networks at once.

    Raises InputError on another spelling, an unknown setting or value, or a missing file.
    """
    spelled, *settings = rest.split(",")
    file, _, function = spelled.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise InputError(f"call:{rest} does not name a function of a Python file.", _WRITE)
    model = _make(space, Path(file), function, _settings(settings), f"call:{spelled}")
    model.spread_over(processes)
    return model


def load_own(own: OwnAccuracy, space: SearchSpace, processes: int = 1) -> CallAccuracy:
    """The model of the function that a space's own file brings. Raises InputError on an unknown unit."""
    better = "" if own.is_higher_better else "lower"
    given = {"unit": own.unit, "name": own.name, "better": better, "combines": own.combines}
    given["objectives"] = own.objectives
    settings = _settings([f"{name}={value}" for name, value in given.items() if value])
    model = _make(space, own.file, own.function, settings, f"call:{own.file.name}:{own.function}")
    model.spread_over(processes)
    return model


def _settings(texts: list[str]) -> CallSettings:
    from pydantic import TypeAdapter, ValidationError

    given: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in (known := [one.name for one in fields(CallSettings)]):
            raise unknown("setting of call:", name, known)
        given[name] = value
    try:
        settings: CallSettings = TypeAdapter(CallSettings).validate_python(given)
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        raise InputError(f"call: cannot take {name} = {given[name]}.", _WRITE) from error
    if settings.objectives:
        from fleetfront.predictors.accuracy.call_tasks import parse_tasks

        parse_tasks(settings.objectives)
        if settings.name or {"combines", "better"} & given.keys() or settings.unit == "pass":
            raise InputError(
                "call: has objectives, and name, better, combines or unit=pass, which are of a single one.",
                "Leave those out: objectives=digit:higher/drift:lower cm says it of each.",
            )
    if settings.name:
        own_quality(settings.name, settings.unit, settings.better == "higher")
    elif settings.unit not in _UNITS:
        raise InputError(
            f"call: cannot take unit = {settings.unit}.", f"{_WRITE} What is no accuracy has a name: name=perplexity."
        )
    elif settings.better == "lower":
        raise InputError("call: cannot take better = lower without a name.", "Say of what: name=perplexity.")
    if not 0 < settings.timeout <= 1e7 or not 0 <= settings.retries <= 100:
        raise InputError(f"call: cannot take timeout={settings.timeout:g},retries={settings.retries}.", _WRITE)
    return settings
