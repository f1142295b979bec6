"""Language models are spelled, counted and learnt as HW-GPT-Bench's tables have them."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.importing.importers import import_table
from fleetfront.pipelines.importing.tabular import costs_of
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.hwgpt_table import learn_perplexity, read_hwgpt
from fleetfront.predictors.table.learnt import LearntTable, SummaryRegression
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import ENERGY, LATENCY, PERPLEXITY
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.testing.cost_models import CostModelCase, check_relaxed
from fleetfront.workspace import Workspace

S = load_space("hw-gpt-s")


@pytest.mark.parametrize(("size", "tokens", "error"), [("s", 8192, 0.01), ("l", 1024, 0.005)])
def test_counts_are_the_tables_own_and_perplexity_is_learnt(
    shared_data: Path, size: str, tokens: int, error: float
) -> None:
    space, path = load_space(f"hw-gpt-{size}"), shared_data / "hwgpt" / f"gpt_{size}.csv.gz"
    table = read_hwgpt(path).of_space(space)
    genotypes = space.parse(table.arch_ids)
    assert np.array_equal(space.params(genotypes), table.column("params"))
    assert np.array_equal(tokens * space.macs(genotypes), table.column("macs"))
    learnt = learn_perplexity(path, space)
    assert learnt.quality == PERPLEXITY
    assert learnt.regression.relative_std < error
    known = np.isfinite(table.column("ppl"))
    off = -learnt.predict(genotypes[known]).mean / table.column("ppl")[known] - 1
    assert np.sqrt(np.mean(off**2)) < error


def test_fronts_are_of_perplexity_in_its_own_direction(shared_data: Path, tmp_path: Path) -> None:
    path, workspace = shared_data / "hwgpt" / "gpt_s.csv.gz", Workspace(tmp_path / "home")
    whole = read_hwgpt(path)
    table = replace(whole, arch_ids=whole.arch_ids[:600], rows=whole.rows[:600])
    with Store(workspace.store) as store:
        for metric in (LATENCY, ENERGY):
            import_table(path, S, store, metric=metric, unit="converted", table=costs_of(table, metric))
    (found,) = device_models(["rtx3080"], S, workspace=workspace, store=workspace.store, everywhere=True)
    (energy,) = device_models(
        ["rtx3080"], S, workspace=workspace, store=workspace.store, everywhere=True, metric=ENERGY
    )
    accuracy, out = learn_perplexity(path, S), tmp_path / "fronts"
    target = ProblemTarget("rtx3080", found.model, str(found.target), further={"energy": energy.model})
    options = SearchOptions("random", 150, extras=("energy",), share=2)
    (front,) = search_space(S, [target], accuracy, options, out=out).devices
    perplexity = [point.accuracy for point in front.trade_offs]
    assert perplexity == sorted(perplexity, reverse=True)
    assert 18 < perplexity[-1] < perplexity[0] < 60
    assert front.within(front.points[-1].latency_ms).accuracy == min(perplexity)
    again = load_fronts(out, S)
    assert again.quality == PERPLEXITY
    assert again.devices == (front,)
    again_from = search_space(S, [target], accuracy, options, out=out)
    assert again_from.devices[0].points == front.points
    assert "perplexity" in front._repr_html_()


def test_tables_teach_the_whole_space(shared_data: Path) -> None:
    table = read_hwgpt(shared_data / "hwgpt" / "gpt_s.csv.gz")
    costs = costs_of(table, LATENCY)
    genotypes, ms = S.parse(table.arch_ids), costs.values[:, costs.devices.index("P100")]
    model = LearntTable(SummaryRegression.fit(S, genotypes[:4000], ms[:4000]), Target("P100", "torch"))
    off = model.predict(genotypes[4000:]).mean / ms[4000:] - 1
    assert np.abs(off).mean() < 0.005
    check_relaxed(CostModelCase(model, S))
    with pytest.raises(InputError, match="too few to learn hw-gpt-s from"):
        SummaryRegression.fit(S, genotypes[:20], ms[:20])


def test_strange_tables_are_refused(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes((shared_data / "hwgpt" / "gpt_s.csv.gz").read_bytes()[:5000])
    with pytest.raises(InputError, match="Cannot read the table"):
        read_hwgpt(tmp_path / "cut.csv.gz")
    (tmp_path / "other.csv").write_text("arch,ppl\nx,1\n")
    with pytest.raises(InputError, match="no column embed_dim"):
        read_hwgpt(tmp_path / "other.csv")
    lines = gzip.decompress((shared_data / "hwgpt" / "gpt_s.csv.gz").read_bytes()).splitlines(keepends=True)
    (tmp_path / "few.csv").write_bytes(b"".join(lines[:30]))
    with pytest.raises(InputError, match="no network of hw-gpt-l"):
        learn_perplexity(tmp_path / "few.csv", load_space("hw-gpt-l"))
    with gzip.open(tmp_path / "twice.csv.gz", "wt") as file:
        file.write("embed_dim,n_layer,n_head,mlp_ratio,bias\n192,10\n")
    with pytest.raises(InputError, match="more or fewer cells"):
        read_hwgpt(tmp_path / "twice.csv.gz")
