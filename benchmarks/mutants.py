"""Make random single-token mutants of the rooms that compute and decide, and count those that the tests catch.

Three steps, each resumed by typing it again; the tree is copied aside first, so that work on it may go on:

    python benchmarks/mutants.py map              # which tests run which lines (needs: pip install coverage)
    python benchmarks/mutants.py run --count 250  # judge so many mutants, each by the tests that run its line
    python benchmarks/mutants.py again            # after tests were added: judge the survivors once more
    python benchmarks/mutants.py again --only search/additive tests/search/test_additive.py   # ... by these alone
    python benchmarks/mutants.py table            # counts, survivors with their verdicts; writes the result

A survivor is looked at by a person, who writes into ``benchmarks/mutants_reviewed.json`` why it changes neither a
number nor a decision; those are left out of the share that is caught.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
from mutant_judge import Judge
from token_mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]
REVIEWED = Path(__file__).with_name("mutants_reviewed.json")
ROOMS = ("predictors", "search", "profilers", "deploy")
#: Tests that may judge: those of the rooms, and of what is built on them.
FOLDERS = (
    "tests/predictors", "tests/search", "tests/deploy", "tests/profilers", "tests/pipelines", "tests/testing",
    "tests/cli",
)  # fmt: skip
#: Seconds of tests a mutant at most, as they took unmutated, and tests; those of its own room come first.
MOST_SECONDS, MOST_TESTS = 20.0, 30
#: A mutant that takes this many times longer, and then some seconds, is caught: it does not end.
SLOWER, GRACE_S = 5.0, 90.0


class Workbench:
    """A copy of the tree where mutants are tried, what was learned so far beside it."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.maps, self.judged = folder / "tree", folder / "maps", folder / "judged.json"
        if not self.tree.exists():
            self.copy()
        self.maps.mkdir(exist_ok=True)
        self._original, self._sound = folder / "original.json", folder / "sound.json"
        if self._original.exists():  # a run was killed with a mutant in the tree
            self.mend()

    def mutate(self, mutant: Mutant) -> None:
        """Put a mutant into the tree."""
        path = self.tree / mutant.path
        original = path.read_text()
        self._original.write_text(json.dumps([mutant.path, original]))
        path.write_text(mutant.apply(original))

    def mend(self) -> None:
        """Take it out."""
        path, original = json.loads(self._original.read_text())
        (self.tree / path).write_text(original)
        self._original.unlink()

    def copy(self) -> None:
        """Take the tree as it is now."""
        skipped = shutil.ignore_patterns(".git", "node_modules", "__pycache__", ".hypothesis", ".venv", "*.egg-info")
        shutil.rmtree(self.tree, ignore_errors=True)
        shutil.copytree(ROOT, self.tree, ignore=skipped, symlinks=True)

    def results(self) -> dict[str, dict[str, Any]]:
        """Mutant's key -> what became of it."""
        return dict(json.loads(self.judged.read_text())) if self.judged.exists() else {}

    def keep(self, results: dict[str, dict[str, Any]]) -> None:
        """Write them whole."""
        self.judged.with_suffix(".new").write_text(json.dumps(results, indent=1))
        self.judged.with_suffix(".new").replace(self.judged)

    def tests(self) -> dict[str, dict[str, Any]]:
        """Test -> seconds, and the lines that it runs by file."""
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.maps.glob("*.json")):
            found |= json.loads(path.read_text())
        return found

    def judge(self) -> Judge:
        """A process that runs tests in the copy."""
        data = os.environ.get("FLEETFRONT_TEST_DATA", str(ROOT.parents[1] / "shared" / "data"))
        environment = {**os.environ, "PYTHONPATH": str(self.tree), "FLEETFRONT_TEST_DATA": data}
        return Judge(self.tree, environment | {"PYTHONDONTWRITEBYTECODE": "1"})

    def sound(self) -> dict[str, bool]:
        """Test -> whether it passes where nothing is mutated, as far as was tried."""
        return dict(json.loads(self._sound.read_text())) if self._sound.exists() else {}

    def keep_sound(self, sound: dict[str, bool]) -> None:
        """Write them whole."""
        self._sound.write_text(json.dumps(sound, indent=1))


def map_tests(bench: Workbench, folders: Sequence[str]) -> None:
    """Record, folder by folder, which lines of the rooms each test runs."""
    for folder in folders:
        path = bench.maps / f"{folder.replace('/', '-')}.json"
        if path.exists():
            continue
        begun = time.monotonic()
        command = [sys.executable, str(Path(__file__).resolve()), "record", folder, str(path)]
        environment = {**os.environ, "PYTHONPATH": f"{bench.tree}:{os.environ.get('PYTHONPATH', '')}"}
        environment.setdefault("FLEETFRONT_TEST_DATA", str(ROOT.parents[1] / "shared" / "data"))
        status = subprocess.run(command, cwd=bench.tree, env=environment, check=False).returncode
        print(f"{folder}: status {status}, {time.monotonic() - begun:.0f} s", flush=True)


def record(folder: str, path: Path) -> None:
    """Run one folder's tests under coverage, a context a test."""
    import coverage
    import pytest

    include = [f"{Path.cwd()}/fleetfront/{room}/*" for room in ROOMS]
    with tempfile.TemporaryDirectory() as held:
        seen = coverage.Coverage(data_file=f"{held}/data", include=include)
        seconds: Counter[str] = Counter()
        failed: set[str] = set()

        class Recorder:
            @pytest.hookimpl(hookwrapper=True)
            def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
                seen.switch_context(item.nodeid)
                yield
                seen.switch_context("")

            def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
                seconds[report.nodeid] += report.duration
                if not report.passed:
                    failed.add(report.nodeid)

        seen.start()
        pytest.main(["-q", "-p", "no:cacheprovider", folder], plugins=[Recorder()])
        seen.stop()
        seen.save()
        data = seen.get_data()
        tests: dict[str, dict[str, Any]] = {
            name: {"seconds": round(taken, 3), "lines": {}} for name, taken in seconds.items() if name not in failed
        }
        for file in data.measured_files():
            short = str(Path(file).relative_to(Path.cwd()))
            for line, contexts in data.contexts_by_lineno(file).items():
                for context in contexts:
                    if context in tests:
                        tests[context]["lines"].setdefault(short, []).append(line)
    path.write_text(json.dumps(tests))


def judging_tests(mutant: Mutant, tests: dict[str, dict[str, Any]]) -> list[str]:
    """Tests that run the mutant's line: of its own room first, then quick ones first, as far as time allows.

    A line that runs on import is judged by all tests of its module's folder.
    """
    room = mutant.path.split("/")[1]
    running = [name for name, test in tests.items() if mutant.line in test["lines"].get(mutant.path, ())]
    if not running:  # a constant: whatever runs anything of the module
        running = [name for name, test in tests.items() if mutant.path in test["lines"]]
    order = sorted(running, key=lambda name: (not name.startswith(f"tests/{room}/"), tests[name]["seconds"]))
    chosen, taken = [], 0.0
    for name in order:
        if len(chosen) >= MOST_TESTS or taken + tests[name]["seconds"] > MOST_SECONDS:
            continue
        chosen.append(name)
        taken += tests[name]["seconds"]
    return chosen


def judge(bench: Workbench, judge: Judge, mutant: Mutant, names: Sequence[str], seconds: float) -> tuple[str, str]:
    """``caught``, ``endless`` or ``survived``, ``untested`` if no test runs it; and the test that caught it.

    A test catches what it passes without: one that fails either way is left out.
    """
    sound = bench.sound()
    left = [name for name in names if sound.get(name, True)]
    while left:
        bench.mutate(mutant)
        try:
            answer = judge.run(left, SLOWER * seconds + GRACE_S)
        finally:
            bench.mend()
        if answer.status in (0, 5):
            return "survived", ""
        if answer.status is None:
            return "endless", ""
        if not answer.failed:  # the tests cannot be imported: because of the mutant, or at all
            return ("caught" if judge.run(left, SLOWER * seconds + GRACE_S).status in (0, 1) else "untested"), ""
        if answer.failed not in sound:
            sound[answer.failed] = judge.run([answer.failed], GRACE_S).status == 0
            bench.keep_sound(sound)
        if sound[answer.failed]:
            return "caught", answer.failed
        left.remove(answer.failed)
    return "untested", ""


def sample(bench: Workbench, count: int, seed: int) -> list[Mutant]:
    """``count`` mutants, a line at most once, drawn alike from all lines of the four rooms."""
    rng = random.Random(seed)
    by_line: dict[tuple[str, int], list[Mutant]] = {}
    for room in ROOMS:
        for path in sorted((bench.tree / "fleetfront" / room).rglob("*.py")):
            name = str(path.relative_to(bench.tree))
            if "snippets" in name:
                continue
            for mutant in mutants_of(name, path.read_text()):
                by_line.setdefault((mutant.path, mutant.line), []).append(mutant)
    chosen = rng.sample(sorted(by_line), min(count, len(by_line)))
    return [rng.choice(by_line[line]) for line in chosen]


def run(bench: Workbench, count: int, seed: int, seconds: float) -> None:
    """Judge the sample for about so many seconds, going on where an earlier run ended."""
    tests, results, ends = bench.tests(), bench.results(), time.monotonic() + seconds
    left = [mutant for mutant in sample(bench, count, seed) if mutant.key not in results]
    with bench.judge() as judging:
        for mutant in left:
            if time.monotonic() > ends:
                return
            if not (bench.maps / f"tests-{mutant.path.split('/')[1]}.json").exists():
                continue
            names = judging_tests(mutant, tests)
            verdict, by = judge(bench, judging, mutant, names, sum(tests[name]["seconds"] for name in names))
            results[mutant.key] = {**asdict(mutant), "verdict": verdict, "tests": len(names), "by": by}
            bench.keep(results)
            print(
                f"{len(results)}/{count} {verdict:9} {mutant.path}:{mutant.line} {mutant.before} -> {mutant.after}",
                flush=True,
            )


def again(bench: Workbench, extra: Sequence[str], only: str, seconds: float) -> None:
    """Judge survivors whose path holds ``only`` by today's tests for about so many seconds: by those that ran the line
    before or, where any are given, by the files ``extra``."""
    ends = time.monotonic() + seconds
    bench.copy()
    tests, results = bench.tests(), bench.results()
    reviewed = json.loads(REVIEWED.read_text()) if REVIEWED.exists() else {}
    with bench.judge() as judging:
        for key, result in results.items():
            if result["verdict"] not in ("survived", "untested") or key in reviewed or only not in result["path"]:
                continue
            if time.monotonic() > ends:
                return
            mutant = Mutant(**{name: result[name] for name in ("path", "line", "column", "source", "before", "after")})
            path = bench.tree / mutant.path
            if not path.exists() or mutant.source not in path.read_text().splitlines():
                result["verdict"] = "gone"  # the line is no more
            else:
                names = list(extra) or judging_tests(mutant, tests)
                result["verdict"], result["by"] = judge(bench, judging, mutant, names, 60.0)
                result["by_added_tests"] = True
            bench.keep(results)
            print(f"{result['verdict']:9} {mutant.path}:{mutant.line} {mutant.before} -> {mutant.after}", flush=True)


def table(bench: Workbench) -> None:
    """Print counts by room and the survivors that nobody has judged; write the result."""
    results = bench.results()
    reviewed: dict[str, str] = json.loads(REVIEWED.read_text()) if REVIEWED.exists() else {}
    rooms: dict[str, Counter[str]] = {room: Counter() for room in ROOMS}
    survivors = []
    for key, result in results.items():
        verdict = result["verdict"]
        if verdict in ("survived", "untested") and key in reviewed:
            verdict = "changes nothing"
        elif verdict in ("survived", "untested"):
            survivors.append(
                {name: result[name] for name in ("path", "line", "source", "before", "after")} | {"key": key}
            )
        rooms[result["path"].split("/")[1]][verdict] += 1
    total = sum(rooms.values(), Counter[str]())
    for room, counts in {**rooms, "all": total}.items():
        print(f"{room:12} {sum(counts.values()):4} mutants: {dict(counts)}; {100 * caught_share(counts):.1f} % caught")
    for one in survivors:
        print(f"{one['path']}:{one['line']}  {one['before']} -> {one['after']}\n    {one['source'].strip()}")
    counted = {room: dict(counts) for room, counts in {**rooms, "all": total}.items()}
    share = {room: round(caught_share(counts), 4) for room, counts in {**rooms, "all": total}.items()}
    machine.write("mutants", {"mutants": counted, "caught_share": share, "survivors": survivors, "reviewed": reviewed})


def caught_share(counts: Counter[str]) -> float:
    """Of the mutants that change a number or a decision."""
    caught = counts["caught"] + counts["endless"]
    total = caught + counts["survived"] + counts["untested"]
    return caught / total if total else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("map", "record", "run", "again", "table"))
    parser.add_argument("rest", nargs="*", help="map: folders of tests; again: files of tests")
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no mutant after so long")
    parser.add_argument("--only", default="", help="again: survivors of files whose path holds this")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "fleetfront-mutants")
    given = parser.parse_intermixed_args()
    if given.step == "record":
        record(given.rest[0], Path(given.rest[1]))
        return
    given.work.mkdir(parents=True, exist_ok=True)
    bench = Workbench(given.work)
    if given.step == "map":
        map_tests(bench, given.rest or FOLDERS)
    elif given.step == "run":
        run(bench, given.count, given.seed, given.seconds)
    elif given.step == "again":
        again(bench, given.rest, given.only, given.seconds)
    else:
        table(bench)


if __name__ == "__main__":
    main()
