"""Measure whether predictions hold in later sittings: deployed files timed minutes and more after their profile.

Profiles two spaces in both CPU runtimes, then times networks that no fit has seen as `deploy --measure` does, in
sittings of fresh processes some minutes apart, one of them beside a busy core. Each sitting is judged four times: by
the model as profiled, with its interval for whenever files are run, which nobody is promised of large networks; by what
`deploy --measure` promises of that very sitting; by a cold fit of the profile and the sittings before this one, whose
level it learns; and by the model that `fit --recalibrate` would have left in the sitting before. Every profile is also
split anew into calibration and held-out networks many times, since one draw of twenty says little of how much intervals
cover.

    python benchmarks/promises.py --keep DIR                   # an hour: four sittings, ten minutes apart; resumes
    python benchmarks/promises.py --adb --keep DIR             # the same over ADB, by the daemon of tests/adbd
    python benchmarks/promises.py --step --keep DIR            # the next of profiles and sittings, if it is due
    python benchmarks/promises.py --smallest                   # the smallest of the small space: 10 to 50 microseconds
    python benchmarks/promises.py --gap 30 --keep DIR --quick  # a look: one sitting, few networks; nothing is written

``--adb`` and ``--smallest`` may shorten it: ``--sittings 2 --gap 60 --rounds 4``; what was run is in the result. What
was ended is gone on with by the same command with ``--keep``, over ADB under the same address; once a result is
written, the same profiles are judged in sittings anew.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, describe, write
from promises_judge import coverage_over_draws, judge, models_before, said_of, tell

from fleetfront.pipelines.fit.fit import fit_target
from fleetfront.pipelines.measure.profile import Budget, profile_space
from fleetfront.profilers.adb.open_agent import adb_target
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.store.store import Store
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: Space -> networks that are deployed; the seed is none that any profile draws networks with.
SPACES = {"ofa-mbv3-w1.0": 20, "ofa-mbv3-mini": 10}
RUNTIMES = ("onnxruntime", "litert")
SEED = 20_231
#: With ``--smallest``, of so many networks drawn for each that is deployed, those of least work.
DRAWN = 60
#: What the fits in a folder that is kept say of themselves, and the sittings of a run that was ended.
PROFILES, SITTINGS = "profiles.json", "sittings.json"
#: The port of the device over ADB, by which its profiles know it.
PORT = "port"
#: Said in each result of what was known when the intervals were made.
LOOKED_AT = (
    "How levels are averaged, and what counts as typical, was settled after looking at the recorded sittings of "
    "earlier runs, and replayed on those; a run that is made with this code is the first that judges it."
)
BARS = {
    "coverage_90": [0.85, 0.95],
    "quiet": {"median": 2.0, "p95": 5.0, "interval_width": 12.0},
    "today": {"median": 2.5, "p95": 6.0},
}


def targets(device: str) -> list[Target]:
    """Both runtimes of this machine, or the one of a device over ADB."""
    return [Target("cpu", runtime) for runtime in RUNTIMES] if device == "cpu" else [adb_target(device)]


def profile(home: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Profile and fit every space and runtime; what each fit says of itself."""
    rows, workspace = read_kept(home / PROFILES), Workspace(home)
    done = {(row["space"], row["runtime"]) for row in rows}
    with Store(workspace.store) as store:
        for name in SPACES:
            for target in targets(options.device):
                if (name, target.runtime) in done:
                    continue
                space = load_space(name)
                profile_space(
                    space,
                    target,
                    store=store,
                    budget=Budget("benchmark", 1800.0),
                    rounds=options.rounds,
                    options=PlanOptions(calibration=20, validation=20),
                    workspace=workspace,
                )
                fit = fit_target(store, target, space, workspace=workspace).chosen
                scores = fit.scores
                row = {"space": name, "runtime": target.runtime, "clock": fit.fitted.model.clock.value}
                row |= {"other_programs": said_of(fit.fitted.model.others)}
                if scores is not None:
                    row |= {"mape": scores.mape, "coverage_90": scores.coverage_90, "floor": fit.floor.mape}
                rows.append(row)
                print("profile", row, flush=True)
                (home / PROFILES).write_text(json.dumps(rows))
    return rows


def read_kept(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


def sit(home: Path, networks: dict[str, int], options: argparse.Namespace) -> list[dict[str, Any]]:
    """One sitting: every space and runtime, judged by its model. The models on disk stay as they are."""
    rows, workspace = [], Workspace(home)
    asked = [(name, target) for name in networks for target in targets(options.device)]
    models = {(name, target): models_before(home, load_space(name), target) for name, target in asked}
    with Store(workspace.store) as store, beside_a_busy_core() if options.sit == "busy" else nullcontext():
        for name, target in asked:
            load, space, count = os.getloadavg()[0], load_space(name), networks[name]
            drawn = space.sample(count * (DRAWN if options.smallest else 1), np.random.default_rng(SEED))
            order = np.argsort(space.macs(drawn), kind="stable") if options.smallest else np.arange(count)
            row = judge(space, target, drawn[order[:count]], store, home, models[name, target])
            rows.append({"space": name, "runtime": target.runtime, "load": round(load, 2), **row})
            print(row, file=sys.stderr, flush=True)
    return rows


@contextmanager
def phone(home: Path) -> Iterator[str]:
    """Android's own daemon in a chroot of this machine: the name of its device, the same whenever ``home`` is kept."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "adbd"))
    import daemon as adbd

    if reason := adbd.why_not():
        raise SystemExit(reason)
    # No server of the user's stands between; the sittings inherit it.
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(adbd.free_port())
    kept = home / PORT
    if not kept.exists():
        kept.write_text(str(adbd.free_port()))
    device = adbd.Daemon(adbd.build(), home / "device", port=int(kept.read_text())).start()
    try:
        yield f"adb:{device.address}"
    finally:
        device.stop()


@contextmanager
def beside_a_busy_core() -> Iterator[None]:
    """Another process that never rests."""
    busy = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    busy.start()
    try:
        yield
    finally:
        busy.terminate()
        busy.join()


def spin() -> None:
    while True:
        sum(range(10_000))


def sittings(home: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The sittings of fresh processes, ``--gap`` seconds after one another, the last one beside a busy core."""
    found = read_kept(home / SITTINGS)
    ended = [path.stat().st_mtime for path in (home / SITTINGS, home / PROFILES) if path.exists()]
    for number in range(len(found), options.sittings):
        wait = max(0.0, max(ended) + options.gap - time.time())
        if options.step and wait:
            raise SystemExit(f"sitting {number + 1} of {options.sittings} is due in {wait:.0f} s")
        print(f"sitting {number + 1} of {options.sittings} in {wait:.0f} s", flush=True)
        time.sleep(wait)
        is_busy = number == options.sittings - 1 and not options.quick
        command = [sys.executable, __file__, "--sit", "busy" if is_busy else "quiet", "--keep", str(home)]
        command += ["--device", options.device, *(["--smallest"] if options.smallest else [])]
        machine = describe()
        done = subprocess.run(
            command + (["--quick"] if options.quick else []), check=True, stdout=subprocess.PIPE, text=True
        )
        rows = json.loads(done.stdout.splitlines()[-1])
        found.append({"sitting": number + 1, "busy_core": is_busy, "machine": machine, "results": rows})
        (home / SITTINGS).write_text(json.dumps(found))
        tell(number + 1, is_busy, rows)
        ended = [time.time()]
        if options.step and number + 1 < options.sittings:
            raise SystemExit(0)
    return found


def earlier_runs(name: str) -> list[dict[str, Any]]:
    """What the result holds already, newest first: every run is told, not the best."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    last = json.loads(path.read_text())
    return [{key: last[key] for key in last if key != "earlier_runs"}, *last.get("earlier_runs", ())]


def run(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Everything, or the next step of it."""
    is_begun = len(read_kept(home / PROFILES)) == len(SPACES) * len(targets(options.device))
    profiles = profile(home, options)
    if options.step and not is_begun:
        raise SystemExit(0)
    found = sittings(home, options)
    by_runtime = {target.runtime: target for target in targets(options.device)}
    for row in profiles:
        row["coverage_over_draws"] = coverage_over_draws(home, row["space"], by_runtime[row["runtime"]])
        print("profile", row["space"], row["runtime"], row["coverage_over_draws"], flush=True)
    asked = {"sittings": options.sittings, "gap": options.gap, "rounds": options.rounds}
    return {"bars": BARS, "looked_at": LOOKED_AT, "asked": asked, "profiles": profiles, "sittings": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sittings", type=int, default=4)
    parser.add_argument("--gap", type=float, default=600.0, help="seconds between two sittings")
    parser.add_argument("--rounds", type=int, default=8, help="of each profile")
    parser.add_argument("--keep", type=Path, help="folder for store and models; profiles in it are used as they are")
    parser.add_argument("--quick", action="store_true", help="one sitting, mini networks alone; nothing is written")
    parser.add_argument("--smallest", action="store_true", help="the smallest networks of the small space")
    parser.add_argument("--adb", action="store_true", help="over ADB, by Android's own daemon on this machine")
    parser.add_argument("--step", action="store_true", help="with --keep: one step at a time, as far as it is due")
    parser.add_argument("--device", default="cpu", help=argparse.SUPPRESS)
    parser.add_argument("--sit", choices=["quiet", "busy"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sit:
        networks = {"ofa-mbv3-mini": 10} if options.quick or options.smallest else SPACES
        print(json.dumps(sit(options.keep, networks, options)))
        return
    if options.step and not options.keep:
        parser.error("--step goes on with what --keep keeps")
    if options.quick:
        options.sittings, options.rounds = 1, 3
    if options.quick or options.smallest:
        del SPACES["ofa-mbv3-w1.0"]
    machine = describe()
    with tempfile.TemporaryDirectory() as temporary:
        home = options.keep or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        with phone(home) if options.adb else nullcontext() as name:
            options.device = name or options.device
            payload = run(home, options)
    if not options.quick:
        name = "promises" + "_adb" * options.adb + "_smallest" * options.smallest
        print(write(name, payload | {"earlier_runs": earlier_runs(name)}, machine))
    # Judged and written: the next run begins anew.
    (home / SITTINGS).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
