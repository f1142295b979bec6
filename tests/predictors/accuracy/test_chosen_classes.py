"""Some classes alone: images keep their splits, a classifier its order, and slips name what was meant."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import Dataset, Split, load_images
from fleetfront.errors import InputError
from fleetfront.pipelines.supernet_accuracy import supernet_loader
from fleetfront.predictors.accuracy.chosen_classes import (
    check_classes,
    only_images,
    only_outputs,
    parse_classes,
    spell_classes,
    split_classes,
)
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.supernet.checkpoints import save_supernet
from fleetfront.spaces.supernet.subnets import Supernet, largest, untrained
from fleetfront.workspace import Workspace


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_images("digits", 32)


@pytest.fixture(scope="module")
def supernet(digits: Dataset) -> Supernet:
    blank = untrained(load_space("ofa-mbv3-mini"), 0)
    return Supernet(blank.space, blank.tensors, replace(blank.provenance, class_names=digits.class_names))


def test_images_of_some_classes_stay_in_their_splits(digits: Dataset) -> None:
    some = only_images(digits, ["7", "1"])
    assert some.class_names == ("1", "7")
    assert some.content_hash != digits.content_hash
    for split in Split:
        rows = digits.split[split]
        kept = rows[np.isin(digits.labels[rows], [1, 7])]
        assert np.array_equal(some.images[some.split[split]], digits.images[kept])
        assert np.array_equal(some.targets(split), (digits.labels[kept] == 7).astype(int))


def test_a_cut_classifier_gives_the_scores_that_it_gave(digits: Dataset, supernet: Supernet) -> None:
    import torch

    smaller = only_outputs(supernet, ["7", "1", "3"])
    assert smaller.provenance.class_names == ("1", "3", "7")
    assert smaller.weights_id != supernet.weights_id
    genotype = largest(supernet.space)
    images = torch.from_numpy(digits.inputs("test")[:4])
    with torch.inference_mode():
        whole, cut = supernet.module(genotype)(images), smaller.module(genotype)(images)
    assert cut.shape == (4, 3)
    assert torch.allclose(cut, whole[:, [1, 3, 7]], atol=1e-5)


def test_slips_are_refused_with_what_was_meant(digits: Dataset, supernet: Supernet) -> None:
    with pytest.raises(InputError, match="Did you mean 'cat'"):
        check_classes(["cta", "dog"], ["cat", "dog", "cow"], "pets")
    for few in (["cat"], ["cat", "cat"]):
        with pytest.raises(InputError, match="Name two or more"):
            check_classes(few, ["cat", "dog"], "pets")
    with pytest.raises(InputError, match="looks at none"):
        spell_classes("built-in", ["cat", "dog"])
    with pytest.raises(InputError, match="empty name"):
        parse_classes(["cat,"])
    nameless = Supernet(supernet.space, supernet.tensors)
    with pytest.raises(InputError, match="10 outputs, and 0 classes"):
        only_outputs(nameless, ["1", "7"])
    assert only_outputs(nameless, ["1", "7"], digits.class_names).space.classes == 2
    with pytest.raises(InputError, match="Give images of the weights' classes"):
        only_outputs(supernet, ["1", "7"], tuple("abcdefghij"))


def test_a_spelling_holds_its_classes() -> None:
    assert parse_classes(["cat, dog", "cow"]) == ("cat", "dog", "cow")
    spelled = spell_classes("supernet:w,1.safetensors", ["cat", "dog"])
    assert split_classes(spelled) == ("supernet:w,1.safetensors", ("cat", "dog"))
    assert split_classes("supernet:w") == ("supernet:w", ())
    assert spell_classes("built-in", ()) == "built-in"


def test_accuracy_is_that_of_the_classes_alone(tmp_path: Path, supernet: Supernet) -> None:
    weights = tmp_path / "w.safetensors"
    save_supernet(supernet, weights)
    load = supernet_loader("digits", Workspace(tmp_path))
    space = supernet.space
    whole, some = (load(rest, space) for rest in (str(weights), f"{weights},classes=1|7"))
    assert some.source == f"supernet:{weights},classes=1|7"
    genotypes = largest(space)[None]
    # Of two classes an untrained network cannot but name one of them for each image.
    assert 100 * whole.predict(genotypes).mean[0] != 100 * some.predict(genotypes).mean[0]
    assert some.predict(genotypes).mean[0] > 30
    with pytest.raises(InputError, match="Unknown class of the weights '77'"):
        load(f"{weights},classes=1|77", space)
