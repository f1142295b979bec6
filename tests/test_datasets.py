from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, Split, load_images
from fleetfront.errors import InputError
from fleetfront.progress import Silent

Image = pytest.importorskip("PIL.Image")


def _folder(root: Path, per_class: int = 10, side: tuple[int, int] = (12, 8)) -> Path:
    """Two classes whose images are plain red or plain blue."""
    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            Image.new("RGB", side, colour).save(root / name / f"{index}.png")
    return root


def test_digits_are_images_of_ten_classes_split_evenly():
    pytest.importorskip("sklearn")
    digits = load_images("digits", 32)
    assert digits.images.shape == (1797, 3, 32, 32)
    assert digits.class_names == tuple("0123456789")
    # The upscaled image keeps the mean grey of the 8x8 original.
    from sklearn.datasets import load_digits

    original = load_digits().images * (255 / 16)
    np.testing.assert_allclose(digits.images.mean((1, 2, 3)), original.mean((1, 2)), atol=3.0)
    for split in (Split.TRAIN, Split.VALIDATION, Split.TEST):
        counts = np.bincount(digits.targets(split), minlength=10)
        assert counts.max() - counts.min() <= 0.15 * counts.max()


def test_splits_are_disjoint_cover_everything_and_do_not_depend_on_size():
    pytest.importorskip("sklearn")
    small, large = load_images("digits", 16), load_images("digits", 32)
    disjoint = np.concatenate([small.split[s] for s in (Split.TRAIN, Split.VALIDATION, Split.TEST)])
    assert sorted(disjoint) == list(range(1797))
    assert set(small.split[Split.CALIBRATION]) <= set(small.split[Split.TRAIN])
    assert len(small.split[Split.CALIBRATION]) == 256
    for split in Split:
        np.testing.assert_array_equal(small.split[split], large.split[split])
    assert small.content_hash != large.content_hash
    assert load_images("digits", 16).content_hash == small.content_hash
    assert load_images("digits", 16, seed=1).content_hash != small.content_hash


def test_folder_gives_labels_by_subfolder_and_scaled_inputs(tmp_path):
    dataset = load_images(_folder(tmp_path / "photos"), 6)
    assert dataset.class_names == ("blue", "red")
    red = dataset.images[dataset.labels == 1]
    assert red.shape == (10, 3, 6, 6)
    assert (red[:, 0] == 255).all()
    assert (red[:, 1:] == 0).all()
    inputs, targets = dataset.inputs("train"), dataset.targets("train")
    assert inputs.dtype == np.float32
    expected = (np.array([1.0, 0.0, 0.0]) - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(inputs[targets == 1].mean((0, 2, 3)), expected, rtol=1e-5)


def test_large_images_are_cropped_in_the_centre(tmp_path):
    folder = _folder(tmp_path / "photos", per_class=5)
    wide = np.zeros((200, 400, 3), dtype=np.uint8)
    wide[:, 100:300] = 255
    Image.fromarray(wide).save(folder / "red" / "wide.png")
    dataset = load_images(folder, 112)
    white = dataset.images[(dataset.images == 255).all(axis=1).any(axis=(1, 2))]
    assert white.shape[0] == 1
    assert (white == 255).all(), "the crop of the wide image is its white middle"


def test_own_preprocessing_is_used_at_the_asked_size(tmp_path):
    folder = _folder(tmp_path / "photos", per_class=5)
    dataset = load_images(folder, 8, preprocessing=Preprocessing(99, (0.0,) * 3, (1.0,) * 3))
    assert dataset.preprocessing.size == 8
    assert dataset.inputs("train").max() == pytest.approx(1.0)


def test_limit_draws_evenly_over_classes(tmp_path):
    dataset = load_images(_folder(tmp_path / "photos", per_class=20), 4, limit=11)
    assert sorted(np.bincount(dataset.labels)) == [5, 6]


def test_images_without_classes_lie_in_one_folder(tmp_path):
    red = _folder(tmp_path / "photos", per_class=9) / "red"
    with pytest.raises(InputError, match=r"9 images lie in '.*red' itself.*--unlabelled"):
        load_images(red, 8)
    dataset = load_images(red, 8, is_labelled=False)
    assert len(dataset.images) == 9
    assert set(dataset.labels) == {0}
    # Folders of classes serve as well.
    assert len(load_images(red.parent, 8, is_labelled=False).class_names) > 1


def test_what_is_not_an_image_folder_says_what_one_is(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_images(tmp_path / "nowhere", 8)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        load_images(tmp_path / "file", 8)
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(InputError, match=r"holds 0 subfolder.*one subfolder of images a class"):
        load_images(tmp_path / "empty", 8)
    _folder(tmp_path / "nested" / "train")
    with pytest.raises(InputError, match=r"Did you mean '.*train'"):
        load_images(tmp_path / "nested", 8)


def test_too_few_broken_or_too_many_images_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="Class 'blue' has 2 image"):
        load_images(_folder(tmp_path / "few", per_class=2), 8)
    broken = _folder(tmp_path / "broken", per_class=5)
    (broken / "red" / "bad.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    with pytest.raises(InputError, match=r"bad\.jpg.*Repair or remove it"):
        load_images(broken, 8)
    monkeypatch.setattr("fleetfront.datasets.MAX_BYTES", 3 * 8 * 8 * 4)
    with pytest.raises(InputError, match="limit of at most 4 images"):
        load_images(_folder(tmp_path / "many"), 8)


@pytest.mark.parametrize(
    "wrong",
    [{"std": (0.0, 1.0, 1.0)}, {"mean": (float("nan"),) * 3}, {"mean": (0.5,)}, {"crop_share": 0.0}],
)
def test_preprocessing_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match="make no sense"):
        Preprocessing(32, **wrong)


def test_a_line_of_pixels_does_not_fill_the_memory(tmp_path):
    """Resized whole, it would be five gigabytes; what is looked at is the middle."""
    folder = _folder(tmp_path / "lines", per_class=5)
    line = Image.new("RGB", (1, 40_001), (255, 0, 0))
    line.paste((0, 255, 0), (0, 19_000, 1, 21_000))
    line.save(folder / "red" / "line.png")
    dataset = load_images(folder, 224)
    middle = dataset.images[(dataset.images[:, 1] == 255).any(axis=(1, 2))]
    assert len(middle) == 1
    assert (middle[0, 1] == 255).all()


def test_sixteen_bits_are_scaled_and_thirty_two_refused(tmp_path):
    folder = _folder(tmp_path / "scans")
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for index in range(10):
        Image.fromarray(grey).save(folder / "red" / f"{index}.png")
    scans = load_images(folder, 8)
    found = scans.images[scans.labels == 1][0, 0]
    np.testing.assert_array_equal(found, grey >> 8)
    assert len(np.unique(found)) == 64
    Image.fromarray(np.full((8, 8), 1e6, np.float32)).save(folder / "red" / "0.tiff")
    with pytest.raises(InputError, match=r"0.tiff.*its pixels have 32 bits"):
        load_images(folder, 8)


def test_reading_many_images_is_counted(tmp_path):
    said = []

    class Counting(Silent):
        def start(self, label, total=None):
            said.append((label, total))

        def advance(self, steps=1, detail=""):
            said.append(steps)

    folder = _folder(tmp_path / "photos")
    load_images(folder, 8, progress=Counting())
    assert said == [(f"Reading images of {folder}", 20), *[1] * 20]


def test_mistyped_digits_are_understood():
    with pytest.raises(InputError, match=r"'digit' does not exist.*Did you mean 'digits'"):
        load_images("digit", 8)


def test_folders_whose_order_is_open_are_asked_about(tmp_path):
    for index in range(12):
        (tmp_path / str(index)).mkdir()
        for shade in range(5):
            Image.new("RGB", (8, 8), (20 * index, shade, 0)).save(tmp_path / str(index) / f"{shade}.png")
    with pytest.raises(InputError, match=r"as texts they begin 0, 1, 10, as numbers 0, 1, 2") as caught:
        load_images(tmp_path, 8)
    assert "classes.txt" in caught.value.remedy
    assert len(load_images(tmp_path, 8, is_labelled=False).class_names) == 12
    order = [str(index) for index in range(12)]
    (tmp_path / "classes.txt").write_text("\n".join(order) + "\n")
    dataset = load_images(tmp_path, 8)
    assert dataset.class_names == tuple(order)
    # The red of an image says which folder it came from.
    shades = dataset.images[:, 0].mean((1, 2))
    np.testing.assert_allclose(shades, 20 * dataset.labels, atol=1)
    (tmp_path / "classes.txt").write_text("\n".join(order[:-1]) + "\n")
    with pytest.raises(InputError, match="they differ in 11"):
        load_images(tmp_path, 8)
