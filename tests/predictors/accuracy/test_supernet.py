from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import Dataset, Split, load_images
from fleetfront.errors import InputError
from fleetfront.predictors.accuracy.supernet import SupernetAccuracy
from fleetfront.quantities import Tier
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space
from fleetfront.spaces.supernet.subnets import Supernet, untrained
from fleetfront.workspace import Workspace


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_images("digits", 32)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    space = load_space("ofa-mbv3-mini")
    assert isinstance(space, OfaMbv3Space)
    return untrained(space, 0)


def test_the_accuracy_is_that_of_the_recalibrated_network_as_written(
    tmp_path: Path, digits: Dataset, supernet: Supernet
) -> None:
    from fleetfront.deploy.writers.onnx.writer import write_onnx
    from fleetfront.graphs.batch import with_batch

    genotypes = supernet.space.sample(2, np.random.default_rng(3))
    estimate = SupernetAccuracy(supernet, digits, "supernet:w", Workspace(tmp_path)).predict(genotypes)
    inputs, labels = digits.inputs("validation"), digits.targets("validation")
    for row, genotype in enumerate(genotypes):
        graph = with_batch(supernet.recalibrated(genotype, digits.inputs("calibration")), len(inputs))
        session = load_runtime("onnxruntime").open(write_onnx(graph))
        (logits,) = session.run({"input": inputs}).values()
        session.close()
        share = 100 * np.mean(logits.argmax(axis=1) == labels)
        # Rounding may turn a tie between two classes of an untrained network.
        assert estimate.mean[row] == pytest.approx(share, abs=0.6)
    assert estimate.tier == Tier.MEASURED
    assert np.all(estimate.std > 0)


def test_nothing_is_evaluated_twice_even_by_another_process(
    tmp_path: Path, digits: Dataset, supernet: Supernet, monkeypatch: pytest.MonkeyPatch
) -> None:
    genotypes = supernet.space.sample(3, np.random.default_rng(4))
    repeated = np.concatenate([genotypes, genotypes[:1]])
    first = SupernetAccuracy(supernet, digits, "supernet:w", Workspace(tmp_path)).predict(repeated)
    assert first.mean[3] == first.mean[0]

    def refuse(*_: object) -> tuple[int, int]:
        raise AssertionError("evaluated again")

    monkeypatch.setattr(SupernetAccuracy, "evaluate", refuse)
    again = SupernetAccuracy(supernet, digits, "supernet:w", Workspace(tmp_path)).predict(genotypes)
    assert np.array_equal(again.mean, first.mean[:3])
    other = SupernetAccuracy(supernet, digits, "supernet:w", Workspace(tmp_path), Split.TEST)
    with pytest.raises(AssertionError, match="evaluated again"):
        other.predict(genotypes)


def test_chosen_networks_are_judged_on_images_that_chose_nothing(
    tmp_path: Path, digits: Dataset, supernet: Supernet
) -> None:
    genotypes = supernet.space.sample(3, np.random.default_rng(5))
    model = SupernetAccuracy(supernet, digits, "supernet:w", Workspace(tmp_path))
    judged = model.held_out(genotypes)
    expected = SupernetAccuracy(supernet, digits, "supernet:w", Workspace(tmp_path), Split.TEST).predict(genotypes)
    assert np.array_equal(judged.mean, expected.mean)
    assert not np.array_equal(judged.mean, model.predict(genotypes).mean)
    assert model.held_out_images == len(digits.targets("test"))
    assert not set(digits.split[Split.TEST]) & set(digits.split[Split.VALIDATION])


def test_images_of_other_classes_are_refused(tmp_path: Path, digits: Dataset, supernet: Supernet) -> None:
    from dataclasses import replace

    fewer = replace(digits, class_names=digits.class_names[:5])
    with pytest.raises(InputError, match="5 classes, the weights have 10"):
        SupernetAccuracy(supernet, fewer, "supernet:w", Workspace(tmp_path))


def test_every_image_has_one_class(supernet: Supernet, digits: Dataset, tmp_path: Path) -> None:
    """So the shares that would be right, were all images of one class, add up to all images."""
    genotype = supernet.space.sample(1, np.random.default_rng(3))
    shares = []
    for label in range(len(digits.class_names)):
        images = replace(digits, labels=np.full_like(digits.labels, label))
        model = SupernetAccuracy(supernet, images, "supernet:w", Workspace(tmp_path / str(label)))
        shares.append(float(model.predict(genotype).mean[0]))
    assert sum(shares) == pytest.approx(100)
