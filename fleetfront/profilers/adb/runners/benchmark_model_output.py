"""Read what ``benchmark_model`` of TensorFlow Lite and LiteRT prints: numbers, or the reason why there are none.

How the program is found and started is written in ``runners``. A text that is not understood is an error, never a zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fleetfront.runtimes.catalogue import place_of

#: Statistics of one ``count=`` line, in the order printed. All but ``count`` are microseconds.
STATISTICS = ("count", "first", "curr", "min", "max", "avg", "std", "p5", "median", "p95")

# "07-14 13:14:52.097 22838 22838 I tflite  : " with or without the time, and "I/tflite  (30011): ".
_LOGCAT = re.compile(
    r"(?:\d\d-\d\d \d\d:\d\d:\d\d\.\d+\s+\d+\s+\d+ )?[VDIWEF](?:/| )[\w.\-]+\s*(?:\(\s*\d+\))?\s*: ?(?P<text>.*)"
)
# LiteRT 2.x names its source: "INFO: [./litert/tools/benchmark_litert_model.h:81] ".
_LEVEL = re.compile(r"(?:INFO|WARNING|ERROR|VERBOSE|FATAL): (?:\[[\w./\-]+:\d+\] ?)?(?P<text>.*)")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_STAT = re.compile(rf"([a-z]\w*)=({_NUMBER})\Z")
_INIT = re.compile(r"Initialized session in (?P<ms>\S+?)\s?ms\.?\Z")
_SUMMARY = re.compile(r"(?:Average i|I)nference timings in us: (?P<pairs>.+)")
_SUMMARY_PAIR = re.compile(rf"(?P<name>[A-Za-z][A-Za-z ()_]*): (?P<value>{_NUMBER})\s*(?:,|\Z)")
#: LiteRT 2.x: a heading, then one fact a line, in rounded milliseconds.
_RESULTS = re.compile(r"=+ BENCHMARK RESULTS =+")
_RESULT = re.compile(
    rf"(?P<name>Model initialization|Inference \(avg\)): +(?P<ms>{_NUMBER}) ms(?: \((?P<count>\d{{1,9}}) runs\))?"
)
_FOOTPRINTS = re.compile(
    r"(?:Peak memory footprint|Memory footprint delta from the start of the tool) \(MB\): (?P<pairs>.*)"
)
_FOOTPRINT = re.compile(rf"(?P<name>[A-Za-z][A-Za-z ]*?)(?: footprint|=)?:? *(?P<mb>{_NUMBER}) MB")
_UNKNOWN_FLAGS = re.compile(
    r"(?:unconsumed|unrecogni[sz]ed|unknown) (?:cmdline |command-?line )?flags?\b.*", re.IGNORECASE
)
_REPLACED = re.compile(
    r"Replacing (?P<some>\d{1,9}) out of (?P<all>\d{1,9}) node\(s\) with delegate \((?P<delegate>[^)]+)\)"
)
_EXECUTED = re.compile(
    r"(?P<how>Explicitly a|A)pplied (?P<delegate>[\w ]+?) delegate, and the model graph will be "
    r"(?P<share>completely|partially) executed"
)
_UNUSED = re.compile(
    r"Though (?P<delegate>[\w ]+?) delegate is explicitly applied, the model graph will not be executed"
)
_SPLIT = re.compile(
    r"First \d+ operations will run on the (?P<delegate>\w+), and the remaining (?P<rest>\d{1,9}) on the CPU"
)
#: NNAPI's own implementation on the CPU, chosen by name.
_REFERENCE = re.compile(r"NNAPI accelerator name: \[nnapi-reference\]")
_FAILURES = (
    re.compile(r".*(?:CANNOT LINK EXECUTABLE|error while loading shared libraries).*"),
    re.compile(r".*(?:: not executable: |: not found$|[Ff]ailed to set .*affinity|: inaccessible or not found).*"),
    re.compile(r"NN API returned error .*"),
    re.compile(r"Could not open '.*"),
    re.compile(r"Failed to mmap model .*"),
    re.compile(r"Failed to (?:initialize|construct|apply|create|load|allocate|invoke|resolve).*", re.IGNORECASE),
    re.compile(r"Encountered unresolved custom op.*"),
    re.compile(r"Didn't find op for builtin opcode.*"),
    re.compile(r"Benchmarking failed\.?"),
)


#: Longer than any run: half a year in microseconds.
_MOST_US = 1.6e13
#: No memory is larger: an exbibyte in MiB.
_MOST_MB = 2.0**40
#: Of a program's words, what an error shows: reasons are often at their end.
_MOST_SHOWN = 400


@dataclass(frozen=True, slots=True)
class Statistics:
    """One ``count=`` line. ``printed`` keeps every value as the text that was printed."""

    count: int
    min_us: float
    max_us: float
    avg_us: float
    printed: dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """Numbers of one run of the program, or why it cannot be believed.

    Attributes:
        measured: statistics of the measured runs; None if ``error`` is set.
        warm_up: statistics of the warm-up runs, if they were printed.
        init_us: time to open the file, microseconds, if printed.
        memory_mb: what was printed of memory, by its name there: ``init``, ``overall``, ``Init``, ...; in MiB.
        delegation: what the log says of delegates, in the order printed.
        error: why there are no numbers, or None.
    """

    measured: Statistics | None = None
    warm_up: Statistics | None = None
    init_us: float | None = None
    memory_mb: dict[str, float] = field(default_factory=dict)
    delegation: tuple[str, ...] = ()
    error: str | None = None


@dataclass(slots=True)
class _Seen:
    series: list[Statistics] = field(default_factory=list)
    summary: dict[str, float] | None = None
    init_us: float | None = None
    delegation: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    malformed: str | None = None
    unknown_flags: str | None = None
    # What LiteRT 2.x sums up: mean in rounded microseconds, and the number of runs.
    rounded: tuple[float, int] | None = None
    is_summed_up: bool = False
    memory_mb: dict[str, float] = field(default_factory=dict)
    last: str = ""
    lines: int = 0


def parse_report(text: str, exit_code: int | None = None, runtime: str = "tflite-cpu") -> Report:
    """Read everything that one run printed, stdout and stderr together.

    The measured runs are the last ``count=`` line before the summary; op profiles after it hold lines of the same form
    that are about something else. The summary must agree with them.

    Args:
        text: the output, with or without logcat and ``INFO:`` prefixes and with stray lines of other programs.
        exit_code: how the program ended, None if unknown.
        runtime: of the target; its delegate is believed only if the log proves that it runs the whole model.
    """
    seen = _read(text.splitlines())
    evidence = tuple(seen.delegation)
    error = _why_not(seen, exit_code) or undelegated(runtime, evidence)
    if error is not None:
        return Report(init_us=seen.init_us, delegation=evidence, error=error)
    return Report(
        measured=seen.series[-1],
        warm_up=seen.series[-2] if len(seen.series) > 1 else None,
        init_us=seen.init_us,
        memory_mb=seen.memory_mb,
        delegation=evidence,
    )


def strip_prefix(line: str) -> str:
    """The message of a line without logcat's or the logger's prefix."""
    match = _LOGCAT.match(line)
    if match:
        line = match.group("text")
    match = _LEVEL.match(line)
    return (match.group("text") if match else line).strip()


def parse_statistics(message: str) -> Statistics | None:
    """The statistics of a ``count=`` line; None if it is not a whole one."""
    printed: dict[str, str] = {}
    for word in message.split():
        match = _STAT.match(word)
        if match is None or match.group(1) in printed:
            return None
        printed[match.group(1)] = match.group(2)
    if not printed or next(iter(printed)) != "count" or not re.fullmatch(r"\d{1,9}", printed["count"]):
        return None
    count = int(printed["count"])
    # A single run is printed in the short form "count=1 curr=637079".
    only = printed.get("curr", "nan") if count == 1 else "nan"
    values = {name: float(printed.get(name, only)) for name in ("min", "max", "avg")}
    is_whole = count == 1 or "std" in printed
    if count < 1 or not is_whole or not 0 <= values["min"] <= values["max"] < _MOST_US or not _within(values):
        return None
    return Statistics(count, values["min"], values["max"], values["avg"], printed)


def undelegated(runtime: str, evidence: Sequence[str]) -> str | None:
    """Why ``evidence`` does not prove that the whole model ran where ``runtime`` says; None if it does."""
    wanted = place_of("adb", runtime).delegate
    if not wanted:
        other = next((line for line in evidence if _named(line) not in ("", "XNNPACK")), None)
        return f"the log speaks of another delegate than the CPU's: {other}" if other else None
    own = [line for line in evidence if _named(line) == wanted]
    if not own:
        return f"nothing in the log says that the {wanted} delegate was applied, so the CPU may have run the model"
    partial = next((line for line in own if not _whole(line)), None)
    if partial is not None:
        return f"the {wanted} delegate does not run the whole model: {partial}"
    if not any(_proves(line) for line in own):
        return f"the log does not say how much of the model the {wanted} delegate runs"
    return None


def _read(lines: Iterable[str]) -> _Seen:
    seen = _Seen()
    for line in lines:
        message = strip_prefix(line)
        if not message:
            continue
        seen.lines += 1
        seen.last = message
        if seen.is_summed_up:
            # What follows is memory use and op profiles, which hold ``count=`` lines about something else.
            _note_result(seen, message)
        elif _SUMMARY.match(message):
            seen.summary, seen.is_summed_up = _summary(message), True
        elif _RESULTS.fullmatch(message):
            seen.is_summed_up = True
        elif message.startswith("count="):
            statistics = parse_statistics(message)
            if statistics is None:
                seen.malformed = message
            else:
                seen.series.append(statistics)
        else:
            _note(seen, message)
    return seen


def _note_result(seen: _Seen, message: str) -> None:
    result, footprints = _RESULT.fullmatch(message), _FOOTPRINTS.match(message)
    if result and result.group("count"):
        seen.rounded = 1000 * float(result.group("ms")), int(result.group("count"))
    elif footprints:
        pairs = (pair.partition("=") for pair in footprints.group("pairs").split())
        told = {name: float(mb) for name, _, mb in pairs if re.fullmatch(_NUMBER, mb)}
        seen.memory_mb |= {name: mb for name, mb in told.items() if 0 <= mb < _MOST_MB}
    elif (found := _FOOTPRINT.fullmatch(message)) and 0 <= float(found.group("mb")) < _MOST_MB:
        seen.memory_mb[found.group("name")] = float(found.group("mb"))


def _note(seen: _Seen, message: str) -> None:
    init = _INIT.match(message)
    if init:
        init_us = _as_float(init.group("ms")) * 1000
        seen.init_us = init_us if 0 <= init_us < _MOST_US else None
    elif unknown := _UNKNOWN_FLAGS.search(message):
        seen.unknown_flags = unknown.group()
    elif any(pattern.search(message) for pattern in (_EXECUTED, _UNUSED, _REPLACED, _SPLIT, _REFERENCE)):
        if message not in seen.delegation:
            seen.delegation.append(message)
    elif any(pattern.match(message) for pattern in _FAILURES):
        seen.failures.append(message)


def _summary(message: str) -> dict[str, float]:
    match = _SUMMARY.match(message)
    pairs = match.group("pairs") if match else ""
    return {found.group("name").strip(): float(found.group("value")) for found in _SUMMARY_PAIR.finditer(pairs)}


def _why_not(seen: _Seen, exit_code: int | None) -> str | None:
    words = f": {seen.last[:_MOST_SHOWN]}" if seen.last.isprintable() and seen.last else ""
    if seen.failures and (exit_code or not seen.series):
        return seen.failures[0].rstrip(".")
    if exit_code:
        return f"benchmark_model ended with exit code {exit_code}{words}"
    if seen.unknown_flags is not None:
        return (
            f"benchmark_model did not know the flags it was given, so it measured something else: {seen.unknown_flags}"
        )
    if seen.malformed is not None:
        return f"benchmark_model printed a line that is not understood: {seen.malformed[:_MOST_SHOWN]}"
    unused = next((line for line in seen.delegation if _UNUSED.search(line)), None)
    if not seen.series and unused:
        return unused
    if not seen.series:
        return f"benchmark_model printed no timings{words}" if seen.lines else "benchmark_model printed nothing"
    if not seen.is_summed_up:
        return "the output ends before the summary, so the run was cut off"
    if seen.series[-1].min_us == 0:
        return "a run took 0 us: the model is too short for the program's microsecond clock"
    return _contradiction(seen, seen.series[-1])


def _contradiction(seen: _Seen, measured: Statistics) -> str | None:
    """How the summary does not agree with the measured runs; None if it does."""
    if seen.summary is None:
        if seen.rounded is None:
            return "the summary names no inference time"
        average, count = seen.rounded
        # Printed in milliseconds with two digits.
        if abs(average - measured.avg_us) > 5.5 + 5e-3 * measured.avg_us or count != measured.count:
            took = f"{measured.avg_us:g} us in {measured.count}"
            return f"the summary says {average:g} us in {count} runs but they took {took}"
        return None
    named = ("Inference", "Inference (avg)", "no stats")
    known = next((value for name, value in seen.summary.items() if name in named), None)
    if known is None:
        return "the summary names no inference time"
    if abs(known - measured.avg_us) > 1e-3 * max(known, measured.avg_us):
        return f"the summary says {known:g} us but the measured runs {measured.avg_us:g} us"
    return None


def _named(line: str) -> str:
    executed = _EXECUTED.search(line)
    if executed:
        return executed.group("delegate")
    replaced = _REPLACED.search(line)
    if replaced:
        # TfLiteXNNPackDelegate, TfLiteNnapiDelegate, TfLiteGpuDelegateV2, and what LiteRT 2.x calls its own.
        name = replaced.group("delegate").lower()
        # LiteRT hands an NPU its part through the vendor's dispatch library.
        known = {"xnnpack": "XNNPACK", "nnapi": "NNAPI", "gpu": "GPU", "dispatch": "NPU"}
        return next((kind for word, kind in known.items() if word in name), replaced.group("delegate"))
    unused = _UNUSED.search(line)
    if unused:
        return unused.group("delegate")
    split = _SPLIT.search(line)
    if split:
        return split.group("delegate")
    return "NNAPI" if _REFERENCE.search(line) else ""


def _whole(line: str) -> bool:
    executed, replaced, split = _EXECUTED.search(line), _REPLACED.search(line), _SPLIT.search(line)
    if executed:
        return executed.group("share") == "completely"
    if replaced:
        return int(replaced.group("some")) == int(replaced.group("all")) > 0
    return split is not None and int(split.group("rest")) == 0


def _proves(line: str) -> bool:
    return bool(_EXECUTED.search(line) or _REPLACED.search(line))


def _within(values: dict[str, float]) -> bool:
    # Six printed digits of the average may round past the extremes.
    slack = 1e-4 * values["max"]
    return values["min"] - slack <= values["avg"] <= values["max"] + slack


def _as_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
