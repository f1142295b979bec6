"""The whole search: files appear, killed searches go on to the same end, and measuring shows the winner's curse."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fleetfront.arrays import read_arrays, write_arrays
from fleetfront.errors import InputError
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.pipelines.search_verify import Verified, Verify, parse_verify
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.quantities import Estimate, Tier
from fleetfront.search.archive import Archive
from fleetfront.search.checkpoints import ARCHIVE_FILE, STATE_FILE, Checkpoints
from fleetfront.search.front import target_front
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import BlockSums

OPTIONS = SearchOptions(strategy="nsga2", evaluations=400, seed=3)


@pytest.fixture(scope="module")
def space():
    return load_space("nasbench201")


@pytest.fixture(scope="module")
def accuracy(space, shared_data):
    return load_accuracy(f"csv:{shared_data / 'nb201/nb201.csv'}:acc_cifar100", space)


@pytest.fixture(scope="module")
def target(space):
    return ProblemTarget("cpu", BlockSums(space, space.block_macs(space.vocabulary) / 1e6), "cpu/litert/fp32/t1/b1")


def plain(fronts):
    data = fronts.to_json()
    for volatile in ("seconds", "trace", "audit"):
        data.pop(volatile)
    return data


class Dying:
    """An accuracy model whose process is killed after some calls."""

    def __init__(self, model, calls):
        self.model, self.left = model, calls
        self.source, self.tier, self.fingerprint = model.source, model.tier, model.fingerprint

    def predict(self, genotypes):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return self.model.predict(genotypes)


def test_files_and_fronts(space, target, accuracy, tmp_path):
    fronts = search_space(space, [target], accuracy, OPTIONS, out=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.npz", "fronts.csv", "fronts.json"]
    assert load_fronts(tmp_path, space).to_json() == fronts.to_json()
    assert fronts.accuracy_tier == "measured"
    assert fronts.evaluations == 400


def test_a_killed_search_goes_on_to_the_same_end(space, target, accuracy, tmp_path, monkeypatch):
    whole = search_space(space, [target], accuracy, OPTIONS)
    monkeypatch.setattr("fleetfront.search.checkpoints._EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        search_space(space, [target], Dying(accuracy, 2), OPTIONS, out=tmp_path)
    assert not (tmp_path / "fronts.json").exists()
    resumed = search_space(space, [target], accuracy, OPTIONS, out=tmp_path)
    assert resumed.audit["recalled"] >= 190
    assert resumed.audit["evaluated"] == whole.audit["evaluated"] - resumed.audit["recalled"]
    assert plain(resumed) == plain(whole)


@pytest.mark.parametrize(
    ("strategy", "calls"),
    [("random:batch=40", 4), ("local-search", 2), ("hybrid", 6), ("hybrid", 23), ("surrogate:first=10", 9)],
)
def test_a_strategy_with_a_state_goes_on_from_it(space, target, accuracy, tmp_path, monkeypatch, strategy, calls):
    options = SearchOptions(strategy, evaluations=120 if strategy.startswith("surrogate") else 400, seed=3)
    whole = search_space(space, [target], accuracy, options)
    monkeypatch.setattr("fleetfront.search.checkpoints._EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        search_space(space, [target], Dying(accuracy, calls), options, out=tmp_path)
    assert (tmp_path / STATE_FILE).exists()
    before = len(resumed_archive(space, tmp_path))
    found, resume = [], Checkpoints.resume
    monkeypatch.setattr(Checkpoints, "resume", lambda self: found.append(resume(self)) or found[-1])
    resumed = search_space(space, [target], accuracy, options, out=tmp_path)
    assert found[0].trace
    assert plain(resumed) == plain(whole)
    assert resumed.audit["recalled"] == before
    assert [(p["evaluations"], p["hypervolume"]) for p in resumed.trace] == [
        (p["evaluations"], p["hypervolume"]) for p in whole.trace
    ]
    assert not (tmp_path / STATE_FILE).exists()


def test_the_state_of_another_run_or_device_is_not_gone_on_from(space, target, accuracy, tmp_path, monkeypatch):
    options = SearchOptions("random:batch=40", 200)
    with pytest.raises(KeyboardInterrupt):
        search_space(space, [target], Dying(accuracy, 3), options, out=tmp_path)
    slower = replace(target, cost=Scaled(target.cost, 1.5))
    for other, changed in (([target], replace(options, seed=1)), ([slower], options)):
        copy = tmp_path / str(changed.seed)
        shutil.copytree(tmp_path, copy, ignore=lambda *_: {"0", "1"})
        alone = search_space(space, other, accuracy, changed)
        assert plain(search_space(space, other, accuracy, changed, out=copy)) == plain(alone)


def test_a_damaged_state_costs_a_sentence_and_no_evaluation(space, target, accuracy, tmp_path):
    options = SearchOptions("hybrid", 200)
    with pytest.raises(KeyboardInterrupt):
        search_space(space, [target], Dying(accuracy, 9), options, out=tmp_path)
    state = read_arrays(tmp_path / STATE_FILE)
    for name, value in (("strategy.next", "_nowhere"), ("strategy.waiting", "x"), ("counter", "[]"), ("rows", "x")):
        write_arrays(tmp_path / STATE_FILE, {**state, name: value})
        with pytest.raises(InputError, match=r"search-state\.npz is damaged"):
            search_space(space, [target], accuracy, options, out=tmp_path)
    (tmp_path / STATE_FILE).unlink()
    again = search_space(space, [target], accuracy, options, out=tmp_path)
    assert plain(again) == plain(search_space(space, [target], accuracy, options))


def test_another_accuracy_does_not_reuse_the_folder(space, target, accuracy, shared_data, tmp_path):
    search_space(space, [target], accuracy, OPTIONS, out=tmp_path)
    other = load_accuracy(f"csv:{shared_data / 'nb201/nb201.csv'}:acc_cifar10", space)
    with pytest.raises(InputError, match="belongs to another search: its accuracy is"):
        search_space(space, [target], other, OPTIONS, out=tmp_path)


def test_a_table_that_changed_under_its_name_is_not_recalled(space, target, accuracy, tmp_path):
    search_space(space, [target], accuracy, OPTIONS, out=tmp_path)
    mended = replace(accuracy, accuracy=accuracy.accuracy + 0.01)
    assert mended.source == accuracy.source
    with pytest.raises(InputError, match=r"belongs to another search: its csv:.*'s content is"):
        search_space(space, [target], mended, OPTIONS, out=tmp_path)


def test_what_interrupts_a_search_costs_no_evaluation(space, target, accuracy, tmp_path):
    search_space(space, [target], accuracy, OPTIONS, out=tmp_path)
    other = replace(OPTIONS, seed=4)
    with pytest.raises(KeyboardInterrupt):
        search_space(space, [target], Dying(accuracy, 1), other, out=tmp_path)
    resumed = search_space(space, [target], accuracy, other, out=tmp_path)
    whole = search_space(space, [target], accuracy, other)
    # The first hundred of seed 4 are known although the archive of seed 3 was longer than the interrupted one.
    first = run_once(space, target, accuracy, replace(other, evaluations=100))
    assert first <= set(resumed_archive(space, tmp_path))
    assert plain(resumed) == plain(whole)


def test_checkpoints_keep_what_another_seed_adds(space, target, accuracy, tmp_path, monkeypatch):
    search_space(space, [target], accuracy, OPTIONS, out=tmp_path)
    before = len(resumed_archive(space, tmp_path))
    monkeypatch.setattr("fleetfront.search.checkpoints._EVERY_S", 0.0)
    sizes = []
    save = Archive.save

    def counted(archive, path, about):
        sizes.append(len(archive))
        save(archive, path, about)

    monkeypatch.setattr(Archive, "save", counted)
    search_space(space, [target], accuracy, replace(OPTIONS, seed=4), out=tmp_path)
    assert before < sizes[0] < sizes[-1]


def test_a_folder_that_cannot_be_written_is_refused_before_the_search(space, target, accuracy, tmp_path):
    (tmp_path / "file").write_text("")
    nothing = Dying(accuracy, 0)
    for out in (tmp_path / "file", tmp_path / "file" / "fronts"):
        with pytest.raises(InputError, match="Cannot write results into") as raised:
            search_space(space, [target], nothing, OPTIONS, out=out)
        assert "--out" in raised.value.remedy


def test_what_cannot_be_started_from_is_left_alone(space, target, accuracy, tmp_path):
    wrong = tmp_path / "fronts.json"
    wrong.write_text("{}")
    for path in (wrong, tmp_path / "absent" / ARCHIVE_FILE):
        with pytest.raises(InputError) as raised:
            search_space(space, [target], accuracy, replace(OPTIONS, start_from=path))
        assert "--start-from" in raised.value.remedy
        assert "elete" not in raised.value.remedy


def test_the_hypervolume_that_a_search_starts_with_is_told(space, target, accuracy, tmp_path):
    first = search_space(space, [target], accuracy, OPTIONS, out=tmp_path)
    options = SearchOptions("random", 20, start_from=tmp_path / ARCHIVE_FILE)
    again = search_space(space, [target], accuracy, options)
    assert again.trace[0]["hypervolume"] == [first.device("cpu").hypervolume]


def test_a_device_joins_a_finished_search(space, target, accuracy, tmp_path):
    first = search_space(space, [target], accuracy, OPTIONS, out=tmp_path / "a")
    joined = ProblemTarget("other", BlockSums(space, space.block_params(space.vocabulary) / 1e4))
    options = SearchOptions("random", 20, start_from=tmp_path / "a" / ARCHIVE_FILE)
    both = search_space(space, [target, joined], accuracy, options, out=tmp_path / "b")
    assert both.evaluations == 20
    assert both.audit["adopted"] == first.audit["evaluated"]
    assert both.device("cpu").hypervolume >= first.device("cpu").hypervolume
    assert len(both.device("other").points) > 3


@pytest.fixture(scope="module")
def other_accuracy(space, shared_data):
    return load_accuracy(f"csv:{shared_data / 'nb201/nb201.csv'}:acc_cifar10", space)


def test_another_task_says_where_to_look_first_and_counts_nothing(space, target, accuracy, other_accuracy, tmp_path):
    there = search_space(space, [target], other_accuracy, SearchOptions("surrogate", 60, 1), out=tmp_path / "a")
    options = SearchOptions("surrogate", 24, 1)
    plain_search = search_space(space, [target], accuracy, options)
    led = replace(options, start_from=tmp_path / "a" / ARCHIVE_FILE)
    found = search_space(space, [target], accuracy, led, out=tmp_path / "b")
    assert (found.evaluations, found.audit["adopted"], found.audit["evaluated"]) == (24, 0, 24)
    assert found.device("cpu").hypervolume > plain_search.device("cpu").hypervolume
    points = found.device("cpu").points
    own = accuracy.predict(space.parse([point.arch for point in points])).mean
    assert [point.accuracy for point in points] == own.tolist()
    assert there.accuracy_source != found.accuracy_source
    kept = Archive.load(tmp_path / "b" / ARCHIVE_FILE, {"accuracy": accuracy.source})
    assert len(kept) == 24


def test_a_killed_search_with_a_prior_goes_on_to_the_same_end(
    space, target, accuracy, other_accuracy, tmp_path, monkeypatch
):
    search_space(space, [target], other_accuracy, SearchOptions("random", 40, 1), out=tmp_path / "a")
    options = SearchOptions("surrogate", 28, 1, start_from=tmp_path / "a" / ARCHIVE_FILE)
    whole = search_space(space, [target], accuracy, options)
    monkeypatch.setattr("fleetfront.search.checkpoints._EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        search_space(space, [target], Dying(accuracy, 3), options, out=tmp_path / "b")
    assert plain(search_space(space, [target], accuracy, options, out=tmp_path / "b")) == plain(whole)


def test_a_prior_is_refused_where_nothing_learns_from_it(space, target, accuracy, other_accuracy, tmp_path):
    search_space(space, [target], other_accuracy, SearchOptions("random", 12, 1), out=tmp_path)
    start = tmp_path / ARCHIVE_FILE
    with pytest.raises(InputError, match="12 accuracies, too few"):
        search_space(space, [target], accuracy, SearchOptions("surrogate", 24, start_from=start))
    search_space(space, [target], other_accuracy, SearchOptions("random", 30, 1), out=tmp_path)
    with pytest.raises(InputError, match="random learns nothing from it"):
        search_space(space, [target], accuracy, SearchOptions("random", 24, start_from=start))


def resumed_archive(space, folder):
    return [bytes(row) for row in Archive.load(folder / ARCHIVE_FILE, {"space": space.name}).genotypes]


def run_once(space, target, accuracy, options):
    asked = set()

    class Noting(Dying):
        def predict(self, genotypes):
            asked.update(map(bytes, genotypes))
            return self.model.predict(genotypes)

    search_space(space, [target], Noting(accuracy, 1), options)
    return asked


class BiasedDevice:
    """Measures by the true model; the refit learns the bias of what was measured."""

    def __init__(self, truth):
        self.truth, self.seen = truth, []

    def check(self, target):
        if target.name == "far":
            raise InputError("far cannot be measured here.", "Leave it out.")

    def verify(self, target, genotypes):
        measured = self.truth.predict(genotypes).mean
        self.seen.append(len(genotypes))
        factor = float((measured / target.cost.predict(genotypes).mean).mean())
        return Verified(measured, Scaled(target.cost, factor))


class Scaled:
    tier = Tier.MEASURED

    def __init__(self, model, factor):
        self.model, self.factor, self.metric = model, factor, model.metric

    def predict(self, genotypes):
        estimate = self.model.predict(genotypes)
        return Estimate(self.factor * estimate.mean, estimate.std, self.tier)


def test_verification_measures_the_front_refits_and_shows_the_curse(space, target, accuracy, tmp_path):
    device = BiasedDevice(BlockSums(space, 1.25 * space.block_macs(space.vocabulary) / 1e6))
    fronts = search_space(space, [target], accuracy, OPTIONS, out=tmp_path, verify=Verify(6, device))
    shown = fronts.verification["devices"]["cpu"]
    assert device.seen == [6]
    assert shown["networks"] == 6
    assert shown["optimism_percent"] == pytest.approx(25)
    assert shown["mape_refitted"] == pytest.approx(0, abs=1e-9)
    assert fronts.evaluations == 800
    assert fronts.audit["adopted"] == 0
    first = search_space(space, [target], accuracy, OPTIONS)
    latencies = [np.array([p.latency_ms for p in f.device("cpu").points]) for f in (first, fronts)]
    assert latencies[1].min() == pytest.approx(1.25 * latencies[0].min())
    assert json.loads((tmp_path / "fronts.json").read_text())["verification"]["top"] == 6


def test_what_cannot_be_measured_is_refused_before_the_search(space, target, accuracy):
    far = replace(target, name="far")
    with pytest.raises(InputError, match="far cannot be measured here"):
        search_space(space, [target, far], Dying(accuracy, 0), OPTIONS, verify=Verify(3, BiasedDevice(None)))


def test_an_empty_front_has_nothing_to_measure(space, target, accuracy):
    limited = replace(
        target, name="tight", limit=float(target.cost.predict(space.sample(999, np.random.default_rng(0))).mean.min())
    )
    device = BiasedDevice(target.cost)
    options = SearchOptions("random", 2)
    fronts = search_space(space, [limited, target], accuracy, options, verify=Verify(3, device))
    assert list(fronts.verification["devices"]) == ["cpu"]
    assert not fronts.device("tight").points


def test_verification_keeps_what_the_folder_knew(space, target, accuracy, tmp_path):
    search_space(space, [target], accuracy, OPTIONS, out=tmp_path)
    before = set(resumed_archive(space, tmp_path))
    device = BiasedDevice(BlockSums(space, 1.25 * space.block_macs(space.vocabulary) / 1e6))
    search_space(space, [target], accuracy, SearchOptions("random", 30), out=tmp_path, verify=Verify(3, device))
    after = set(resumed_archive(space, tmp_path))
    assert before < after


def test_parse_verify():
    assert parse_verify("top:10") == 10
    for text in ("top:", "top:0", "best:3", "10"):
        with pytest.raises(InputError, match="Write top:K"):
            parse_verify(text)


@pytest.fixture(scope="module")
def part(space, shared_data, tmp_path_factory):
    """The accuracies of 300 of the 15,625 cells."""
    lines = (shared_data / "nb201/nb201.csv").read_text().splitlines(keepends=True)
    path = tmp_path_factory.mktemp("part") / "part.csv"
    path.write_text("".join([lines[0], *lines[1:9001:30]]))
    return load_accuracy(f"csv:{path}:acc_cifar100", space)


def test_a_part_of_a_space_is_searched_inside_its_table(space, part, accuracy, target, tmp_path):
    fronts = search_space(space, [target], part, SearchOptions(evaluations=400), out=tmp_path)
    assert (fronts.strategy, fronts.evaluations) == ("table", 300)
    assert "every network of the accuracy table" in fronts.statement
    networks = part.networks()
    cost, right = target.cost.predict(networks).mean, accuracy.predict(networks).mean
    best = [space.arch_ids(networks[[row]])[0] for row in target_front(cost, right)]
    assert [point.arch for point in fronts.devices[0].points] == best
    again = search_space(space, [target], part, SearchOptions(evaluations=400), out=tmp_path)
    assert plain(again) == plain(fronts)


def test_a_budget_below_a_table_takes_some_of_it_and_says_so(space, part, target):
    fronts = search_space(space, [target], part, SearchOptions(evaluations=100))
    assert fronts.evaluations == 100
    assert "Of 100 of 300 networks of the accuracy table" in fronts.statement


def test_a_strategy_that_somebody_named_is_not_sent_beyond_a_table(space, part, target):
    options = SearchOptions("nsga2", 400, is_chosen=True)
    with pytest.raises(InputError, match="holds a part of nasbench201") as caught:
        search_space(space, [target], part, options)
    assert "Leave --strategy out" in caught.value.remedy


def test_genes_that_are_held_narrow_a_table(space, part, target):
    held = {space.gene_names[0]: space.choices[0][1]}
    fronts = search_space(space, [target], part, SearchOptions(evaluations=400, fixed=held))
    assert fronts.evaluations == int((part.networks()[:, 0] == 1).sum())
