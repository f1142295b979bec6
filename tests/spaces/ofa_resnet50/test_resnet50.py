"""Counts, spellings, files and checkpoints of once-for-all's ResNet50 family, and a published network of it."""

import json

import numpy as np
import pytest

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import InputError
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.base import Additive, HasSupernet, Relaxable, RelaxesActivity
from fleetfront.spaces.blocks import Block
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_w10
from fleetfront.spaces.ofa_resnet50.layout import Layout
from fleetfront.spaces.ofa_resnet50.space import OfaResNet50Space, ofa_resnet50

SPACE = ofa_resnet50()
#: A family of few channels, at a side that leaves odd maps for the averages beside strided blocks.
SMALL = OfaResNet50Space("small", Layout(16, (32, 48, 64), (1, 2, 1), (1, 2, 2), 10, (36, 48), depths=(0, 1)))

#: Expansions (in percent, a block each), depths, widths, side, and the convolutions' work and the weights counted in
#: once-for-all's own modules.
COUNTED = [
    ("25 25 20 25 35 25 25 25 25 25 35 20 35 20 25 20 20 35", "02220", "102021", 128, 1131139648, 16759104),
    ("25 35 20 25 25 25 35 35 20 35 25 25 35 25 20 35 20 20", "02220", "211021", 144, 1515821376, 19209592),
    ("35 20 20 35 20 20 20 35 25 20 20 25 35 25 20 25 35 25", "22120", "222110", 224, 2965773120, 10992424),
    ("35 25 25 35 20 25 20 20 20 20 35 35 25 25 20 20 35 20", "20022", "212212", 192, 2502125312, 26423528),
    ("20 20 35 35 25 35 25 25 25 35 35 35 25 20 25 35 20 25", "00002", "102010", 176, 1415226496, 15662832),
    ("25 25 20 20 20 35 20 20 35 35 35 35 35 20 20 20 35 20", "21010", "020002", 224, 2035775360, 13763088),
]


def once_for_alls(expansions: str, depths: str, widths: str, side: int) -> str:
    """The dict that once-for-all prints of a network."""
    shares = [int(percent) / 100 for percent in expansions.split()]
    return json.dumps({"d": [int(c) for c in depths], "e": shares, "w": [int(c) for c in widths], "r": side})


@pytest.mark.parametrize(("expansions", "depths", "widths", "side", "macs", "params"), COUNTED)
def test_macs_and_params_equal_once_for_alls(expansions, depths, widths, side, macs, params):
    genotypes = SPACE.parse([once_for_alls(expansions, depths, widths, side)])
    assert SPACE.macs(genotypes).tolist() == [macs]
    assert SPACE.params(genotypes).tolist() == [params]
    assert SPACE.arch_id(genotypes[0]).endswith(f"_d{depths}_w{widths}_r{side}")
    graph = SPACE.live_graph(genotypes[0])
    trained = sum(a.size for name, a in graph.weights.items() if not name.endswith((".mean", ".variance")))
    assert trained == params


def test_resnet50_d_counts_as_published():
    # 25,576,264 parameters in pytorch-image-models (resnet50d); 4.3 billion multiply-accumulates in arXiv 1812.01187.
    genotypes = SPACE.parse(["e222022222222222220_d21221_w222222_r224"])
    assert SPACE.params(genotypes).tolist() == [25_576_264]
    assert round(SPACE.macs(genotypes)[0] / 1e9, 1) == 4.3


def test_offers_what_image_spaces_offer():
    assert len(SPACE.choices) == len(SPACE.gene_names) == 18 + 5 + 6 + 1
    for protocol in (Additive, HasSupernet, Relaxable, RelaxesActivity):
        assert isinstance(SPACE, protocol)
    parts = len(SPACE.blocks_at(128))
    assert parts == 18 + 4 * (27 + 9) + 3


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ('{"d": [0, 0, 0, 0, 0], "e": 0.3, "w": [0, 0, 0, 0, 0, 0], "r": 128}', r"expansions \(e\) holds 0\.3"),
        ('{"d": [1, 0, 0, 0, 0], "e": [' + "0.2, " * 18 + '], "w": [0, 0, 0, 0, 0, 0], "r": 128}', "each depth"),
        ('{"d": [0, 0, 0, 0, 0], "e": [0.2], "w": [0, 0, 0, 0, 0, 0], "r": 128}', "1 values for 18"),
        ("e" + "1" * 18 + "_d00000_w333333_r128", "each width is one of 0, 1, 2"),
        ("e" + "0" * 18 + "_d00000_w000000_r128", "written 0"),
        ("2,2,3,3,3:5,5,0,0:3,3,0,0", "form"),
    ],
)
def test_networks_outside_the_space_are_refused_with_the_reason(wrong, why):
    with pytest.raises(InputError, match=why):
        SPACE.parse([wrong])


def test_a_configuration_outside_the_space_is_refused():
    config = SPACE.to_config(SPACE.sample(1, np.random.default_rng(0))[0])
    for change in ({"widths": [0.7] * 6}, {"expansions": [0.2]}, {"resolution": 100}, {"depths": None}):
        with pytest.raises(InputError, match="not a configuration"):
            SPACE.from_config(config | change)


def test_a_block_of_another_family_is_refused():
    with pytest.raises(InputError, match="not a block of a ResNet space"):
        SPACE.block_graph(Block.make("nb201_pool", ((16, 32, 32),)))


def eighths(width: float) -> int:
    """The multiple of 8 that once-for-all rounds a width to, never down by more than a tenth."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def published_state(layout: Layout):
    """A state dict of random numbers under the names, and of the shapes, of once-for-all's module."""
    import torch

    generator = torch.Generator().manual_seed(0)
    state = {}

    def conv(name, bn, out, width, kernel):
        state[f"{name}.weight"] = torch.randn(out, width, kernel, kernel, generator=generator) / (width * kernel) ** 0.5
        for what in ("weight", "bias", "running_mean", "running_var"):
            state[f"{bn}.{what}"] = torch.rand(out, generator=generator) + 0.5
        state[f"{bn}.num_batches_tracked"] = torch.tensor(1)

    half = layout.stem_width // 2
    conv("input_stem.0.conv.conv", "input_stem.0.bn.bn", half, 3, 3)
    conv("input_stem.1.conv.conv.conv", "input_stem.1.conv.bn.bn", half, half, 3)
    conv("input_stem.2.conv.conv", "input_stem.2.bn.bn", layout.stem_width, half, 3)
    width, number = layout.stem_width, 0
    for out, base in zip(layout.stage_widths, layout.base_depths, strict=True):
        for within in range(base + layout.depths[-1]):
            mid = eighths(round(out * 0.35))
            block = f"blocks.{number}."
            conv(f"{block}conv1.conv.conv", f"{block}conv1.bn.bn", mid, width, 1)
            conv(f"{block}conv2.conv.conv", f"{block}conv2.bn.bn", mid, mid, 3)
            conv(f"{block}conv3.conv.conv", f"{block}conv3.bn.bn", out, mid, 1)
            if not within:
                conv(f"{block}downsample.conv.conv", f"{block}downsample.bn.bn", out, width, 1)
            width, number = out, number + 1
    state["classifier.linear.linear.weight"] = torch.randn(layout.classes, width, generator=generator)
    state["classifier.linear.linear.bias"] = torch.randn(layout.classes, generator=generator)
    return state


def by_hand(state, image, config, layout: Layout):
    """The logits of a network cut by once-for-all's rules from its state dict: first channels of everything."""
    import torch.nn.functional as nn

    def conv_bn(data, conv, bn, out, **options):
        weight = state[f"{conv}.weight"][:out, : data.shape[1]]
        data = nn.conv2d(data, weight, padding=weight.shape[-1] // 2, **options)
        return nn.batch_norm(
            data, *[state[f"{bn}.{what}"][:out] for what in ("running_mean", "running_var", "weight", "bias")]
        )

    inside, stem, *widths = config["widths"]
    half = eighths(eighths(layout.stem_width * inside) // 2)
    data = nn.relu(conv_bn(image, "input_stem.0.conv.conv", "input_stem.0.bn.bn", half, stride=2))
    if config["depths"][0] == layout.depths[-1]:
        data = data + nn.relu(conv_bn(data, "input_stem.1.conv.conv.conv", "input_stem.1.conv.bn.bn", half))
    data = nn.relu(conv_bn(data, "input_stem.2.conv.conv", "input_stem.2.bn.bn", eighths(layout.stem_width * stem)))
    data, number = nn.max_pool2d(data, 3, 2, 1), 0
    for stage, base in enumerate(layout.base_depths):
        out = eighths(layout.stage_widths[stage] * widths[stage])
        for within in range(base + layout.depths[-1]):
            block, share = f"blocks.{number}.", config["expansions"][number]
            number += 1
            if within >= base + config["depths"][1 + stage]:
                continue
            stride, entered, mid = (1 if within else layout.strides[stage]), data, eighths(round(out * (share or 1)))
            data = nn.relu(conv_bn(data, f"{block}conv1.conv.conv", f"{block}conv1.bn.bn", mid))
            data = nn.relu(conv_bn(data, f"{block}conv2.conv.conv", f"{block}conv2.bn.bn", mid, stride=stride))
            data = conv_bn(data, f"{block}conv3.conv.conv", f"{block}conv3.bn.bn", out)
            if not within:
                entered = nn.avg_pool2d(entered, stride, stride, ceil_mode=True)
                entered = conv_bn(entered, f"{block}downsample.conv.conv", f"{block}downsample.bn.bn", out)
            data = nn.relu(data + entered)
    classifier = state["classifier.linear.linear.weight"][:, : data.shape[1]]
    return nn.linear(data.mean((2, 3)), classifier, state["classifier.linear.linear.bias"])


@pytest.mark.parametrize("spelling", ["today's names", "plain names"])
def test_checkpoints_load_and_are_cut_by_once_for_alls_rules_on_every_runtime(tmp_path, spelling):
    torch = pytest.importorskip("torch")
    from fleetfront.spaces.supernet.checkpoints import load_supernet

    state, path = published_state(SMALL.layout), tmp_path / "checkpoint.pth"
    plain = {n.replace(".bn.bn.", ".bn.").replace(".linear.linear.", ".linear."): t for n, t in state.items()}
    torch.save({"state_dict": plain if spelling == "plain names" else state}, path)
    supernet = load_supernet(path, SMALL)
    for genotype in SMALL.sample(3, np.random.default_rng(0)):
        config = SMALL.to_config(genotype)
        side = config["resolution"]
        image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = by_hand(state, image, config, SMALL.layout).numpy()
            logits = [supernet.module(genotype)(image).numpy()]
        graph = supernet.graph(genotype)
        for runtime, data, feed in (
            ("onnxruntime", write_onnx(graph), image.numpy()),
            ("litert", write_tflite(graph), np.ascontiguousarray(image.numpy().transpose(0, 2, 3, 1))),
        ):
            session = load_runtime(runtime).open(data)
            logits += session.run({session.inputs[0].name: feed}).values()
            session.close()
        for given in logits:
            assert float(abs(given - expected).max()) < 1e-5 * float(expected.std())


def test_weights_of_the_other_family_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
    from fleetfront.spaces.supernet.checkpoints import load_supernet
    from fleetfront.spaces.supernet.subnets import Supernet, untrained

    with pytest.raises(InputError, match=r"do not fit small.*seem to be of MobileNet blocks"):
        Supernet(SMALL, untrained(ofa_mbv3_mini(), 0).tensors)
    path = tmp_path / "checkpoint.pth"
    torch.save(published_state(SMALL.layout), path)
    with pytest.raises(InputError, match=r"do not fit ofa-mbv3-w1\.0"):
        load_supernet(path, ofa_mbv3_w10())
