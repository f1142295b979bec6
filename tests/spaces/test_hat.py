"""Transformers are counted as others count them; latencies and the few BLEU points teach what they can."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.importing.tabular import read_hat
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.bleu_table import learn_bleu
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.predictors.table.learnt import LearntTable, SummaryRegression
from fleetfront.quantities import BLEU
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target

HAT = load_space("hat-wmt14")
TASK = "WMT'14 En-De"


def test_parameters_are_those_that_were_published() -> None:
    # The first network of DyNAS-T's table, whose parameters it counts as 39,398,784.
    arch = "e640_d640_ef1024-2048-3072-3072-3072-1024_eh8-8-8-8-8-8_dl3_df3072-1024-1024_dh8-4-8_dc8-4-4_dn2-1-1"
    assert HAT.params(HAT.parse([arch])).tolist() == [39_398_784]


@pytest.mark.parametrize("device", ["cpu_xeon", "cpu_raspberrypi", "gpu_titanxp"])
def test_tables_of_means_become_networks_with_the_same_sums(shared_data: Path, device: str) -> None:
    path = shared_data / "hat" / f"wmt14ende_{device}_all.csv"
    table = read_hat(path, "xeon")
    assert table.devices == ("xeon", "xeon_encoder", "xeon_decoder")
    assert np.allclose(table.values[:, 0], table.values[:, 1:].sum(axis=1))
    sums = HAT.sums(HAT.parse(table.arch_ids))
    import csv

    rows = list(csv.DictReader(path.open()))
    layers = np.array([int(row["decoder_layer_num"]) for row in rows])
    for name, of, n in (
        ("encoder_ffn", "encoder_ffn_embed_dim_avg", 6),
        ("encoder_heads", "encoder_self_attention_heads_avg", 6),
        ("decoder_ffn", "decoder_ffn_embed_dim_avg", layers),
        ("decoder_cross_heads", "decoder_ende_attention_heads_avg", layers),
        ("decoder_listens_to", "decoder_arbitrary_ende_attn_avg", layers),
    ):
        found = sums[HAT.summary_weights()[1].index(name)]
        assert np.allclose(found, np.array([float(row[of]) for row in rows]) * n)


def test_fronts_of_bleu_say_how_much_few_points_allow(shared_data: Path) -> None:
    table = read_hat(shared_data / "hat" / "wmt14ende_cpu_xeon_all.csv", "xeon")
    latency = SummaryRegression.fit(HAT, HAT.parse(table.arch_ids), table.values[:, 0])
    assert latency.relative_std < 0.07
    path = shared_data / "hat_published" / "hat_subtransformers.csv"
    accuracy = load_accuracy(f"bleu:{path}:{TASK}", HAT)
    (warning,) = accuracy.warnings  # type: ignore[attr-defined]
    assert "17 networks tell BLEU: a new one is 0.34 off" in warning
    target = ProblemTarget("xeon", LearntTable(latency, Target("xeon", "torch")))
    fronts = search_space(HAT, [target], accuracy, SearchOptions("random", 200))
    assert fronts.quality == BLEU
    points = fronts.devices[0].points
    assert all(24 < point.accuracy < 29 for point in points)
    assert all("accuracy_is_beyond_range" in point.more for point in points)
    assert any(not point.more["accuracy_is_beyond_range"] for point in points)


def test_strange_tables_are_refused(shared_data: Path, tmp_path: Path) -> None:
    published = shared_data / "hat_published"
    supernet = learn_bleu(published / "dynas_transformerlt_bleu.csv", HAT)
    assert (supernet.points, round(supernet.error, 2)) == (19, 0.42)
    with pytest.raises(InputError, match="of several tasks"):
        learn_bleu(published / "hat_subtransformers.csv", HAT)
    with pytest.raises(InputError, match="tells 6 networks of WMT'19 En-De, 10 are needed"):
        learn_bleu(published / "hat_subtransformers.csv", HAT, "WMT'19 En-De")
    with pytest.raises(InputError, match="not a table of transformers"):
        read_hat(published / "dynas_transformerlt_bleu.csv", "xeon")
    (tmp_path / "odd.csv").write_text(
        (shared_data / "hat" / "wmt14ende_cpu_xeon_all.csv").read_text().replace("1194.6", "1199.9", 1)
    )
    with pytest.raises(InputError, match="a mean of 1199"):
        read_hat(tmp_path / "odd.csv", "xeon")
