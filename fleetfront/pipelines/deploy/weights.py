"""Find what deployed networks know: a supernet's weights or random numbers, and the user's images and labels beside
them.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.datasets import CROP_FROM, CROP_SHARE, DIGITS, Dataset, Preprocessing, Split, load_images
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.predictors.accuracy.chosen_classes import only_images
from fleetfront.spaces.base import Genotypes, SearchSpace, only_graph

if TYPE_CHECKING:
    from fleetfront.spaces.supernet.subnets import Provenance, Supernet


#: Decoded images of several sizes are held up to here.
_HELD_BYTES = 1 << 30

#: Unicode's controls, halves of pairs, and separators of lines and paragraphs.
_NOT_IN_LABELS = frozenset({"Cc", "Cs", "Zl", "Zp"})


class UserImages:
    """Images of a folder (or ``digits``) at whatever resolution a network wants, decoded once each."""

    def __init__(
        self,
        source: str | Path,
        *,
        preprocessing: Preprocessing | None = None,
        limit: int | None = None,
        is_labelled: bool = True,
        classes: Sequence[str] = (),
    ) -> None:
        """Nothing is read yet. ``preprocessing`` overrides the data set's own but for the size; of ``classes`` alone,
        where some are named."""
        self.source = str(source)
        self._is_labelled = is_labelled
        self._preprocessing = preprocessing
        self._limit = limit
        self._classes = tuple(classes)
        self._at: dict[int, Dataset] = {}
        self._failed: dict[int, InputError] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Another process decodes images itself."""
        return {**self.__dict__, "_at": {}, "_failed": {}}

    def whole_path(self) -> UserImages:
        """The same by the whole path of their folder, for a process that was started in another one."""
        moved = copy(self)
        moved.source = self.source if self.source == DIGITS else str(Path(self.source).absolute())
        return moved

    def at(self, size: int) -> Dataset:
        """The images, square with ``size`` pixels. Raises InputError if they cannot be read."""
        if size in self._failed:
            raise self._failed[size]
        if size not in self._at:
            if sum(images.images.nbytes for images in self._at.values()) > _HELD_BYTES:
                self._at.clear()
            try:
                self._at[size] = self._load(size)
            except InputError as error:  # the next network of this size need not decode as far again
                self._failed[size] = error
                raise
        return self._at[size]

    def _load(self, size: int) -> Dataset:
        images = load_images(
            self.source,
            size,
            preprocessing=self._preprocessing,
            limit=self._limit,
            is_labelled=self._is_labelled,
        )
        return only_images(images, self._classes) if self._classes else images


@dataclass(frozen=True, slots=True)
class Weights:
    """The knowledge of networks: a supernet's weights, recalibrated on images or not, or random numbers.

    Attributes:
        supernet: None for random numbers.
        images: recalibrate batch-norm, calibrate int8, and judge accuracy; a Dataset serves its own resolution only.
        labels: names of the classes, where the user gives them.
        labelled: whether the folders of ``images`` are the network's classes; if not, nothing is said of accuracy.
        recalibrate: whether batch-norm is recalibrated on ``images``.
    """

    supernet: Supernet | None = None
    images: Dataset | UserImages | None = None
    labels: tuple[str, ...] = ()
    labelled: bool = True
    recalibrate: bool = True
    #: What a manifest says of weights that are neither of a supernet nor random.
    own: Mapping[str, Any] | None = None
    #: How images become inputs, if that is known from elsewhere than the images or the supernet.
    fed_as: Preprocessing | None = None

    def graph(self, space: SearchSpace, genotype: Genotypes) -> Graph:
        """The network int8[v] with batch-norm folded, recalibrated if there are images."""
        if self.supernet is None:
            return only_graph(space, space.subnet_graphs(genotype))
        if not self.recalibrate:
            return self.supernet.graph(genotype)
        live = self.supernet.live_graph(genotype)
        images = self.images_at(_side(live))
        if images is None:
            return self.supernet.graph(genotype)
        return self.supernet.recalibrated(genotype, images.inputs(Split.CALIBRATION))

    def images_at(self, size: int) -> Dataset | None:
        """The images for networks of ``size`` pixels, if there are any. Raises InputError if they have another size."""
        if self.images is None:
            return None
        if isinstance(self.images, UserImages):
            return self.images.at(size)
        if self.images.preprocessing.size != size:
            raise InputError(
                f"The images are {self.images.preprocessing.size} px, the network takes {size} px.",
                "Load the images at the network's own resolution.",
            )
        return self.images

    def preprocessing(self, size: int) -> Preprocessing:
        """How an image becomes an input: as the images say, else the weights, else as ImageNet networks are fed."""
        if self.fed_as is not None:
            return replace(self.fed_as, size=size)
        images = self.images_at(size)
        if images is not None:
            return images.preprocessing
        known = known_preprocessing(self.supernet)
        if known is not None:
            return replace(known, size=size)
        return Preprocessing(size, crop_share=CROP_SHARE if size >= CROP_FROM else 1.0)

    def class_names(self, graph: Graph) -> tuple[str, ...]:
        """One name a class of the network; empty if nobody knows them.

        Raises:
            InputError: labels, weights and images contradict each other.
        """
        classes = int(graph.tensors[graph.outputs[0]].shape[-1])
        trained = tuple(map(str, self.supernet.provenance.class_names)) if self.supernet is not None else ()
        images = self.images_at(_side(graph))
        folders = images.class_names if images is not None and self.labelled else ()
        if self.labels and len(self.labels) != classes:
            raise InputError(
                f"There are {len(self.labels)} labels for {classes} classes.", "Give one label a class, in order."
            )
        if trained and len(trained) != classes:
            raise InputError(
                f"The weights give {classes} scores and name {len(trained)} classes.",
                "The file is damaged: get it again, or train again.",
            )
        if self.labels and trained and self.labels != trained and set(self.labels) == set(trained):
            raise InputError(
                f"The labels name the weights' classes in another order ({', '.join(self.labels[:3])}, ... instead of "
                f"{', '.join(trained[:3])}, ...).",
                "Leave --labels out: the weights know their classes.",
            )
        if trained and folders and trained != tuple(folders):
            raise InputError(
                f"The images are of {len(folders)} classes ({', '.join(folders[:3])}, ...), the weights of "
                f"{len(trained)} ({', '.join(trained[:3])}, ...).",
                "Name the folders after the weights' classes, or give --unlabelled to use the images without labels.",
            )
        if not trained and len(self.labels) == len(folders) == classes:
            _check_alike(self.labels, folders)
        for names in (self.labels, trained, folders):
            if len(names) == classes:
                return check_labels(tuple(names))
        return ()

    def labelled_images(self, graph: Graph) -> Dataset | None:
        """The images if their folders are the network's classes, which ``labels`` of the same names may put in another
        order.
        """
        images = self.images_at(_side(graph))
        if images is None or not self.labelled:
            return None
        if len(images.class_names) != int(graph.tensors[graph.outputs[0]].shape[-1]):
            return None
        if len(self.labels) == len(images.class_names) and set(self.labels) == set(images.class_names):
            place = np.array([self.labels.index(name) for name in images.class_names], dtype=np.int64)
            return replace(images, labels=place[images.labels], class_names=self.labels)
        return images

    def describe(self, size: int | None = None) -> dict[str, Any]:
        """Describe them for a manifest, of a network of ``size`` pixels."""
        if self.own is not None:
            return {"random": False, **self.own}
        if self.supernet is None:
            return {"random": True, "source": "random numbers of a fixed seed; the network knows nothing"}
        images = self.images_at(size) if size is not None and self.recalibrate else None
        used = images and {"source": Path(images.source).name, "sha256": images.content_hash}
        return {
            "random": False,
            "id": self.supernet.weights_id,
            "source": self.supernet.source,
            "licence": self.supernet.licence or "unknown",
            "recalibrated_on": used,
        }


def _check_alike(labels: Sequence[str], folders: Sequence[str]) -> None:
    """Raise InputError if some labels are folders and some are not: a slip, after which the images of a folder would
    be counted for whatever class has its place in the alphabet.
    """
    here, there = set(labels), set(folders)
    if here == there or {name.casefold() for name in here}.isdisjoint(name.casefold() for name in there):
        return
    label, folder = sorted(here - there), sorted(there - here)
    only = f"{label[0]!r} is no folder" if label else f"folder {folder[0]!r} is no label"
    raise InputError(
        f"The labels and the folders of the images are spelled differently: {only}.",
        f"Spell them alike (folders: {', '.join(sorted(folders)[:5])}, ...), or give --unlabelled.",
    )


def check_labels(names: tuple[str, ...]) -> tuple[str, ...]:
    """``names`` themselves. Raises InputError for one that no file of one label a line can hold, or UTF-8 cannot."""
    for name in names:
        if not name.strip() or any(unicodedata.category(character) in _NOT_IN_LABELS for character in name):
            raise InputError(
                f"{name!r} cannot be a class's label.", "Use a line of text: rename the folder, or give --labels FILE."
            )
    return names


def known_preprocessing(supernet: Supernet | None) -> Preprocessing | None:
    """How the images were fed that a supernet was trained on, if its file says so."""
    if supernet is None or not supernet.provenance.preprocessing:
        return None
    fields: Mapping[str, Any] = supernet.provenance.preprocessing
    try:
        mean, std = (tuple(float(value) for value in fields[name]) for name in ("mean", "std"))
        return Preprocessing(int(fields["size"]), mean, std, float(fields.get("crop_share", 1.0)))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The weights describe their preprocessing in a way not known here ({error!r}).", "Train them again."
        ) from error


def recorded_provenance(path: Path) -> Provenance | None:
    """Read the record beside fetched weights: where they come from and under which licence. None if there is none."""
    from fleetfront.spaces.supernet.subnets import Provenance

    record = path.with_name(path.name + ".json")
    if path.suffix == ".safetensors" or not record.is_file():
        return None
    try:
        content = json.loads(record.read_text())
        return Provenance(source=str(content["source"]), licence=str(content["licence"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{record} is not a record of fetched weights.", "Delete it and fetch again.") from error


def first_images(images: Dataset, split: Split, count: int) -> NDArray[np.uint8]:
    """uint8[m, 3, size, size]: at most ``count`` images of a split, spread evenly over it so that all classes occur."""
    rows = images.split[split]
    if len(rows) > count:
        rows = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
    chosen: NDArray[np.uint8] = images.images[rows]
    return chosen


def _side(graph: Graph) -> int:
    return int(graph.tensors[graph.inputs[0]].shape[-1])
