from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import Dataset, Split, load_images
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.progress import Silent
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini, ofa_mbv3_w12
from fleetfront.workspace import Workspace

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from fleetfront.graphs.torch_module import TorchModule  # noqa: E402
from fleetfront.spaces.supernet.subnets import largest  # noqa: E402
from fleetfront.spaces.supernet.training import (  # noqa: E402
    TrainingSettings,
    augmented,
    drawn_evenly,
    train_supernet,
    trained_path,
)

MINI = ofa_mbv3_mini()
#: Four steps an epoch.
SHORT = TrainingSettings(epochs=2, batch_size=32, random_subnets=1)


@pytest.fixture(scope="module")
def few() -> Dataset:
    return load_images("digits", 32, limit=220, calibration=64)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "home")


class _Killer(Silent):
    """Stops the training when it reports an epoch as done."""

    def advance(self, steps: int = 1, detail: str = "") -> None:
        if detail:
            raise KeyboardInterrupt


def test_the_largest_network_learns_digits(workspace):
    images = load_images("digits", 32, limit=500)
    settings = replace(SHORT, epochs=6, random_subnets=0, smallest_every=10_000, rotation_deg=0.0, zoom=0.0, shift=0.0)
    result = train_supernet(MINI, images, settings, workspace=workspace)
    # The largest network's statistics are calibrated by the training itself.
    module = TorchModule(result.supernet.graph(largest(MINI)))
    with torch.inference_mode():
        found = module(torch.from_numpy(images.inputs(Split.VALIDATION))).argmax(dim=1).numpy()
    assert np.mean(found == images.targets(Split.VALIDATION)) > 0.6
    assert result.wall_s > 0
    provenance = result.supernet.provenance
    assert provenance.class_names == images.class_names
    assert provenance.preprocessing["size"] == 32
    assert provenance.training["images_sha256"] == images.content_hash


def test_a_killed_training_goes_on_to_the_same_weights(few, tmp_path):
    straight, killed = Workspace(tmp_path / "straight"), Workspace(tmp_path / "killed")
    whole = train_supernet(MINI, few, SHORT, workspace=straight)
    with pytest.raises(KeyboardInterrupt):
        train_supernet(MINI, few, SHORT, workspace=killed, progress=_Killer())
    path = trained_path(MINI, few, SHORT, killed)
    assert not path.exists()
    assert len(list(killed.weights.iterdir())) == 1, "the state after the first epoch"
    resumed = train_supernet(MINI, few, SHORT, workspace=killed)
    assert resumed.supernet.weights_id == whole.supernet.weights_id
    assert list(killed.weights.iterdir()) == [path]


def test_the_same_training_is_not_done_twice_and_another_is_not_mistaken_for_it(few, workspace):
    one = replace(SHORT, epochs=1)
    first = train_supernet(MINI, few, one, workspace=workspace)
    again = train_supernet(MINI, few, one, workspace=workspace)
    assert again.is_cached
    assert not first.is_cached
    assert again.supernet.weights_id == first.supernet.weights_id
    assert again.supernet.provenance == first.supernet.provenance
    other = train_supernet(MINI, few, replace(one, seed=1), workspace=workspace)
    assert other.path != first.path
    assert other.supernet.weights_id != first.supernet.weights_id


def test_fewer_classes_make_a_smaller_classifier(workspace, few):
    kept = np.flatnonzero(few.labels < 3)
    position = {old: new for new, old in enumerate(kept)}
    split = {s: np.array([position[i] for i in members if i in position]) for s, members in few.split.items()}
    three = replace(few, images=few.images[kept], labels=few.labels[kept], class_names=few.class_names[:3], split=split)
    result = train_supernet(MINI, three, replace(SHORT, epochs=1, batch_size=16), workspace=workspace)
    assert result.supernet.space.layout.classes == 3
    again = train_supernet(MINI, three, replace(SHORT, epochs=1, batch_size=16), workspace=workspace)
    assert again.supernet.space == result.supernet.space


def test_wrong_images_settings_and_states_are_explained(few, workspace):
    with pytest.raises(InputError, match=r"no resolution 32.*160, 176"):
        train_supernet(ofa_mbv3_w12(), few, SHORT, workspace=workspace)
    with pytest.raises(InputError, match=r"140 training images .* batches of 500"):
        train_supernet(MINI, few, replace(SHORT, batch_size=500), workspace=workspace)
    with pytest.raises(FleetfrontError, match=r"diverged in epoch 1 .*smaller learning rate"):
        train_supernet(MINI, few, replace(SHORT, epochs=1, learning_rate=1e30), workspace=workspace)
    path = trained_path(MINI, few, SHORT, workspace)
    state = path.with_name(path.stem + ".state.safetensors")
    state.parent.mkdir(parents=True)
    state.write_bytes(b"damaged")
    with pytest.raises(InputError, match="Delete it and train again"):
        train_supernet(MINI, few, SHORT, workspace=workspace)


def test_small_and_large_networks_are_drawn_as_often_as_middling_ones():
    rng = np.random.default_rng(0)
    drawn, uniform = drawn_evenly(MINI, 2000, rng), MINI.sample(2000, rng)
    np.testing.assert_array_equal(drawn, MINI.canonical(drawn))
    assert all(set(np.unique(drawn[:, gene])) == set(range(len(v))) for gene, v in enumerate(MINI.choices))
    log_macs, usual = np.log(MINI.macs(drawn)), np.log(MINI.macs(uniform))
    assert log_macs.std() > 1.4 * usual.std()


def test_augmentation_moves_images_and_can_be_switched_off():
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    still = replace(SHORT, shift=0.0, rotation_deg=0.0, zoom=0.0)
    torch.testing.assert_close(augmented(images, still, torch.Generator().manual_seed(1)), images, atol=1e-4, rtol=0)
    mirrored = augmented(images, replace(still, flip=True), torch.Generator().manual_seed(1))
    as_is = torch.isclose(mirrored, images, atol=1e-4).flatten(1).all(dim=1)
    flipped = torch.isclose(mirrored, images.flip(3), atol=1e-4).flatten(1).all(dim=1)
    assert bool((as_is ^ flipped).all())
    assert 0 < int(flipped.sum()) < 16
    # A bright dot in the middle is found again within the largest shift.
    dot = torch.zeros(64, 1, 32, 32)
    dot[:, :, 15:17, 15:17] = 1
    shifted = augmented(dot, replace(still, shift=0.25), torch.Generator().manual_seed(2))
    rows = (shifted.sum(dim=(1, 3)) * torch.arange(32)).sum(dim=1) / shifted.sum(dim=(1, 2, 3))
    assert float((rows - 15.5).abs().max()) <= 8.01
    assert float((rows - 15.5).abs().max()) > 4
