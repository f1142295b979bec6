import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.spaces.base import Additive, DescribesBlocks, Genotypes, Interpolable, SearchSpace
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space, ofa_mbv3_mini, ofa_mbv3_mini64, ofa_mbv3_w10, ofa_mbv3_w12

W10, W12, MINI, MINI64 = ofa_mbv3_w10(), ofa_mbv3_w12(), ofa_mbv3_mini(), ofa_mbv3_mini64()
SPACES = [W10, W12, MINI, MINI64]

few = settings(max_examples=15, deadline=None)
spaces = st.sampled_from(SPACES)
seeds = st.integers(0, 2**32 - 1)


def any_genotypes(space: OfaMbv3Space, seed: int, n: int = 20) -> Genotypes:
    """Inactive genes hold anything."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, len(values), n, dtype=np.int8) for values in space.choices], axis=1)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_macs_and_params_equal_every_published_row(shared_data: Path) -> None:
    table = rows(shared_data / "ofa_mbv3" / "imagenet_top1_w10_r224.csv")
    genotypes = W10.parse([row["arch_active"] for row in table])
    assert len(table) == 1729
    assert W10.macs(genotypes).tolist() == [int(row["macs"]) for row in table]
    assert W10.params(genotypes).tolist() == [int(row["params"]) for row in table]


def test_ids_of_gpu_tables_become_their_active_form(shared_data: Path) -> None:
    table = rows(shared_data / "ofa_mbv3" / "latency_gpus.csv")
    genotypes = W10.parse([row["arch"] for row in table])
    assert W10.arch_ids(genotypes) == [row["arch_active"] for row in table]
    np.testing.assert_allclose(W10.macs(genotypes) / 1e6, [float(row["mmacs_w10"]) for row in table], atol=6e-3)
    np.testing.assert_allclose(W10.params(genotypes) / 1e6, [float(row["params_m_w10"]) for row in table], atol=6e-5)


@pytest.mark.parametrize(
    ("space", "genes", "per_resolution", "slots"), [(W10, 46, 93, 20), (W12, 46, 93, 20), (MINI, 28, 57, 12)]
)
def test_sizes(space: OfaMbv3Space, genes: int, per_resolution: int, slots: int) -> None:
    assert len(space.choices) == len(space.gene_names) == len(set(space.gene_names)) == genes
    assert [len(space.blocks_at(resolution)) for resolution in space.resolutions] == [per_resolution] * len(
        space.resolutions
    )
    assert len({block.key for block in space.vocabulary}) == len(space.vocabulary)
    occurring = np.unique(np.concatenate([space.blocks_at(resolution) for resolution in space.resolutions]))
    assert occurring.tolist() == list(range(len(space.vocabulary)))
    assert space.block_indices(any_genotypes(space, 0, 3)).shape == (3, slots + 3)


def test_resolutions_are_those_of_the_families() -> None:
    assert W10.resolutions == tuple(range(128, 225, 4))
    assert W12.resolutions == (160, 176, 192, 208, 224)
    with pytest.raises(InputError, match="no resolution 200"):
        W12.blocks_at(200)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_offers_every_capability(space: OfaMbv3Space) -> None:
    for protocol in (SearchSpace, Additive, DescribesBlocks, Interpolable):
        assert isinstance(space, protocol)


@few
@given(spaces, seeds)
def test_sums_over_block_indices_equal_the_fast_sums(space: OfaMbv3Space, seed: int) -> None:
    genotypes = any_genotypes(space, seed, 3000)
    indices = space.block_indices(genotypes)
    assert (indices >= 0).sum(axis=1).tolist() == (3 + space.active_slots(genotypes).sum(axis=1)).tolist()
    macs, params = space.block_macs(space.vocabulary), space.block_params(space.vocabulary)
    assert np.array_equal(np.append(macs, 0)[indices].sum(axis=1), space.macs(genotypes))
    assert np.array_equal(np.append(params, 0)[indices].sum(axis=1), space.params(genotypes))
    values = np.random.default_rng(seed).random(len(space.vocabulary))
    expected = np.append(values, 0.0)[indices].sum(axis=1)
    np.testing.assert_allclose(space.additive(values)(genotypes), expected, rtol=1e-12)


def test_depth_decides_what_is_active() -> None:
    genotypes = W10.parse(["k35733373375733337533_e34633434636333336433_d23423_r224"])
    expected = [2, 3, 4, 2, 3]
    slots = W10.active_slots(genotypes)[0].reshape(5, 4)
    assert slots.sum(axis=1).tolist() == expected
    assert all(not (~row[:-1] & row[1:]).any() for row in slots)
    config = W10.to_config(genotypes[0])
    assert config["depths"] == expected
    assert config["kernels"][:4] == [3, 5, 0, 0]
    assert config["expansions"][4:8] == [3, 4, 3, 0]


GOOD = "k33333333333333333333_e33333333333333333333_d22222_r224"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (GOOD.replace("r224", "r222"), "resolution"),
        (GOOD.replace("r224", "r22"), "resolution"),
        (GOOD.replace("r224", "r2244"), "too many"),
        (GOOD.replace("k3", "k4"), "each kernel is one of 3, 5, 7"),
        (GOOD.replace("e3", "e5"), "each expansion is one of 3, 4, 6"),
        (GOOD.replace("d2", "d5"), "each depth is one of 2, 3, 4"),
        (GOOD.replace("d2", "d0"), "each depth is one of 2, 3, 4"),
        (GOOD.replace("k3", "k0"), "written 0"),
        (GOOD.replace("d22222", "d42222").replace("k3333", "k3330"), "written 0"),
        (GOOD.replace("_e", "-e"), "form"),
        (GOOD[1:], "form"),
        (GOOD + "\0", "too many"),
        (GOOD.replace("3", "\0", 1), "too many"),
        ("", "form"),
        ("ké", "ASCII"),
        ("k333333333333_e333333333333_d222_r32", "form"),
    ],
)
def test_an_id_outside_the_space_is_named_with_the_reason(bad: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        W10.parse([GOOD, bad, "worse"])
    assert repr(bad) in caught.value.message
    assert "Spell it like k" in caught.value.remedy


def test_inactive_slots_may_hold_any_choice_but_no_nonsense() -> None:
    assert W10.arch_id(W10.parse([GOOD])[0]) == "k33003300330033003300_e33003300330033003300_d22222_r224"
    with pytest.raises(InputError, match="each kernel"):
        W10.parse([GOOD.replace("k3333", "k3338")])


@pytest.mark.parametrize("change", [{"kernels": [3]}, {"resolution": 1}, {"depths": None}, {"expansions": [9] * 20}])
def test_a_configuration_outside_the_space_is_refused(change: dict[str, object]) -> None:
    config = W10.to_config(W10.parse([GOOD])[0])
    assert np.array_equal(W10.from_config(config), W10.parse([GOOD])[0])
    with pytest.raises(InputError):
        W10.from_config(config | change)
    with pytest.raises(InputError, match="lists kernels"):
        W10.from_config({})


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_within_a_layer_work_is_linear_in_the_square_of_the_side(space: OfaMbv3Space) -> None:
    group, side = space.interpolation_groups()
    macs, params = space.block_macs(space.vocabulary), space.block_params(space.vocabulary)
    # The same layers at every resolution, whichever blocks resolutions share.
    assert len(np.unique(group)) == len(space.blocks_at(space.resolutions[0]))
    for layer in range(group.max() + 1):
        members = np.flatnonzero(group == layer)
        assert len({params[i] for i in members}) == 1
        assert len(set(side[members])) == len(members)
        if len(members) > 2:
            line = np.polynomial.Polynomial.fit(side[members] ** 2, macs[members].astype(float), 1)
            np.testing.assert_allclose(line(side[members] ** 2), macs[members], rtol=1e-9)


def test_effective_side_is_the_input_side_where_nothing_is_rounded() -> None:
    _, side = W10.interpolation_groups()
    inputs = np.asarray([block.inputs[0][1] for block in W10.vocabulary])
    exact = np.asarray([block.inputs[0][1] % 2 == 0 or "s=1" in block.key for block in W10.vocabulary])
    heads = np.asarray([block.family == "mbv3_head" for block in W10.vocabulary])
    np.testing.assert_allclose(side[exact | heads], inputs[exact | heads])
    assert (side[~exact & ~heads] > inputs[~exact & ~heads]).all()
    assert (side <= inputs + 1).all()


def test_features_tell_all_blocks_of_a_space_apart() -> None:
    features, names = W10.block_features(W10.vocabulary)
    assert features.shape == (len(W10.vocabulary), len(names))
    assert np.isfinite(features).all()
    assert (features >= 0).all()
    assert len(np.unique(features, axis=0)) == len(W10.vocabulary)
    macs, params = W10.block_macs(W10.vocabulary), W10.block_params(W10.vocabulary)
    assert np.array_equal(features[:, names.index("macs")], macs)
    assert np.array_equal(features[:, names.index("params")], params)


#: The fifteen networks that PNAG publishes, and their MACs in millions at 224 px.
PNAG = {
    "2,2,3,3,3:5,5,0,0,5,5,0,0,7,5,7,0,3,5,5,0,7,5,5,0:3,3,0,0,4,3,0,0,4,3,3,0,6,4,4,0,6,6,6,0": 335,
    "2,3,3,3,3:5,3,0,0,5,5,7,0,5,7,7,0,5,5,7,0,7,5,7,0:3,4,0,0,4,6,3,0,6,4,6,0,6,6,6,0,6,6,6,0": 431,
    "2,3,4,4,4:5,3,0,0,7,5,7,0,5,5,3,3,5,7,7,7,3,3,3,7:4,4,0,0,4,4,4,0,4,6,6,4,6,4,6,6,6,6,6,4": 502,
    "2,3,4,4,4:7,5,0,0,7,7,7,0,7,5,3,7,7,7,7,7,7,3,3,7:4,6,0,0,6,6,6,0,6,6,6,6,6,6,6,6,6,6,6,6": 620,
    "3,4,4,4,4:5,3,7,0,5,7,7,7,7,7,3,7,7,7,7,7,5,7,3,7:4,4,6,0,6,6,6,6,6,6,4,6,6,6,6,6,6,6,6,6": 682,
    "2,2,3,3,4:3,3,0,0,5,3,0,0,5,5,3,0,3,7,3,0,5,3,3,7:3,3,0,0,3,4,0,0,3,3,3,0,4,3,4,0,6,6,6,3": 310,
    "2,3,3,4,4:3,3,0,0,5,3,3,0,5,5,3,0,3,5,5,5,7,7,7,5:3,3,0,0,4,4,4,0,4,3,4,0,6,4,6,4,6,6,6,4": 411,
    "2,3,4,4,4:3,3,0,0,7,5,5,0,5,7,5,5,3,5,5,5,7,7,5,5:4,3,0,0,6,4,4,0,4,4,6,6,6,6,6,6,6,6,6,4": 510,
    "2,4,4,4,4:3,3,0,0,7,5,5,5,7,5,7,5,7,7,7,5,7,7,7,5:3,4,0,0,6,6,6,6,6,6,4,6,6,6,6,6,6,6,6,6": 582,
    "3,4,4,4,4:3,3,5,0,7,3,5,7,7,7,5,3,7,5,7,5,7,3,7,3:4,4,6,0,6,4,6,6,6,6,6,6,6,6,6,6,6,6,6,6": 640,
    "2,3,3,3,3:3,3,0,0,3,5,3,0,3,3,5,0,3,3,5,0,5,5,7,0:3,3,0,0,4,3,3,0,4,4,4,0,4,6,6,0,6,6,3,0": 349,
    "2,3,3,4,4:5,3,0,0,5,3,3,0,3,5,5,0,5,5,5,3,7,5,7,5:3,4,0,0,3,4,4,0,3,3,6,0,4,6,6,6,6,6,6,6": 451,
    "2,4,4,4,4:5,3,0,0,5,5,5,3,5,5,5,5,3,5,5,5,7,5,5,5:4,3,0,0,4,4,4,6,6,3,6,3,6,6,4,6,6,6,6,3": 492,
    "3,4,4,4,4:5,3,7,0,5,5,5,5,5,5,5,5,3,5,5,3,7,5,5,5:4,4,6,0,4,4,6,6,6,4,6,6,6,6,4,6,6,6,6,6": 606,
    "4,4,4,4,4:5,5,5,5,5,7,3,5,7,5,5,3,3,5,5,3,5,3,3,5:6,6,6,6,4,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6": 724,
}


def test_networks_of_pnag_are_read() -> None:
    macs = ofa_mbv3_w12().macs(ofa_mbv3_w12().parse(list(PNAG))) / 1e6
    np.testing.assert_allclose(macs, list(PNAG.values()), rtol=5e-3)


def test_dicts_of_once_for_all_are_read() -> None:
    space = ofa_mbv3_w12()
    kernels, expansions, depths = [3, 5, 7, 3] * 5, [6, 4, 3, 3] * 5, [2, 3, 4, 2, 4]
    digits = ["".join(map(str, values)) for values in (kernels, expansions, depths)]
    (plain,) = space.parse(["k{}_e{}_d{}_r192".format(*digits)])
    config = {"ks": kernels, "e": expansions, "d": depths, "r": [192], "wid": None}
    for text in (json.dumps(config), repr(config), json.dumps(config | {"r": 192}), f" {config} "):
        assert np.array_equal(space.parse([text])[0], plain), text
    without = json.dumps({key: value for key, value in config.items() if key != "r"})
    with pytest.raises(InputError, match=r"lacks r \(resolution\)"):
        space.parse([without])
    mini = {"ks": [3] * 12, "e": [3] * 12, "d": [2] * 3}
    assert ofa_mbv3_mini().arch_ids(ofa_mbv3_mini().parse([json.dumps(mini)]))[0].endswith("_r32")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"ks": [3], "e": [3], "d": [2], "r": 192}', r"kernels \(ks\) has 1 values for 20"),
        ('{"ks": 5', "begins like a dict"),
        ("{" * 5000, "begins like a dict"),
        (json.dumps({"ks": [11] * 20, "e": [3] * 20, "d": [2] * 5, "r": 192}), "holds 11"),
        (json.dumps({"ks": [3] * 20, "e": [3] * 20, "d": [9] * 5, "r": 192}), "each depth is one of 2, 3, 4"),
        ("2,2,2:3,3:3,3", r"kernels \(ks\) has 2 values"),
    ],
)
def test_foreign_spellings_say_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        ofa_mbv3_w12().parse([text])


def test_a_cell_of_nasbench201_is_told_its_space() -> None:
    cell = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|skip_connect~2|"
    with pytest.raises(InputError) as caught:
        W10.parse([cell])
    assert "--space nasbench201" in caught.value.remedy
