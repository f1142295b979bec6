"""Measure whether predictions hold in later sittings: deployed files timed minutes and more after their profile.

Profiles two spaces in both CPU runtimes, then times networks that no fit has seen as `deploy --measure` does, in
sittings of fresh processes some minutes apart, one of them beside a busy core. Each sitting is judged three times: by
the model as profiled, with its interval for whenever files are run; by what `deploy --measure` promises of that very
sitting; and by a cold fit of the profile and the sittings before this one, whose level it learns. Every profile is
also split anew into calibration and held-out networks many times, since one draw of twenty says little of how much
intervals cover.

    python benchmarks/promises.py --keep DIR                   # an hour: four sittings, ten minutes apart; resumes
    python benchmarks/promises.py --adb                        # the same over ADB, by the daemon of tests/adbd
    python benchmarks/promises.py --smallest                   # the smallest of the small space: 10 to 50 microseconds
    python benchmarks/promises.py --gap 30 --keep DIR --quick  # a look: one sitting, few networks; nothing is written

``--adb`` and ``--smallest`` may shorten it: ``--sittings 2 --gap 60 --rounds 4``; what was run is in the result. What
was ended is gone on with by the same command with ``--keep``; once a result is written, the same profiles are judged in
sittings anew.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, describe, write

from fleetfront.deploy.formats import writer_of
from fleetfront.pipelines.fit.fit import fit_target
from fleetfront.pipelines.fit.today import company_of, with_promises
from fleetfront.pipelines.knowledge.cost_models import newest_fit
from fleetfront.pipelines.knowledge.known import list_known
from fleetfront.pipelines.measure.company import find_company
from fleetfront.pipelines.measure.files import FileLatency, measure_files
from fleetfront.pipelines.measure.profile import Budget, profile_space, suffixes_of
from fleetfront.predictors.scores import Z90, score
from fleetfront.predictors.table.block_model import linear_block_model
from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.fitting import fit_model, measured_networks
from fleetfront.profilers.adb.open_agent import adb_target
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.reading.other_programs import OtherPrograms
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Estimate, FloatArray, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: Space -> networks that are deployed; the seed is none that any profile draws networks with.
SPACES = {"ofa-mbv3-w1.0": 20, "ofa-mbv3-mini": 10}
RUNTIMES = ("onnxruntime", "litert")
SEED = 20_231
#: With ``--smallest``, of so many networks drawn for each that is deployed, those of least work.
DRAWN = 60
#: How often each profile's networks are split anew, half to calibrate and half to judge.
DRAWS = 60
#: What the fits in a folder that is kept say of themselves, and the sittings of a run that was ended.
PROFILES, SITTINGS = "profiles.json", "sittings.json"
#: Said in each result of what was known when the intervals were made.
LOOKED_AT = (
    "How levels are averaged, and what counts as typical, was settled after looking at the recorded sittings of "
    "earlier runs, and replayed on those; a run that is made with this code is the first that judges it."
)
#: In such a folder, the fits that learn from its sittings.
LEARNT = "learnt"
#: Ways to judge a sitting, and what they are called in print.
JUDGED = {"as_profiled": "as profiled", "today": "as of today", "learnt": "learnt level"}
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


def said_of(others: OtherPrograms | None) -> dict[str, Any] | None:
    return None if others is None else others.to_json()


def coverage_over_draws(home: Path, options: argparse.Namespace, name: str, runtime: str) -> dict[str, float]:
    """Share of held-out networks within their intervals of one sitting, over splits of all that the profile measured.

    Blocks that were not measured are filled by a straight line, which takes a hundredth of the time of trees.
    """
    (target,) = (one for one in targets(options.device) if one.runtime == runtime)
    space, rng = load_space(name), np.random.default_rng(0)
    workspace = Workspace(home)
    clock = newest_fit(list_known(workspace, None, name), name, target=target).clock
    with Store(workspace.store, read_only=True) as store:
        seen = read_observations(store, target, name, clock)
    networks = {**seen.visits[Role.CALIBRATION], **seen.visits[Role.VALIDATION]}
    count, covered = len(seen.visits[Role.CALIBRATION]), []
    for _ in range(DRAWS):
        keys = [list(networks)[index] for index in rng.permutation(len(networks))]
        roles = {Role.CALIBRATION: keys[:count], Role.VALIDATION: keys[count:]}
        drawn = {role: {key: networks[key] for key in chosen} for role, chosen in roles.items()}
        split = replace(seen, visits={**seen.visits, **drawn})
        model = fit_model(space, split, fill=linear_block_model).model
        held_out = measured_networks(split, space, Role.VALIDATION, model.statistic)
        estimate = CalibratedTable(space, model).predict(held_out.genotypes)
        covered.append(score(estimate.mean, held_out.ms, estimate.same_sitting, resamples=0).coverage_90)
    low, high = np.quantile(covered, (0.05, 0.95))
    return {"draws": DRAWS, "mean": float(np.mean(covered)), "p5": float(low), "p95": float(high)}


def sit(home: Path, networks: dict[str, int], options: argparse.Namespace) -> list[dict[str, Any]]:
    """One sitting: every space and runtime, judged by its model. The models on disk stay as they are."""
    rows, workspace = [], Workspace(home)
    learnt = learn(home, networks, options)
    with Store(workspace.store) as store, beside_a_busy_core() if options.sit == "busy" else nullcontext():
        for name, count in networks.items():
            for target in targets(options.device):
                load, space = os.getloadavg()[0], load_space(name)
                drawn = space.sample(count * (DRAWN if options.smallest else 1), np.random.default_rng(SEED))
                order = np.argsort(space.macs(drawn), kind="stable") if options.smallest else np.arange(count)
                row = judge(space, target, drawn[order[:count]], store, workspace, learnt[name, target])
                rows.append({"space": name, "runtime": target.runtime, "load": round(load, 2), **row})
                print(row, file=sys.stderr, flush=True)
    return rows


def learn(home: Path, networks: dict[str, int], options: argparse.Namespace) -> dict[tuple[str, Target], FittedModel]:
    """Cold fits of the profiles and of all sittings so far, beside those of the profiles alone."""
    found = {}
    with Store(Workspace(home).store, read_only=True) as store:
        for name in networks:
            for target in targets(options.device):
                clock = newest_fit(list_known(Workspace(home), None, name), name, target=target).clock
                fit = fit_target(store, target, load_space(name), clock, Workspace(home / LEARNT)).chosen
                found[name, target] = fit.fitted.model
    return found


def judge(
    space: SearchSpace,
    target: Target,
    genotypes: Genotypes,
    store: Store,
    workspace: Workspace,
    learnt: FittedModel,
) -> dict[str, Any]:
    """Deployed networks int8[n, v] against their model as profiled, as `deploy --measure` promises, and as learnt."""
    known = list_known(workspace, None, space.name)
    model = newest_fit(known, space.name, target=target).fit
    assert model is not None
    suffix = suffixes_of(target)[0]
    count = company_of(model)
    company = find_company(store, space.name, target, model.clock, workspace.cache, suffix, networks=count)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for index, arch in enumerate(space.arch_ids(genotypes)):
            files[arch] = Path(folder) / f"{index}{suffix}"
            (graph, _), *_ = space.subnet_graphs(genotypes[index]).values()
            files[arch].write_bytes(writer_of(suffix[1:])(graph))
        found = measure_files(
            files, target, store, clock=model.clock, statistic=model.statistic, company=company, workspace=workspace
        )
    table = CalibratedTable(space, model)
    latencies = with_promises(found.latencies, found.observations, table)
    measured = np.array([found.latencies[arch].ms or np.nan for arch in space.arch_ids(genotypes)])
    level = [latency.sitting for latency in found.latencies.values() if latency.sitting is not None]
    seen = read_observations(store, target, space.name, model.clock, [found.campaign])
    return {
        "networks": len(genotypes),
        "ms": [float(np.nanmin(measured)), float(np.nanmax(measured))],
        "level": float(np.median(level)) if level else None,
        "said_busy": any(latency.is_busy for latency in found.latencies.values()),
        "other_programs": said_of(seen.others),
        "hours_since_profile": (seen.started_ns - model.fitted_ns) / 3.6e12,
        "company": count,
        "learnt_from": learnt.between_sittings.sittings,
        "learnt_level": float(np.exp(learnt.between_sittings.level)),
        "as_profiled": compare(table.predict(genotypes), measured),
        "today": compare(promised_today([latencies[arch] for arch in space.arch_ids(genotypes)]), measured),
        "learnt": compare(CalibratedTable(space, learnt).predict(genotypes), measured),
    }


def promised_today(latencies: Sequence[FileLatency]) -> Estimate:
    """What `deploy --measure` promises of files in the sitting in which it timed them; nan of those that failed."""
    promised = [None if one.promises is None else one.promises.this_sitting for one in latencies]
    mean = np.array([np.nan if one is None else one.ms for one in promised])
    std = np.array([np.nan if one is None else one.std_ms for one in promised])
    return Estimate(mean, std, Tier.MEASURED)


def compare(estimate: Estimate, measured: FloatArray) -> dict[str, float]:
    error = 100 * (measured / estimate.mean - 1)
    # What could not be measured, or was not promised, is not inside.
    inside = np.abs(measured - estimate.mean) <= Z90 * estimate.std
    return {
        "inside": int(inside.sum()),
        "coverage_90": float(inside.mean()),
        "median": float(np.nanmedian(np.abs(error))),
        "p95": float(np.nanquantile(np.abs(error), 0.95)),
        "bias": float(np.nanmean(error)),
        "interval_width": float(np.nanmedian(200 * Z90 * estimate.std / estimate.mean)),
    }


@contextmanager
def phone(folder: Path) -> Iterator[str]:
    """Android's own daemon in a chroot of this machine: the name of its device."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "adbd"))
    import daemon as adbd

    if reason := adbd.why_not():
        raise SystemExit(reason)
    # No server of the user's stands between; the sittings inherit it.
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(adbd.free_port())
    device = adbd.Daemon(adbd.build(), folder / "device").start()
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
    for number in range(len(found), options.sittings):
        print(f"sitting {number + 1} of {options.sittings} in {options.gap:.0f} s", flush=True)
        time.sleep(options.gap)
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
        for row in rows:
            print(
                f"sitting {number + 1}{' (busy core)' if is_busy else ''} {row['space']:14} {row['runtime']:12} "
                f"level {row['level'] or float('nan'):.3f}{', said busy' if row['said_busy'] else ''}",
                flush=True,
            )
            for way, title in JUDGED.items():
                one = row[way]
                print(
                    f"  {title:12} {one['inside']}/{row['networks']} inside, median {one['median']:.1f} %, "
                    f"p95 {one['p95']:.1f} %, width {one['interval_width']:.0f} %",
                    flush=True,
                )
        for way, title in JUDGED.items():
            inside = sum(row[way]["inside"] for row in rows)
            print(f"  all, {title}: {inside} of {sum(row['networks'] for row in rows)} inside", flush=True)
    return found


def earlier_runs(name: str) -> list[dict[str, Any]]:
    """What the result holds already, newest first: every run is told, not the best."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    last = json.loads(path.read_text())
    return [{key: last[key] for key in last if key != "earlier_runs"}, *last.get("earlier_runs", ())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sittings", type=int, default=4)
    parser.add_argument("--gap", type=float, default=600.0, help="seconds between two sittings")
    parser.add_argument("--rounds", type=int, default=8, help="of each profile")
    parser.add_argument("--keep", type=Path, help="folder for store and models; profiles in it are used as they are")
    parser.add_argument("--quick", action="store_true", help="one sitting, mini networks alone; nothing is written")
    parser.add_argument("--smallest", action="store_true", help="the smallest networks of the small space")
    parser.add_argument("--adb", action="store_true", help="over ADB, by Android's own daemon on this machine")
    parser.add_argument("--device", default="cpu", help=argparse.SUPPRESS)
    parser.add_argument("--sit", choices=["quiet", "busy"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sit:
        networks = {"ofa-mbv3-mini": 10} if options.quick or options.smallest else SPACES
        print(json.dumps(sit(options.keep, networks, options)))
        return
    if options.adb and options.keep:
        parser.error("over ADB the daemon has a new address in each run: leave --keep out")
    if options.quick:
        options.sittings, options.rounds = 1, 3
    if options.quick or options.smallest:
        del SPACES["ofa-mbv3-w1.0"]
    machine = describe()
    with tempfile.TemporaryDirectory() as temporary, phone(Path(temporary)) if options.adb else nullcontext() as name:
        options.device = name or options.device
        home = options.keep or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        profiles = profile(home, options)
        for row in profiles:
            row["coverage_over_draws"] = coverage_over_draws(home, options, row["space"], row["runtime"])
            print("profile", row["space"], row["runtime"], row["coverage_over_draws"], flush=True)
        asked = {"sittings": options.sittings, "gap": options.gap, "rounds": options.rounds}
        payload = {
            "bars": BARS,
            "looked_at": LOOKED_AT,
            "asked": asked,
            "profiles": profiles,
            "sittings": sittings(home, options),
        }
    if not options.quick:
        name = "promises" + "_adb" * options.adb + "_smallest" * options.smallest
        print(write(name, payload | {"earlier_runs": earlier_runs(name)}, machine))
    # Judged and written: the next run begins anew.
    (home / SITTINGS).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
