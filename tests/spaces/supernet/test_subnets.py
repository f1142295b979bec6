import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini, ofa_mbv3_w10, ofa_mbv3_w12

torch = pytest.importorskip("torch")

from fleetfront.graphs.torch_module import TorchModule, run_graph  # noqa: E402
from fleetfront.spaces.supernet.checkpoints import load_supernet  # noqa: E402
from fleetfront.spaces.supernet.recalibration import recalibrate, recalibrated_statistics  # noqa: E402
from fleetfront.spaces.supernet.subnets import Supernet, largest, placeholder_graph, smallest, untrained  # noqa: E402

MINI = ofa_mbv3_mini()
SEEDS = st.integers(0, 2**32 - 1)


def _noisy(seed: int = 0) -> Supernet:
    """A mini supernet with nothing neutral in it: every tensor moves the result."""
    rng = np.random.default_rng(seed)
    tensors = {
        name: tensor + torch.from_numpy(0.1 * rng.random(tuple(tensor.shape), dtype=np.float32))
        for name, tensor in untrained(MINI, seed).tensors.items()
    }
    return Supernet(MINI, tensors)


@pytest.fixture(scope="module")
def noisy() -> Supernet:
    return _noisy()


def _images(n: int, seed: int = 0, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 3, side, side), dtype=np.float32)


def _torch(graph: Graph, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return TorchModule(graph).eval()(torch.from_numpy(images)).numpy()


def _written(runtime: str, graph: Graph, image: np.ndarray) -> np.ndarray:
    data = write_onnx(graph) if runtime == "onnxruntime" else write_tflite(graph)
    session = load_runtime(runtime).open(data)
    (port,) = session.inputs
    feed = image if runtime == "onnxruntime" else np.ascontiguousarray(image.transpose(0, 2, 3, 1))
    (logits,) = session.run({port.name: feed}).values()
    session.close()
    return logits


@pytest.fixture(scope="module")
def once_for_all(shared_data) -> tuple[Supernet, dict[str, np.ndarray]]:
    folder = shared_data / "ofa_mbv3" / "random_checkpoint_w10"
    with np.load(folder / "reference.npz") as archive:
        reference = {name: archive[name] for name in archive.files}
    return load_supernet(folder / "checkpoint.pth", ofa_mbv3_w10()), reference


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "litert"])
def test_once_for_alls_own_logits_are_reproduced(once_for_all, runtime):
    supernet, reference = once_for_all
    genotypes = supernet.space.parse([str(arch) for arch in reference["archs"]])
    for index, genotype in enumerate(genotypes):
        image, expected = reference[f"x{index}"], reference["logits"][index]
        if runtime == "torch":
            logits = supernet.module(genotype)(torch.from_numpy(image)).detach().numpy()
        else:
            logits = _written(runtime, supernet.graph(genotype), image)
        spread = expected.max() - expected.min()
        assert np.abs(logits[0] - expected).max() <= 1e-5 * spread


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_folded_graph_equals_live_module(noisy, seed):
    (genotype,) = MINI.sample(1, np.random.default_rng(seed))
    images = _images(2, seed)
    live = noisy.module(genotype)(torch.from_numpy(images)).detach().numpy()
    folded = noisy.graph(genotype)
    assert all(operator.family != "batch_norm" for operator in folded.operators)
    # Noisy statistics can blow values up to 1e7, where float32 rounding reached 2e-5; the proof of files allows 1e-4.
    np.testing.assert_allclose(_torch(folded, images), live, atol=1e-4 * np.ptp(live))


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_cut_takes_first_channels_and_transformed_kernels(noisy, seed):
    (genotype,) = MINI.sample(1, np.random.default_rng(seed))
    config, full, cut = MINI.to_config(genotype), noisy.tensors, noisy.cut(genotype)
    width_in = MINI.layout.first_width
    for slot, (kernel, expansion) in enumerate(zip(config["kernels"], config["expansions"], strict=True), start=1):
        prefix = f"slot{slot}"
        assert (f"{prefix}.expand.conv.weight" in cut) == (kernel > 0)
        if not kernel:
            continue
        mid = width_in * expansion
        width_in = MINI.layout.stages[(slot - 1) // MINI.layout.slots_per_stage].width
        torch.testing.assert_close(cut[f"{prefix}.expand.bn.mean"], full[f"{prefix}.expand.bn.mean"][:mid])
        torch.testing.assert_close(cut[f"{prefix}.project.conv.weight"], full[f"{prefix}.project.conv.weight"][:, :mid])
        expected = full[f"{prefix}.depthwise.conv.weight"][:mid, 0].numpy()
        for larger, smaller in ((7, 5), (5, 3)):
            if kernel < larger:
                matrix = full[f"{prefix}.depthwise.conv.{larger}to{smaller}"].numpy()
                centre = expected[:, 1:-1, 1:-1].reshape(mid, -1)
                expected = (centre @ matrix.T).reshape(mid, smaller, smaller)
        np.testing.assert_allclose(cut[f"{prefix}.depthwise.conv.weight"][:, 0], expected, atol=1e-5)


def test_cut_shares_memory_and_lets_gradients_through():
    supernet = untrained(MINI, 0)
    for tensor in supernet.tensors.values():
        tensor.requires_grad_()
    cut = supernet.cut(smallest(MINI))
    shared = {tensor.untyped_storage().data_ptr() for tensor in supernet.tensors.values()}
    copied = [name for name, tensor in cut.items() if tensor.untyped_storage().data_ptr() not in shared]
    assert all(name.endswith("depthwise.conv.weight") for name in copied)
    graph = placeholder_graph(MINI, smallest(MINI), cut)
    (logits,) = run_graph(graph, cut, [torch.from_numpy(_images(4))], training=True)
    logits.square().mean().backward()
    gradient = supernet.tensors["slot1.depthwise.conv.weight"].grad
    assert gradient is not None
    assert gradient[:24, :, 2:5, 2:5].abs().max() > 0
    assert gradient[24:].abs().max() == 0
    assert supernet.tensors["slot1.depthwise.conv.7to5"].grad.abs().max() > 0
    assert supernet.tensors["slot4.expand.conv.weight"].grad is None


def test_recalibrated_on_one_batch_gives_the_training_output_of_that_batch(noisy):
    (genotype,) = MINI.sample(1, np.random.default_rng(1))
    images = _images(12)
    live = noisy.live_graph(genotype)
    with torch.no_grad():
        (expected,) = run_graph(live, noisy.cut(genotype), [torch.from_numpy(images)], training=True)
    for network in (live, noisy.module(genotype)):
        folded = recalibrate(network, images)
        np.testing.assert_allclose(_torch(folded, images), expected, atol=1e-5 * np.ptp(expected.numpy()))
    assert folded.labels["recalibrated_on"] == "12 images"
    far = np.abs(_torch(noisy.graph(genotype), images) - expected.numpy()).max()
    assert far > 0.05 * np.ptp(expected.numpy()), "without recalibration the statistics do not fit"


def test_batches_are_averaged_by_their_images(noisy):
    genotype = smallest(MINI)
    images = np.concatenate([_images(4), 3 + _images(2)])
    statistics = recalibrated_statistics(
        noisy.live_graph(genotype), noisy.cut(genotype), torch.from_numpy(images), batch_size=4
    )
    stem = torch.nn.functional.conv2d(torch.from_numpy(images), noisy.tensors["stem.conv.weight"], stride=2, padding=1)
    torch.testing.assert_close(statistics["stem.bn.mean"], stem.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    parts = [(part, part.var((0, 2, 3), correction=0) * len(part)) for part in stem.split(4)]
    expected = sum(variance for _, variance in parts) / len(stem)
    torch.testing.assert_close(statistics["stem.bn.variance"], expected, atol=1e-4, rtol=1e-4)


def test_recalibration_refuses_folded_networks_and_other_sizes(noisy):
    with pytest.raises(InputError, match="no batch-norm"):
        recalibrate(noisy.graph(smallest(MINI)), _images(2))
    with pytest.raises(InputError, match="own resolution"):
        recalibrate(noisy.live_graph(smallest(MINI)), _images(2, side=16))


def test_weights_id_is_that_of_the_values(noisy):
    again = Supernet(MINI, {name: tensor.clone() for name, tensor in reversed(noisy.tensors.items())})
    assert again.weights_id == noisy.weights_id
    changed = dict(noisy.tensors)
    changed["stem.bn.mean"] = changed["stem.bn.mean"] + 1e-3
    assert Supernet(MINI, changed).weights_id != noisy.weights_id


def test_weights_that_do_not_fit_say_why(noisy):
    few = dict(noisy.tensors)
    del few["slot5.se.reduce.bias"], few["stem.bn.mean"]
    few["slot99.expand.conv.weight"] = torch.zeros(1)
    with pytest.raises(InputError, match=r"2 missing \(slot5\.se\.reduce\.bias.* and 1 unknown \(slot99"):
        Supernet(MINI, few)
    infinite = dict(noisy.tensors)
    infinite["head.mix.conv.weight"] = infinite["head.mix.conv.weight"] * float("inf")
    with pytest.raises(InputError, match=r"head\.mix\.conv\.weight holds numbers that are not finite"):
        Supernet(MINI, infinite)


def test_another_width_is_recognised(once_for_all, noisy):
    supernet, _ = once_for_all
    with pytest.raises(InputError, match=r"do not fit ofa-mbv3-w1\.2.*seem to be of width 1\.0"):
        Supernet(ofa_mbv3_w12(), supernet.tensors)
    with pytest.raises(InputError, match="seem to be of the small space ofa-mbv3-mini"):
        Supernet(ofa_mbv3_w12(), noisy.tensors)


def test_a_classifier_of_other_classes_is_welcome(noisy):
    tensors = dict(noisy.tensors)
    for name in ("head.classifier.weight", "head.classifier.bias"):
        tensors[name] = tensors[name][:4]
    supernet = Supernet(MINI, tensors)
    assert _torch(supernet.graph(largest(MINI)), _images(3)).shape == (3, 4)
    assert supernet.space.arch_id(largest(MINI)) == MINI.arch_id(largest(MINI))
