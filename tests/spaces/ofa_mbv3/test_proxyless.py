"""Counts, spellings and checkpoints of once-for-all's ProxylessNAS family, and published networks of its blocks."""

import json

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.spaces.base import Relaxable, RelaxesActivity
from fleetfront.spaces.blocks import Block
from fleetfront.spaces.image_work import halved
from fleetfront.spaces.ofa_mbv3.layout import HEAD, MBCONV, STEM, block_macs, block_params, proxyless_layout
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space, ofa_mbv3_w10, ofa_proxyless
from fleetfront.spaces.supernet.published import PUBLISHED

SPACE = ofa_proxyless()
#: The narrowest width at which no block of another width in and out happens to have equal ones.
SMALL = OfaMbv3Space("small", proxyless_layout(0.5, (64,))).with_classes(10)

#: Kernels, expansions, depths, side, and the convolutions' work and the weights counted in once-for-all's own modules.
COUNTED = [
    ("553575555573735337577", "634363644634446636446", "32422", 224, 477097280, 5101592),
    ("777375537573373337533", "464346463646366644364", "34232", 160, 290470400, 4673096),
    ("377553373333777577573", "366464446664346346643", "22432", 160, 250104600, 4895392),
    ("535533373377777333737", "634343363336343636364", "42322", 192, 315187136, 4485600),
    ("553375373753557573773", "363346436463346466464", "34324", 128, 183812096, 6182176),
    ("573573753355757577737", "446463363643336446664", "23443", 128, 179758592, 5952560),
]

#: ProxylessNAS's own networks: (in, out, kernel, expansion, stride) of each block, widths of stem and head, and MACs
#: and parameters in millions as their project prints them.
PUBLISHED_NETWORKS = {
    "mobile": (
        "32,16,3,1,1 16,32,5,3,2 32,32,3,3,1 32,40,7,3,2 40,40,3,3,1 40,40,5,3,1 40,40,5,3,1 40,80,7,6,2 80,80,5,3,1 "
        "80,80,5,3,1 80,80,5,3,1 80,96,5,6,1 96,96,5,3,1 96,96,5,3,1 96,96,5,3,1 96,192,7,6,2 192,192,7,6,1 "
        "192,192,7,3,1 192,192,7,3,1 192,320,7,6,1",
        (32, 1280, 320, 4.1),
    ),
    "cpu": (
        "40,24,3,1,1 24,32,3,6,2 32,32,3,3,1 32,32,3,3,1 32,32,3,3,1 32,48,3,6,2 48,48,3,3,1 48,48,3,3,1 48,48,5,3,1 "
        "48,88,3,6,2 88,88,3,3,1 88,104,5,6,1 104,104,3,3,1 104,104,3,3,1 104,104,3,3,1 104,216,5,6,2 216,216,5,3,1 "
        "216,216,5,3,1 216,216,3,3,1 216,360,5,6,1",
        (40, 1432, 439, 4.4),
    ),
    "gpu": (
        "40,24,3,1,1 24,32,5,3,2 32,56,7,3,2 56,56,3,3,1 56,112,7,6,2 112,112,5,3,1 112,128,5,6,1 128,128,3,3,1 "
        "128,128,5,3,1 128,256,7,6,2 256,256,7,6,1 256,256,7,6,1 256,256,5,6,1 256,432,7,6,1",
        (40, 1728, 465, 7.1),
    ),
    "mobile-14": (
        "48,24,3,1,1 24,40,5,3,2 40,40,3,3,1 40,56,7,3,2 56,56,3,3,1 56,56,5,3,1 56,56,5,3,1 56,112,7,6,2 "
        "112,112,5,3,1 112,112,5,3,1 112,112,5,3,1 112,136,5,6,1 136,136,5,3,1 136,136,5,3,1 136,136,5,3,1 "
        "136,256,7,6,2 256,256,7,6,1 256,256,7,3,1 256,256,7,3,1 256,448,7,6,1",
        (48, 1792, 581, 6.9),
    ),
}


def once_for_alls(kernels: str, expansions: str, depths: str, side: int) -> str:
    """The dict that once-for-all prints of a network: six depths, the last of one block."""
    lists = {key: [int(c) for c in digits] for key, digits in (("ks", kernels), ("e", expansions), ("d", depths))}
    return json.dumps({**lists, "d": [*lists["d"], 1], "r": side})


@pytest.mark.parametrize(("kernels", "expansions", "depths", "side", "macs", "params"), COUNTED)
def test_macs_and_params_equal_once_for_alls(kernels, expansions, depths, side, macs, params):
    plain = f"k{kernels}_e{expansions}_d{depths}_r{side}"
    genotypes = SPACE.parse([plain, once_for_alls(kernels, expansions, depths, side)])
    assert np.array_equal(genotypes[0], genotypes[1])
    assert SPACE.macs(genotypes).tolist() == [macs, macs]
    assert SPACE.params(genotypes).tolist() == [params, params]


@pytest.mark.parametrize("name", PUBLISHED_NETWORKS)
def test_published_networks_of_these_blocks_count_as_printed(name):
    rows, (stem, head, macs, params) = PUBLISHED_NETWORKS[name]
    blocks, side = [Block.make(STEM, ((3, 224, 224),), act="relu6", k=3, out=stem, s=2)], 112
    for row in rows.split():
        width, out, kernel, expansion, stride = map(int, row.split(","))
        fixed = {"act": "relu6", "k": kernel, "e": expansion, "out": out, "s": stride, "se": 0}
        blocks.append(Block.make(MBCONV, ((width, side, side),), **fixed))
        side = halved(side, stride)
    blocks.append(Block.make(HEAD, ((out, side, side),), act="relu6", classes=1000, expand=0, mix=head))
    assert sum(map(block_macs, blocks)) / 1e6 == pytest.approx(macs, rel=0.003)
    assert round(sum(map(block_params, blocks)) / 1e6, 1) == params


def test_the_tail_is_always_there_and_has_no_depth():
    assert len(SPACE.choices) == 21 + 21 + 5 + 1
    rows = SPACE.sample(50, np.random.default_rng(0))
    assert SPACE.active_slots(rows)[:, -1].all()
    assert isinstance(SPACE, Relaxable)
    assert isinstance(SPACE, RelaxesActivity)
    one = SPACE.parse([once_for_alls("3" * 21, "3" * 21, "22222", 128)])[0]
    assert SPACE.arch_id(one) == "k330033003300330033003_e330033003300330033003_d22222_r128"
    with pytest.raises(InputError, match=r"depths .* has 7 values"):
        SPACE.parse([json.dumps({"ks": [3] * 21, "e": [3] * 21, "d": [2] * 7, "r": 128})])


def published_state(space: OfaMbv3Space):
    """A state dict of random numbers under the names, and of the shapes, of once-for-all's module."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def normalised(name, width):
        for what in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{what}"] = torch.rand(width, generator=generator) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(1)

    def conv(name, *shape, bn):
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) / (shape[1] * shape[2] ** 2) ** 0.5
        normalised(bn, shape[0])

    state, one = {}, space.layout
    conv("first_conv.conv", one.stem_width, 3, 3, 3, bn="first_conv.bn")
    conv("blocks.0.conv.depth_conv.conv", one.stem_width, 1, 3, 3, bn="blocks.0.conv.depth_conv.bn")
    conv("blocks.0.conv.point_linear.conv", one.first_width, one.stem_width, 1, 1, bn="blocks.0.conv.point_linear.bn")
    width, number = one.first_width, 0
    for stage in (*one.stages, one.tail):
        for _ in range(1 if stage is one.tail else 4):
            number += 1
            block, mid = f"blocks.{number}.conv.", 6 * width
            conv(f"{block}inverted_bottleneck.conv.conv", mid, width, 1, 1, bn=f"{block}inverted_bottleneck.bn.bn")
            conv(f"{block}depth_conv.conv.conv", mid, 1, 7, 7, bn=f"{block}depth_conv.bn.bn")
            for name, side in (("7to5", 5), ("5to3", 3)):
                state[f"{block}depth_conv.conv.{name}_matrix"] = torch.eye(side**2)
            conv(f"{block}point_linear.conv.conv", stage.width, mid, 1, 1, bn=f"{block}point_linear.bn.bn")
            width = stage.width
    conv("feature_mix_layer.conv", one.mix_width, width, 1, 1, bn="feature_mix_layer.bn")
    state["classifier.linear.weight"] = torch.randn(one.classes, one.mix_width, generator=generator)
    state["classifier.linear.bias"] = torch.randn(one.classes, generator=generator)
    return state


def by_hand(state, image, arch):
    """The logits of a network cut by once-for-all's rules from its state dict, where matrices are identities."""
    import torch.nn.functional as nn

    def conv_bn(data, conv, bn, weight=None, **options):
        weight = state[f"{conv}.weight"] if weight is None else weight
        data = nn.conv2d(data, weight, padding=weight.shape[-1] // 2, **options)
        names = [state[f"{bn}.{what}"][: len(weight)] for what in ("running_mean", "running_var", "weight", "bias")]
        return nn.batch_norm(data, *names, eps=1e-3)

    kernels, expansions, depths = arch
    data = nn.relu6(conv_bn(image, "first_conv.conv", "first_conv.bn", stride=2))
    name = "blocks.0.conv.depth_conv"
    data = nn.relu6(conv_bn(data, f"{name}.conv", f"{name}.bn", groups=data.shape[1]))
    data = conv_bn(data, "blocks.0.conv.point_linear.conv", "blocks.0.conv.point_linear.bn")
    for number in range(1, 22):
        stage, within = divmod(number - 1, 4)
        if stage < 5 and within >= depths[stage]:
            continue
        block, mid = f"blocks.{number}.conv.", data.shape[1] * expansions[number - 1]
        stride = (2, 2, 2, 1, 2, 1)[stage] if within == 0 else 1
        before, edge = data, (7 - kernels[number - 1]) // 2
        name = f"{block}inverted_bottleneck"
        data = nn.relu6(conv_bn(data, "", f"{name}.bn.bn", state[f"{name}.conv.conv.weight"][:mid]))
        kernel = state[f"{block}depth_conv.conv.conv.weight"][:mid, :, edge : 7 - edge, edge : 7 - edge]
        data = nn.relu6(conv_bn(data, "", f"{block}depth_conv.bn.bn", kernel, stride=stride, groups=mid))
        data = conv_bn(data, "", f"{block}point_linear.bn.bn", state[f"{block}point_linear.conv.conv.weight"][:, :mid])
        data = data + before if within and stage < 5 else data
    data = nn.relu6(conv_bn(data, "feature_mix_layer.conv", "feature_mix_layer.bn")).mean((2, 3))
    return nn.linear(data, state["classifier.linear.weight"], state["classifier.linear.bias"])


@pytest.mark.parametrize("oldest", [False, True], ids=["today's names", "first names"])
def test_checkpoints_load_and_are_cut_by_once_for_alls_rules(tmp_path, oldest):
    torch = pytest.importorskip("torch")
    from fleetfront.spaces.supernet.checkpoints import load_supernet

    state, path = published_state(SMALL), tmp_path / "checkpoint.pth"
    stored = {name.replace(".conv.", ".mobile_inverted_conv.", 1) if oldest else name: t for name, t in state.items()}
    stored = {n.replace("first_mobile_inverted_conv", "first_conv"): t for n, t in stored.items()}
    torch.save({"state_dict": stored if oldest else state}, path)
    supernet = load_supernet(path, SMALL)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for kernels, expansions, depths, *_ in COUNTED[:3]:
        genotype = SMALL.parse([once_for_alls(kernels, expansions, depths, 64)])[0]
        arch = [[int(c) for c in digits] for digits in (kernels, expansions, depths)]
        with torch.no_grad():
            expected, given = by_hand(state, image, arch), supernet.module(genotype)(image)
        assert float((given - expected).abs().max()) < 1e-5 * float(expected.std())


def test_weights_of_the_other_family_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    from fleetfront.spaces.supernet.checkpoints import load_supernet

    path = tmp_path / "checkpoint.pth"
    torch.save(published_state(SMALL), path)
    with pytest.raises(InputError, match=r"do not fit ofa-mbv3-w1\.0.*seem to be of ProxylessNAS blocks"):
        load_supernet(path, ofa_mbv3_w10())


def test_published_weights_are_of_this_width():
    assert PUBLISHED[SPACE.name].url.endswith("ofa_proxyless_d234_e346_k357_w1.3")
    assert SPACE.layout.mix_width == 1664
