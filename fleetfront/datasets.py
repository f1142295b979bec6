"""Labelled images in memory, their splits and preprocessing: a folder with one subfolder a class, or scikit-learn's
digits. Training and evaluation live elsewhere; nothing here knows about networks.
"""

from __future__ import annotations

import difflib
import enum
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, missing
from fleetfront.progress import SILENT, Progress

DIGITS = "digits"
#: In a folder of class folders: their names, one a line, in the order of the network's outputs.
ORDER_FILE = "classes.txt"

#: Mean and standard deviation of ImageNet's RGB values in 0..1, the convention of pretrained image networks.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Share of the shorter side that the central crop keeps from this size on; ImageNet evaluation's convention.
CROP_SHARE = 0.875
CROP_FROM = 96

#: Of an image's longer side, as many shorter sides are resized at most.
_LONGEST = 8

#: More decoded bytes than this are refused: the images are held in memory.
MAX_BYTES = 2 * 1024**3

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"})


class Split(enum.StrEnum):
    """The purpose of images. ``CALIBRATION`` is part of ``TRAIN``; the other three are disjoint."""

    TRAIN = "train"
    #: Re-estimates batch-norm statistics and quantisation ranges; labels are not used.
    CALIBRATION = "calibration"
    #: Ranks architectures during a search.
    VALIDATION = "validation"
    #: Seen by neither training nor search: final figures come from it.
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Steps from an image to an input: resized, centre-cropped to ``size``, then ``(value / 255 - mean) / std``.

    ``crop_share`` is the share of the shorter side that the crop keeps; 1.0 squeezes the whole image into the square.
    """

    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_share: float = 1.0

    def __post_init__(self) -> None:
        values = (*self.mean, *self.std, self.crop_share)
        are_numbers = len(self.mean) == len(self.std) == 3 and all(math.isfinite(value) for value in values)
        if not are_numbers or min(self.std) <= 0 or not 0 < self.crop_share <= 1:
            raise InputError(
                f"Mean {self.mean}, standard deviation {self.std} and crop {self.crop_share:g} make no sense.",
                "Give three finite means, three standard deviations above 0, and a crop above 0, at most 1.",
            )

    def inputs(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32[n, 3, size, size] of already cropped images uint8[n, 3, size, size]."""
        scale = np.array([1 / (255 * s) for s in self.std], dtype=np.float32)[:, None, None]
        shift = np.array([m / s for m, s in zip(self.mean, self.std, strict=True)], dtype=np.float32)[:, None, None]
        result: NDArray[np.float32] = images.astype(np.float32) * scale - shift
        return result

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: what a manifest must say so that an app can feed the network."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images with labels, decoded and cropped but not yet scaled.

    Attributes:
        source: ``digits`` or the folder.
        images: uint8[n, 3, size, size], RGB.
        labels: int64[n], indices into ``class_names``.
        class_names: names of the classes, in the order of ``classes.txt`` in the folder if it has one, else sorted.
        split: indices into ``images`` of each split, sorted.
        preprocessing: how ``inputs`` scales.
        content_hash: SHA-256 over pixels, labels, classes, splits and preprocessing.
    """

    source: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    split: Mapping[Split, NDArray[np.int64]]
    preprocessing: Preprocessing
    content_hash: str

    def inputs(self, split: str) -> NDArray[np.float32]:
        """float32[m, 3, size, size]: what a network is fed for the images of ``split``."""
        return self.preprocessing.inputs(self.images[self.split[Split(split)]])

    def targets(self, split: str) -> NDArray[np.int64]:
        """int64[m]: labels of the images of ``split``."""
        return self.labels[self.split[Split(split)]]


def load_images(
    source: str | Path,
    size: int,
    *,
    preprocessing: Preprocessing | None = None,
    limit: int | None = None,
    validation: float = 0.2,
    test: float = 0.2,
    calibration: int = 256,
    seed: int = 0,
    is_labelled: bool = True,
    progress: Progress = SILENT,
) -> Dataset:
    """Load labelled images as a Dataset; the same arguments always give the same splits.

    Args:
        source: ``digits`` (scikit-learn's 1,797 handwritten digits) or a folder with one subfolder of images a class.
        size: side of the square images, pixels.
        preprocessing: overrides the default: ImageNet's mean and standard deviation, and its crop from 96 pixels on.
        limit: use at most this many images, drawn evenly over the classes.
        validation: share of each class that ranks architectures.
        test: share of each class that is held out; what validation and test leave is for training.
        calibration: number of training images that also recalibrate.
        seed: of the splits.
        is_labelled: if not, images that lie in the folder itself are taken as one class, whose name means nothing.
        progress: counts the images of a folder.

    Raises:
        InputError: the folder is not one, has no two classes, too few or unreadable images, or too many for memory.
        MissingDependency: scikit-learn (digits) or Pillow (folders) is not installed.
    """
    if size < 1 or (limit is not None and limit < 1):
        raise InputError(f"Images of size {size} with limit {limit} make no sense.", "Use size >= 1 and limit >= 1.")
    if min(validation, test) <= 0 or validation + test >= 1:
        raise InputError(
            f"Shares validation={validation} and test={test} leave no images for some split.",
            "Use shares above 0 that add up to less than 1.",
        )
    rng = np.random.default_rng(seed)
    chosen = replace(preprocessing, size=size) if preprocessing else _default_preprocessing(source, size)
    if str(source) == DIGITS:
        images, labels, names = _digits(chosen.size)
        keep = _limited(labels, limit, rng)
        images, labels = images[keep], labels[keep]
    else:
        folder = Path(source)
        paths, labels, names = _class_folders(folder) if is_labelled else _any_folders(folder)
        keep = _limited(labels, limit, rng)
        labels = labels[keep]
        images = _decoded(folder, [paths[i] for i in keep], chosen, progress)
    split = _stratified(labels, names, validation, test, calibration, rng)
    loaded = Dataset(str(source), images, labels, names, MappingProxyType(split), chosen, "")
    return replace(loaded, content_hash=content_hash(loaded))


def _default_preprocessing(source: str | Path, size: int) -> Preprocessing:
    if str(source) == DIGITS:
        return Preprocessing(size, (0.5,) * 3, (0.5,) * 3)
    return Preprocessing(size, crop_share=CROP_SHARE if size >= CROP_FROM else 1.0)


def _digits(size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise missing("scikit-learn", "demo", "The digits data set") from error
    bunch = load_digits()
    small = np.asarray(bunch.images, dtype=np.float64) * (255 / 16)
    weights = _bilinear(small.shape[1], size)
    grey = np.einsum("ah,nhw,bw->nab", weights, small, weights)
    images = np.repeat(np.rint(grey).clip(0, 255).astype(np.uint8)[:, None], 3, axis=1)
    return images, np.asarray(bunch.target, dtype=np.int64), tuple(str(d) for d in range(10))


def _bilinear(source: int, target: int) -> NDArray[np.float64]:
    """[target, source]: linear interpolation with half-pixel centres."""
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(source)))


def _class_folders(folder: Path, *, is_labelled: bool = True) -> tuple[list[Path], NDArray[np.int64], tuple[str, ...]]:
    layout = "Give a folder with one subfolder of images a class, e.g. photos/cat/1.jpg, photos/dog/1.jpg."
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        meant = f"Did you mean {DIGITS!r}? " if difflib.get_close_matches(str(folder), [DIGITS]) else ""
        raise InputError(f"The image folder {str(folder)!r} {found}.", meant + layout)
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found_images = {c.name: _images_in(c) for c in classes}
    names = tuple(name for name, paths in found_images.items() if paths)
    if len(names) < 2:
        loose = len(_images_in(folder))
        if loose:
            raise InputError(
                f"{loose} images lie in {str(folder)!r} itself, not in folders of classes.",
                f"{layout} To deploy or export, --unlabelled takes them as they are.",
            )
        nested = [c.name for c in classes if not found_images[c.name] and any(p.is_dir() for p in c.iterdir())]
        remedy = f"Did you mean {str(folder / nested[0])!r}? {layout}" if nested else layout
        raise InputError(f"{str(folder)!r} holds {len(names)} subfolder(s) with images.", remedy)
    if is_labelled:
        names = _in_order(folder, names)
    paths = [path for name in names for path in found_images[name]]
    labels = np.repeat(np.arange(len(names)), [len(found_images[name]) for name in names]).astype(np.int64)
    return paths, labels, names


def _any_folders(folder: Path) -> tuple[list[Path], NDArray[np.int64], tuple[str, ...]]:
    """Like ``_class_folders``, but images that lie in the folder itself are one class of its name."""
    loose = _images_in(folder) if folder.is_dir() else []
    if not loose:
        return _class_folders(folder, is_labelled=False)
    return loose, np.zeros(len(loose), dtype=np.int64), (folder.name,)


def _in_order(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """The classes in the order of a network's outputs: as ``classes.txt`` lists them, else as they are sorted.

    Raises InputError where numbers and texts sort differently, or ``classes.txt`` lists other folders: a wrong order
    gives every class another one's images.
    """
    file = folder / ORDER_FILE
    if file.is_file():
        try:
            listed = tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read ({error}).", "Write one folder's name a line.") from error
        if sorted(listed) != sorted(names):
            odd = sorted(set(listed) ^ set(names)) or sorted(listed)
            raise InputError(
                f"{file} lists {len(listed)} classes, {folder} has {len(names)} folders with images; they differ in "
                f"{', '.join(odd[:5])}.",
                "Write the name of every folder once, one a line, in the order of the network's outputs.",
            )
        return listed
    if all(name.isascii() and name.isdigit() for name in names):
        by_number = sorted(names, key=int)
        if by_number != list(names):
            raise InputError(
                f"The folders of {folder} are numbers: as texts they begin {', '.join(names[:3])}, as numbers "
                f"{', '.join(by_number[:3])}, and a network's outputs may follow either.",
                f"Write {file}, one name a line in the order of the outputs, or rename the folders (00, 01, ...).",
            )
    return names


def _images_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith("."))


def _limited(labels: NDArray[np.int64], limit: int | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Sorted indices of at most ``limit`` images, drawn evenly over the classes."""
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    order = rng.permutation(len(labels))
    # Rank of each image within its class, in the drawn order: taking by rank goes round the classes.
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:limit])


def _decoded(
    folder: Path, paths: Sequence[Path], preprocessing: Preprocessing, progress: Progress
) -> NDArray[np.uint8]:
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise missing("pillow", "demo", "Reading images") from error
    size = preprocessing.size
    needed = len(paths) * 3 * size * size
    if needed > MAX_BYTES:
        raise InputError(
            f"{len(paths):,} images of {size} px in {str(folder)!r} need {needed / 1e9:.1f} GB of memory.",
            f"Use a limit of at most {MAX_BYTES // (3 * size * size):,} images.",
        )
    images = np.empty((len(paths), 3, size, size), dtype=np.uint8)
    progress.start(f"Reading images of {folder}", len(paths))
    try:
        for index, path in enumerate(paths):
            try:
                with Image.open(path) as file:
                    square = _cropped(_rgb(ImageOps.exif_transpose(file)), size, preprocessing.crop_share)
            except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
                raise InputError(
                    f"The image {str(path)!r} cannot be read ({error}).", "Repair or remove it."
                ) from error
            images[index] = np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)
            progress.advance()
    finally:
        progress.finish()
    return images


def cut_image(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """uint8[3, size, size] of RGB uint8[h, w, 3], cropped as folders are. Raises MissingDependency without Pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise missing("pillow", "demo", "Cutting images") from error
    square = _cropped(Image.fromarray(pixels), preprocessing.size, preprocessing.crop_share)
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)


def _rgb(image: Any) -> Any:
    """Eight bits a channel. Pillow alone would make nearly all of a picture with more bits white."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, of which nobody says what is white; save it with 8 or 16")
    return image.convert("RGB")


def _cropped(image: Any, size: int, crop_share: float) -> Any:
    from PIL.Image import Resampling

    if crop_share >= 1.0:
        return image.resize((size, size), Resampling.BILINEAR)
    image = _without_far_ends(image)
    factor = math.ceil(size / crop_share) / min(image.size)
    width, height = (max(size, round(side * factor)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _without_far_ends(image: Any) -> Any:
    """The middle of an image that is more than ``_LONGEST`` times as long as it is wide.

    Resized whole, a line of pixels would fill the memory, and nobody looks at its ends.
    """
    longest = _LONGEST * min(image.size)
    if max(image.size) <= longest:
        return image
    left, top = (max(0, (side - longest) // 2) for side in image.size)
    width, height = (min(side, longest) for side in image.size)
    return image.crop((left, top, left + width, top + height))


def _stratified(
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    validation: float,
    test: float,
    calibration: int,
    rng: np.random.Generator,
) -> dict[Split, NDArray[np.int64]]:
    parts: dict[Split, list[NDArray[np.int64]]] = {Split.TRAIN: [], Split.VALIDATION: [], Split.TEST: []}
    for label, name in enumerate(names):
        members = rng.permutation(np.flatnonzero(labels == label))
        n_test, n_validation = (max(1, round(share * len(members))) for share in (test, validation))
        if len(members) <= n_test + n_validation:
            raise InputError(
                f"Class {name!r} has {len(members)} image(s) to split.",
                "Give at least 5 images a class, or remove the class (or raise the limit).",
            )
        parts[Split.TEST].append(members[:n_test])
        parts[Split.VALIDATION].append(members[n_test : n_test + n_validation])
        parts[Split.TRAIN].append(members[n_test + n_validation :])
    split = {name: np.sort(np.concatenate(members)) for name, members in parts.items()}
    train = split[Split.TRAIN]
    split[Split.CALIBRATION] = train[_limited(labels[train], max(1, calibration), rng)]
    return split


def content_hash(data: Dataset) -> str:
    """SHA-256 over pixels, labels, classes, splits and preprocessing, whatever ``data`` says that it is."""
    about = (data.images.shape, data.class_names, data.preprocessing.to_dict())
    digest = hashlib.sha256(repr(about).encode())
    for array in (data.images, data.labels, *(data.split[name] for name in Split)):
        digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(b"|")
    return digest.hexdigest()
