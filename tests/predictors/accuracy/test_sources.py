"""Accuracy models against the facts they were made from, and refusals where they know nothing."""

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.predictors.accuracy.built_in import BEYOND_SLOPE, load_built_in
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.quantities import Tier
from fleetfront.spaces.catalogue import load_space

MLP = "ofa_mbv3/acc_predictor_w12.pth"


@pytest.fixture(scope="module")
def w12():
    return load_space("ofa-mbv3-w1.2")


@pytest.fixture(scope="module")
def mlp(shared_data, w12):
    return load_accuracy(f"ofa-mlp:{shared_data / MLP}", w12)


# Tables


def test_a_table_answers_for_its_rows_and_names_the_first_it_lacks(shared_data):
    space = load_space("nasbench201")
    model = load_accuracy(f"csv:{shared_data / 'nb201/nb201.csv'}:acc_cifar100", space)
    cells = space.every()[[15624, 0, 77]]
    lines = (shared_data / "nb201/nb201.csv").read_text().splitlines()
    by_arch = {line.split(",")[0]: float(line.split(",")[2]) for line in lines[1:]}
    assert model.predict(cells).mean.tolist() == [by_arch[arch] for arch in space.arch_ids(cells)]
    assert model.tier is Tier.MEASURED
    assert model.lowest == min(by_arch.values())


def test_a_table_with_its_own_names_and_standard_deviations(shared_data):
    space = load_space("ofa-mbv3-w1.0")
    model = load_accuracy(f"csv:{shared_data / 'ofa_mbv3/imagenet_top1_w10_r224.csv'}", space)
    arch = "k57003330550073335550_e43004630430036664340_d23243_r224"
    estimate = model.predict(space.parse([arch]))
    assert (estimate.mean[0], estimate.std[0]) == (75.456, 0.0072)
    with pytest.raises(InputError, match="_r128 is not among the 1729 architectures"):
        model.predict(space.parse([arch.replace("r224", "r128")]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell,acc\nx,1\n", "no column 'arch'"),
        ("arch,top5\n{a},90\n", "no column of accuracies"),
        ("arch,acc_a,acc_b\n{a},90,91\n", "several columns of accuracies: acc_a, acc_b"),
        ("arch,acc\n{a},0.91\n", "these are shares"),
        ("arch,acc\n{a},n/a\n", "Line 2 .* which is not a percentage"),
        ("arch,acc\n{a},191\n", "Line 2 .* which is not a percentage"),
        ("arch,acc\n{a},90\n{a},91\n", "Line 3 .* another accuracy"),
        ("arch,acc\n{a}\n", "Line 2 .* has not 2 fields"),
        ("arch,acc\n", "no rows"),
    ],
)
def test_wrong_tables_are_explained(tmp_path, text, message):
    space = load_space("nasbench201")
    path = tmp_path / "table.csv"
    path.write_text(text.replace("{a}", space.arch_ids(space.every()[:1])[0]))
    with pytest.raises(InputError, match=message):
        load_accuracy(f"csv:{path}", space)


# Once-for-all's network


def test_the_network_says_what_torch_says(shared_data, mlp, w12):
    import torch

    state = torch.load(shared_data / MLP, weights_only=True, map_location="cpu")
    genotypes = w12.sample(3000, np.random.default_rng(0))
    features = np.zeros((len(genotypes), 128), np.float32)
    for row, config in zip(features, map(w12.to_config, genotypes), strict=True):
        for slot, (kernel, expansion) in enumerate(zip(config["kernels"], config["expansions"], strict=True)):
            if kernel:
                row[3 * slot + (3, 5, 7).index(kernel)] = 1
                row[60 + 3 * slot + (3, 4, 6).index(expansion)] = 1
        row[120 + (config["resolution"] - 112) // 16] = 1
    x = torch.from_numpy(features)
    for layer in (0, 2, 4):
        x = torch.relu(x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"])
    expected = 100 * (x @ state["6.weight"].T + state["6.bias"])[:, 0].numpy()
    assert np.allclose(mlp.predict(genotypes).mean, expected, atol=2e-4)


def test_the_network_refuses_what_it_was_not_trained_on(shared_data, tmp_path):
    with pytest.raises(InputError, match=r"ofa-mbv3-w1.0 has 132 too"):
        load_accuracy(f"ofa-mlp:{shared_data / MLP}", load_space("ofa-mbv3-w1.0"))
    with pytest.raises(InputError, match="does not know the space nasbench201"):
        load_accuracy(f"ofa-mlp:{shared_data / MLP}", load_space("nasbench201"))
    path = tmp_path / "x.pth"
    path.write_bytes(b"not weights")
    with pytest.raises(InputError, match="not a file of network weights"):
        load_accuracy(f"ofa-mlp:{path}", load_space("ofa-mbv3-w1.2"))


# Built in


def test_w10_repeats_what_was_measured_and_refuses_other_resolutions(shared_data):
    space = load_space("ofa-mbv3-w1.0")
    model = load_built_in(space)
    measured = load_accuracy(f"csv:{shared_data / 'ofa_mbv3/imagenet_top1_w10_r224.csv'}", space)
    estimate = model.predict(measured.genotypes)
    error = estimate.mean - measured.accuracy
    assert np.abs(error).mean() < model.about["held_out"]["mae"]
    assert np.mean(np.abs(error) <= 1.645 * estimate.std) > 0.9
    strangers = space.sample(200, np.random.default_rng(0))
    strangers[:, -1] = len(space.resolutions) - 1
    # Random networks are unlike the searched ones that were measured, and the model knows.
    assert np.median(model.predict(strangers).std) > 1.05 * np.median(estimate.std)
    strangers[7, -1] = 0
    with pytest.raises(InputError, match=r"measurements at 224 px only .*_r128"):
        model.predict(strangers)
    assert model.required == {"resolution": 224}


def test_w12_ranks_as_its_teacher(mlp, w12):
    from scipy.stats import spearmanr

    model = load_built_in(w12)
    genotypes = w12.sample(4000, np.random.default_rng(1))
    assert spearmanr(model.teacher_scale(genotypes), mlp.predict(genotypes).mean)[0] > 0.99
    assert spearmanr(model.predict(genotypes).mean, mlp.predict(genotypes).mean)[0] > 0.99


def test_w12_does_not_extrapolate(w12):
    model = load_built_in(w12)
    genotypes = w12.sample(5000, np.random.default_rng(2))
    least, most = np.zeros((1, 46), np.int8), np.full((1, 46), 2, np.int8)
    most[0, -1] = 4
    estimate = model.predict(np.concatenate([genotypes, least, most]))
    # The ends of the published level, and the little that keeps networks beyond them in order.
    slack = 20 * BEYOND_SLOPE
    assert estimate.mean.min() > 73.6 - slack
    assert estimate.mean.max() < 79.1 + slack
    beyond = model.beyond_range(np.concatenate([genotypes, least]))
    assert beyond[-1]
    inside = estimate.std[: len(genotypes)][~beyond[:-1]]
    assert 0.5 <= inside.min() <= inside.max() < 0.9
    assert estimate.std[-2] > 2


def test_spaces_without_one_name_the_way_out():
    with pytest.raises(InputError, match=r"no built-in accuracy for the space ofa-mbv3-mini .*supernet:WEIGHTS"):
        load_accuracy("built-in", load_space("ofa-mbv3-mini"))


def test_spellings(w12):
    with pytest.raises(InputError, match="Use one of built-in, csv:PATH"):
        load_accuracy("guess", w12)
    with pytest.raises(InputError, match="does not say which file"):
        load_accuracy("csv:", w12)
    handed = []
    assert load_accuracy("supernet:a:b.pt", w12, supernet=lambda rest, space: handed.append((rest, space))) is None
    assert handed == [("a:b.pt", w12)]


def test_beyond_what_was_measured_the_deviation_grows_as_the_nearest_slope(w12):
    model = load_built_in(w12)
    genotypes = np.concatenate([w12.sample(3000, np.random.default_rng(2)), np.zeros((1, 46), np.int8)])
    rank, std = model.teacher_scale(genotypes), model.predict(genotypes).std
    below = rank < model.teacher[0]
    assert below.any()
    slope = (model.measured[1] - model.measured[0]) / (model.teacher[1] - model.teacher[0])
    wanted = np.hypot(float(model.about["std"]), slope * (model.teacher[0] - rank[below]))
    np.testing.assert_allclose(std[below], wanted)
