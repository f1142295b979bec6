"""A user's own function is asked in a process of its own; time-outs, crashes and failures become rows, no numbers."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.quantities import Tier
from fleetfront.search.archive import Archive
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import synthetic_latencies

MINI = load_space("ofa-mbv3-mini")
ROWS = np.unique(MINI.sample(6, np.random.default_rng(0)), axis=0)
FILE = """
import os, sys, time
import beside

def accuracy(arch):
    print("training", arch)  # must not reach the answers
    return 60 + len(arch.replace("0", "")) / 10

def share(arch):
    return beside.SHARE

def fails(arch):
    raise RuntimeError("out of memory")

def crashes(arch):
    os._exit(3)

def sleeps(arch):
    time.sleep(60)

def flaky(arch):
    path = "tries.txt"
    done = os.path.exists(path)
    open(path, "a").close()
    if not done:
        raise RuntimeError("once")
    return 71.5

def some(arch):
    if hash_of(arch) % 3 == 0:
        raise ValueError("diverged\\nbadly")
    return 60 + hash_of(arch) % 20

def repairable(arch):
    return 75 if os.path.exists("repaired") else some(arch)

def hash_of(arch):
    return sum(map(ord, arch))

def passes(arch):
    return len(arch) % 2 == 0

def nothing(arch):
    return float("nan")
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("SHARE = 0.93\n")
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path / "mine.py"


def rows_of(folder):
    with (folder / "calls.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_function_answers_from_architectures(file):
    model = load_accuracy("call:mine.py:accuracy", MINI)
    found = model.predict(ROWS)
    assert found.mean.tolist() == [60 + len(arch.replace("0", "")) / 10 for arch in MINI.arch_ids(ROWS)]
    assert (found.std.max(), model.tier, model.source) == (0.0, Tier.MEASURED, "call:mine.py:accuracy")


def test_fractions_are_declared_or_refused(file):
    with pytest.raises(InputError, match=r"gave 0\.93 .* a fraction of 1, or a percentage") as refused:
        load_accuracy("call:mine.py:share", MINI).predict(ROWS)
    assert "call:mine.py:share,unit=fraction" in refused.value.remedy
    for unit, value in (("fraction", 93.0), ("percent", 0.93), ("error", 99.07)):
        model = load_accuracy(f"call:mine.py:share,unit={unit}", MINI)
        assert model.predict(ROWS[:1]).mean[0] == pytest.approx(value)
    with pytest.raises(InputError, match=r"gave 6.* no accuracy as fraction"):
        load_accuracy("call:mine.py:accuracy,unit=fraction", MINI).predict(ROWS)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("fails", "RuntimeError: out of memory"),
        ("crashes", "exit status 3"),
        ("sleeps,timeout=0.2", "no answer within 0.2 s"),
        ("nothing", "is no number"),
    ],
)
def test_a_function_that_never_answers_ends_the_search(file, function, reason):
    model = load_accuracy(f"call:mine.py:{function},retries=0", MINI)
    with pytest.raises(InputError, match=f"failed for each of the first 3 networks: .*{reason}"):
        model.predict(ROWS)


def test_a_try_that_failed_is_repeated_and_counted(file, tmp_path):
    model = load_accuracy("call:mine.py:flaky,retries=2", MINI)
    model.keep_calls(tmp_path)
    assert model.predict(ROWS[:2]).mean.tolist() == [71.5, 71.5]
    assert [(row["accuracy"], row["tries"]) for row in rows_of(tmp_path)] == [("71.5", "2"), ("71.5", "1")]


def test_failed_networks_are_rows_and_on_no_front(file, tmp_path):
    targets = [ProblemTarget("d", synthetic_latencies(MINI, 1)[0])]
    options = SearchOptions("random", 24)

    def searched(out):
        return search_space(MINI, targets, load_accuracy("call:mine.py:some,retries=0", MINI), options, out=out)

    fronts = searched(tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    failed = [row["arch"] for row in rows if row["error"]]
    assert len(rows) == 24
    assert 0 < len(failed) == fronts.audit["failed"] < 24
    assert {row["error"] for row in rows if row["error"]} == {"ValueError: diverged badly"}
    assert not {point.arch for point in fronts.devices[0].points} & set(failed)
    kept = Archive.load(tmp_path / "out" / "archive.npz", {})
    assert int(np.isinf(kept.accuracy_std).sum()) == len(failed)
    again = searched(tmp_path / "out")
    assert again.devices[0].points == fronts.devices[0].points
    assert again.audit["failed"] == len(failed)
    assert len(rows_of(tmp_path / "out")) == 24, "what was asked is not asked again"


def test_a_failed_network_counts_as_the_worst_known(file, tmp_path):
    model = load_accuracy("call:mine.py:some,retries=0", MINI)
    model.keep_calls(tmp_path)
    networks = np.unique(MINI.sample(24, np.random.default_rng(1)), axis=0)
    told = model.predict(networks)
    failed = np.isinf(told.std)
    assert 0 < failed.sum() < len(networks)
    assert set(told.mean[failed]) == {told.mean[~failed].min()} != {told.mean[~failed].max()}


def test_failed_networks_are_asked_for_again_where_a_user_wants_it(file, tmp_path):
    targets = [ProblemTarget("d", synthetic_latencies(MINI, 1)[0])]
    options = SearchOptions("random", 24)

    def searched(**changes):
        model = load_accuracy("call:mine.py:repairable,retries=0", MINI)
        return search_space(MINI, targets, model, replace(options, **changes), out=tmp_path)

    failed = searched().audit["failed"]
    assert failed > 0
    still = searched(retry_failed=True)
    assert (still.audit["failed"], still.audit["recalled"]) == (failed, 24 - failed)
    again = [row for row in rows_of(tmp_path) if row["error"]]
    assert [row["tries"] for row in again] == ["1"] * failed + ["2"] * failed
    Path("repaired").touch()
    assert searched().audit["failed"] == failed
    assert searched(retry_failed=True).audit["failed"] == 0
    assert {row["tries"] for row in rows_of(tmp_path)[-failed:]} == {"3"}
    assert searched().audit["failed"] == 0


def test_rows_answer_for_the_function_that_wrote_them_alone(file, tmp_path):
    first = load_accuracy("call:mine.py:accuracy", MINI)
    first.keep_calls(tmp_path)
    first.predict(ROWS)
    second = load_accuracy("call:mine.py:accuracy", MINI)
    second.keep_calls(tmp_path)
    second.predict(ROWS)
    assert len(rows_of(tmp_path)) == len(ROWS)
    file.write_text(FILE.replace("60 + len", "50 + len"))
    third = load_accuracy("call:mine.py:accuracy", MINI)
    assert third.fingerprint != first.fingerprint
    third.keep_calls(tmp_path)
    assert third.predict(ROWS).mean == pytest.approx(first.predict(ROWS).mean - 10)
    (tmp_path / "calls.csv").write_text("arch,acc\n")
    with pytest.raises(InputError, match="no table of calls"):
        load_accuracy("call:mine.py:accuracy", MINI).keep_calls(tmp_path)


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("call:", "does not say which file"),
        ("call:mine.py", "does not name a function"),
        ("call:absent.py:accuracy", "no file absent.py"),
        ("call:mine.py:accuracy,limit=3", "limit"),
        ("call:mine.py:accuracy,timeout=soon", "timeout = soon"),
        ("call:mine.py:accuracy,timeout=-1", "timeout=-1"),
        ("call:mine.py:accuracy,unit=share", "unit = share"),
        ("call:mine.py:accurcy", "has no function 'accurcy', only accuracy, share"),
        ("call:beside.py:accuracy", "only none"),
    ],
)
def test_slips_are_refused(file, spelled, message):
    with pytest.raises(InputError, match=message):
        load_accuracy(spelled, MINI).predict(ROWS)


def test_a_file_that_does_not_load_says_why(file, tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_like_it\n")
    with pytest.raises(InputError, match="cannot be loaded: ModuleNotFoundError"):
        load_accuracy("call:broken.py:accuracy", MINI).predict(ROWS)


def test_a_function_may_say_pass_or_fail_alone(file):
    model = load_accuracy("call:mine.py:passes,unit=pass", MINI)
    assert model.predict(ROWS).mean.tolist() == [float(len(arch) % 2 == 0) for arch in MINI.arch_ids(ROWS)]
    assert (model.quality.title, model.quality.unit) == ("pass", "")
    with pytest.raises(InputError, match=r"not whether it passes\.[^.]*bool"):
        load_accuracy("call:mine.py:accuracy,unit=pass", MINI).predict(ROWS)
